//! Time that moves when the simulation says so.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lambfold_types::{Clock, SleepFuture, Timestamp};

/// Clones share the time.
#[derive(Clone, Debug)]
pub(crate) struct VirtualClock(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    now: Timestamp,
    last_sleeper: u64,
    /// Who sleeps now: a sleep that was dropped is none, so that time never jumps to where nothing happens.
    sleepers: BTreeMap<(Timestamp, u64), Waker>,
}

impl VirtualClock {
    pub(crate) fn new() -> Self {
        let now = Timestamp::from_millis(1_700_000_000_000);
        Self(Arc::new(Mutex::new(State { now, last_sleeper: 0, sleepers: BTreeMap::new() })))
    }

    /// Moves time on and wakes who slept until then.
    pub(crate) fn advance(&self, by: Duration) {
        let mut state = self.state();
        state.now = state.now + by;
        let after = state.now + Duration::from_millis(1);
        let later = state.sleepers.split_off(&(after, 0));
        let due = std::mem::replace(&mut state.sleepers, later);
        drop(state);
        due.into_values().for_each(Waker::wake);
    }

    /// When the next sleeper wakes.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.state().sleepers.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.state().now
    }

    fn sleep_until(&self, deadline: Timestamp) -> SleepFuture {
        let mut state = self.state();
        state.last_sleeper += 1;
        Box::pin(Sleep { clock: self.clone(), key: (deadline, state.last_sleeper) })
    }
}

struct Sleep {
    clock: VirtualClock,
    key: (Timestamp, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.clock.state();
        if self.key.0 <= state.now {
            return Poll::Ready(());
        }
        state.sleepers.insert(self.key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        // The waker is dropped outside of the lock.
        let sleeper = self.clock.state().sleepers.remove(&self.key);
        drop(sleeper);
    }
}
