//! Who watches, and up to which change each has heard: an update is `Successful` once the data plane runs it, so that
//! who waits for that and then invokes gets the new version (DESIGN §3 The watch).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lambfold_api::control::Mark;
use tokio::sync::watch;

/// The watches whose watchers acknowledge, by their names, with the count of changes
/// ([`crate::service::Shared::changed`]) that each has acknowledged.
#[derive(Default)]
pub(crate) struct Audience {
    members: Mutex<BTreeMap<String, u64>>,
    heard: watch::Sender<()>,
}

/// One watcher, for as long as it watches.
pub(crate) struct Member {
    audience: Arc<Audience>,
    watch: String,
}

impl Audience {
    /// A watcher that has heard nothing yet. `watch` is a name that is never used again.
    pub(crate) fn join(self: &Arc<Self>, watch: String) -> Member {
        self.members().insert(watch.clone(), 0);
        Member { audience: Arc::clone(self), watch }
    }

    /// A watcher acts on all changes up to that count. One that has gone is not missed.
    pub(crate) fn acknowledged(&self, watch: &str, count: u64) {
        if let Some(heard) = self.members().get_mut(watch) {
            *heard = count.max(*heard);
        }
        self.heard.send_replace(());
    }

    /// Returns when all who watch now have heard of change `count`, or have gone.
    pub(crate) async fn has_heard(&self, count: u64) {
        let mut heard = self.heard.subscribe();
        let waited_for: Vec<String> = self.members().keys().cloned().collect();
        loop {
            heard.borrow_and_update();
            let is_behind = {
                let members = self.members();
                waited_for.iter().any(|watch| members.get(watch).is_some_and(|heard| *heard < count))
            };
            if !is_behind || heard.changed().await.is_err() {
                return;
            }
        }
    }

    fn members(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    /// Asks to be told when everything up to change `count` is acted on.
    pub(crate) fn mark(&self, count: u64) -> Mark {
        Mark { watch: self.watch.clone(), changes: count }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.audience.members().remove(&self.watch);
        self.audience.heard.send_replace(());
    }
}
