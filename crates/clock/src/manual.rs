//! A clock that stands still until it is told to go, and randomness that repeats.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lambfold_types::{Clock, Entropy, SleepFuture, Timestamp};
use rand::{RngCore, SeedableRng, rngs::StdRng};
use tokio::sync::oneshot;

/// Time that moves only by [`ManualClock::advance`]. Clones share it.
#[derive(Clone, Debug)]
pub struct ManualClock {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    now: Timestamp,
    sleepers: BTreeMap<Timestamp, Vec<oneshot::Sender<()>>>,
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn at(now: Timestamp) -> Self {
        Self { state: Arc::new(Mutex::new(State { now, sleepers: BTreeMap::new() })) }
    }

    /// Moves time on and wakes who slept until then, in the order of their deadlines.
    pub fn advance(&self, by: Duration) {
        let due = {
            let mut state = self.state();
            state.now = state.now + by;
            let after = state.now + Duration::from_millis(1);
            let later = state.sleepers.split_off(&after);
            std::mem::replace(&mut state.sleepers, later)
        };
        for sleeper in due.into_values().flatten() {
            // A sleeper that was dropped meanwhile needs no waking.
            let _ = sleeper.send(());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.state().now
    }

    fn sleep_until(&self, deadline: Timestamp) -> SleepFuture {
        let mut state = self.state();
        if deadline <= state.now {
            return Box::pin(std::future::ready(()));
        }
        let (wake, woken) = oneshot::channel();
        state.sleepers.entry(deadline).or_default().push(wake);
        Box::pin(async move {
            let _ = woken.await;
        })
    }
}

/// The same bytes for the same seed.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<StdRng>);

impl SeededEntropy {
    /// Randomness that follows from `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_those_whose_time_has_come_wake() {
        let clock = ManualClock::at(Timestamp::from_millis(1000));
        let soon = tokio::spawn(clock.sleep_until(Timestamp::from_millis(1500)));
        let late = tokio::spawn(clock.sleep_until(Timestamp::from_millis(1501)));
        clock.advance(Duration::from_millis(500));
        soon.await.unwrap();
        assert!(!late.is_finished());
        clock.advance(Duration::from_millis(1));
        late.await.unwrap();
    }
}
