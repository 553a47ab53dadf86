//! Who watches, and up to which change each has heard: an update is `Successful` once the data plane runs it, so that
//! who waits for that and then invokes gets the new version (DESIGN §3 The watch).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// The watchers of functions, by numbers of their own, with the count of changes ([`crate::service::Shared::changed`])
/// that each has heard of.
#[derive(Default)]
pub(crate) struct Audience {
    members: Mutex<Members>,
    heard: watch::Sender<()>,
}

#[derive(Default)]
struct Members {
    next: u64,
    heard: BTreeMap<u64, u64>,
}

/// One watcher, for as long as it watches.
pub(crate) struct Member {
    audience: Arc<Audience>,
    number: u64,
}

impl Audience {
    /// A watcher that has heard nothing yet.
    pub(crate) fn join(self: &Arc<Self>) -> Member {
        let mut members = self.members();
        let number = members.next;
        members.next += 1;
        members.heard.insert(number, 0);
        Member { audience: Arc::clone(self), number }
    }

    /// Returns when all who watch now have heard of change `count`, or have gone.
    pub(crate) async fn has_heard(&self, count: u64) {
        let mut heard = self.heard.subscribe();
        let waited_for: Vec<u64> = self.members().heard.keys().copied().collect();
        loop {
            heard.borrow_and_update();
            let is_behind = {
                let members = self.members();
                waited_for.iter().any(|number| members.heard.get(number).is_some_and(|heard| *heard < count))
            };
            if !is_behind || heard.changed().await.is_err() {
                return;
            }
        }
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    /// It has taken all events up to change `count`.
    pub(crate) fn heard(&self, count: u64) {
        self.audience.members().heard.insert(self.number, count);
        self.audience.heard.send_replace(());
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.audience.members().heard.remove(&self.number);
        self.audience.heard.send_replace(());
    }
}
