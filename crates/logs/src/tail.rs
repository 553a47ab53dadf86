//! Who follows what comes in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lambfold_types::Scope;
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

/// All followers.
pub(crate) struct Tails {
    sender: broadcast::Sender<Arc<Arrived>>,
    count: Arc<AtomicUsize>,
    most: usize,
    gauge: Gauge,
}

/// A follower's place among them, until it is dropped.
pub(crate) struct Follower {
    pub(crate) arrivals: broadcast::Receiver<Arc<Arrived>>,
    count: Arc<AtomicUsize>,
    gauge: Gauge,
}

impl Tails {
    pub(crate) fn new(most: usize, gauge: Gauge) -> Self {
        Self { sender: broadcast::Sender::new(BEHIND), count: Arc::default(), most, gauge }
    }

    /// Tells the followers, if there are any. Never waits for them.
    pub(crate) fn publish(&self, arrived: impl FnOnce() -> Arrived) {
        if self.sender.receiver_count() > 0 {
            let _ = self.sender.send(Arc::new(arrived()));
        }
    }

    /// A place; `None` if all are taken.
    pub(crate) fn follow(&self) -> Option<Follower> {
        let follower = Follower {
            arrivals: self.sender.subscribe(),
            count: self.count.clone(),
            gauge: self.gauge.clone(),
        };
        let before = self.count.fetch_add(1, Ordering::AcqRel);
        self.gauge.inc();
        (before < self.most).then_some(follower)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
        self.gauge.dec();
    }
}
