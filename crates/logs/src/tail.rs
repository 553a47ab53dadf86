//! Who follows what comes in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lambfold_types::{AccountId, Scope};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::broadcast;

use crate::record::Event;

/// Commits that a follower may be behind; one that is further behind misses the oldest, and is told so.
const BEHIND: usize = 64;

/// Events of one stream that were committed.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) scope: Scope,
    pub(crate) group: String,
    pub(crate) events: Vec<Event>,
}

/// All followers. There are so many places, and so many of them for each account.
pub(crate) struct Tails {
    sender: broadcast::Sender<Arc<Arrived>>,
    places: Arc<Places>,
    most: usize,
    most_of_account: usize,
    gauge: Gauge,
}

/// A follower's place among them, until it is dropped.
pub(crate) struct Follower {
    pub(crate) arrivals: broadcast::Receiver<Arc<Arrived>>,
    account: AccountId,
    places: Arc<Places>,
    gauge: Gauge,
}

/// How many are taken, of each account.
#[derive(Debug, Default)]
struct Places(Mutex<HashMap<AccountId, usize>>);

impl Places {
    fn taken(&self) -> MutexGuard<'_, HashMap<AccountId, usize>> {
        // Nothing that holds the lock leaves it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tails {
    pub(crate) fn new(most: usize, most_of_account: usize, gauge: Gauge) -> Self {
        Self { sender: broadcast::Sender::new(BEHIND), places: Arc::default(), most, most_of_account, gauge }
    }

    /// Tells the followers, if there are any. Never waits for them.
    pub(crate) fn publish(&self, arrived: impl FnOnce() -> Arrived) {
        if self.sender.receiver_count() > 0 {
            let _ = self.sender.send(Arc::new(arrived()));
        }
    }

    /// A place; `None` if all are taken, or all of this account.
    pub(crate) fn follow(&self, account: AccountId) -> Option<Follower> {
        let mut taken = self.places.taken();
        let count = taken.get(&account).copied().unwrap_or_default();
        // No more accounts than places have any.
        if count >= self.most_of_account || taken.values().sum::<usize>() >= self.most {
            return None;
        }
        taken.insert(account, count + 1);
        self.gauge.inc();
        let arrivals = self.sender.subscribe();
        Some(Follower { arrivals, account, places: self.places.clone(), gauge: self.gauge.clone() })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(count) = taken.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.account);
            }
        }
        self.gauge.dec();
    }
}
