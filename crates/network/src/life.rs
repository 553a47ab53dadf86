//! What a connection's task and the server of its environment share.

use std::sync::atomic::{AtomicI64, Ordering};

use lambfold_types::Timestamp;
use tokio::sync::Notify;

/// The life of one connection: when it last gave a sign, and whether it must end.
#[derive(Debug)]
pub(crate) struct Life {
    /// In milliseconds.
    last_sign: AtomicI64,
    end: Notify,
}

impl Life {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { last_sign: AtomicI64::new(now.millis()), end: Notify::new() }
    }

    /// Something was said.
    pub(crate) fn sign(&self, now: Timestamp) {
        self.last_sign.store(now.millis(), Ordering::Relaxed);
    }

    /// When something was last said.
    pub(crate) fn last_sign(&self) -> Timestamp {
        Timestamp::from_millis(self.last_sign.load(Ordering::Relaxed))
    }

    /// Asks the task to end, whatever is still to be said.
    pub(crate) fn end(&self) {
        self.end.notify_one();
    }

    /// Returns when it was asked to.
    pub(crate) async fn must_end(&self) {
        self.end.notified().await;
    }
}
