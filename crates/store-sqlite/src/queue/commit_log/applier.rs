//! Applies to the database what the log hands over, on a thread of its own.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use lambfold_queue::store::StoreError;

use super::{Handed, Shared};

/// Before what failed is tried again, if nobody asks for it.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) fn start(shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let body = move || {
        while shared.next().is_some_and(|handed| shared.apply(&handed)) {}
    };
    std::thread::Builder::new().name("queue-apply".to_owned()).spawn(body)
}

impl Shared {
    /// Waits for something to apply; `None` at the end.
    fn next(&self) -> Option<Arc<Handed>> {
        let mut state = self.state();
        loop {
            if let Some(handed) = &state.applying {
                return Some(handed.clone());
            }
            if state.stopping && state.pending.is_empty() {
                return None;
            }
            if state.stopping {
                self.hand_over(&mut state);
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// False if it is to end all the same: what is not applied is in the log.
    fn apply(&self, handed: &Handed) -> bool {
        let apply = || self.database.apply(&handed.writes, Some(handed.through));
        // A thread that is gone would be waited for for ever.
        let result = catch_unwind(AssertUnwindSafe(apply))
            .unwrap_or_else(|_| Err(StoreError::Driver("the applier panicked".into())));
        let mut state = self.state();
        match result {
            Ok(()) => {
                state.applying = None;
                state.applied = handed.through;
                state.failure = None;
            }
            Err(error) => {
                tracing::error!(%error, "what is in the commit log cannot be brought into the database yet");
                state.failure = Some((&error).into());
            }
        }
        let failed = state.failure.is_some();
        self.changed.notify_all();
        if failed && !state.stopping {
            let waits = |state: &mut super::State| !state.asked && !state.stopping;
            let waited = self.changed.wait_timeout_while(state, PAUSE, waits);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.asked = false;
            return true;
        }
        !failed
    }
}
