//! How many environments start at once. A start is work for a processor, and a thousand that share it are none of them
//! ready in the time that init has; one after the other they are. Accounts take turns, and within one its functions.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lambfold_types::Clock;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

/// Starts for each processor: while some wait for a file or for the kernel, others go on.
const FOR_EACH_PROCESSOR: usize = 16;
/// A start that takes longer waits for something else than a processor, and keeps nobody up.
const LONGEST_TURN: Duration = Duration::from_millis(250);

/// Where starts wait for their turn.
pub(crate) struct StartGate {
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    under_way: usize,
    /// By account, then by function.
    waiting: Rotation<Rotation<VecDeque<oneshot::Sender<Passage>>>>,
}

/// What waits by whose it is, of which one after the other has its turn.
struct Rotation<T> {
    all: BTreeMap<String, T>,
    last: String,
}

/// A start's turn, until it is dropped or over.
pub(crate) struct Turn {
    _task: AbortOnDropHandle<()>,
}

/// One of the places; given back when it is dropped.
struct Passage(Option<Arc<StartGate>>);

impl StartGate {
    pub(crate) fn new() -> Arc<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::of(processors * FOR_EACH_PROCESSOR)
    }

    fn of(most: usize) -> Arc<Self> {
        Arc::new(Self { most, state: Mutex::default() })
    }

    /// Waits for a turn.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        account: &str,
        function: &str,
        clock: &Arc<dyn Clock>,
    ) -> Turn {
        let passage = self.place(account, function).await;
        let clock = Arc::clone(clock);
        let task = tokio::spawn(async move {
            clock.sleep_until(clock.now() + LONGEST_TURN).await;
            drop(passage);
        });
        Turn { _task: AbortOnDropHandle::new(task) }
    }

    async fn place(self: &Arc<Self>, account: &str, function: &str) -> Passage {
        let told = {
            let mut state = self.state();
            if state.under_way < self.most {
                state.under_way += 1;
                return self.passage();
            }
            let (tell, told) = oneshot::channel();
            state.waiting.of(account).of(function).push_back(tell);
            told
        };
        // It is never forgotten, only given its turn.
        told.await.unwrap_or(Passage(None))
    }

    /// Gives a place to who is next, if anybody waits.
    fn pass_on(self: Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state();
                let next = state.waiting.take(
                    |functions| functions.take(VecDeque::pop_front, VecDeque::is_empty),
                    |functions| functions.all.is_empty(),
                );
                if next.is_none() {
                    state.under_way -= 1;
                }
                next
            };
            match next.map(|tell| tell.send(self.passage())) {
                // Who waited has gone: the place is still to be given.
                Some(Err(mut passage)) => passage.0 = None,
                Some(Ok(())) | None => return,
            }
        }
    }

    fn passage(self: &Arc<Self>) -> Passage {
        Passage(Some(Arc::clone(self)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock leaves it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Rotation<T> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), last: String::new() }
    }
}

impl<T: Default> Rotation<T> {
    fn of(&mut self, whose: &str) -> &mut T {
        self.all.entry(whose.to_owned()).or_default()
    }

    /// Takes one of whose turn it is, and forgets who has nothing left.
    fn take<R>(
        &mut self,
        one: impl FnOnce(&mut T) -> Option<R>,
        is_empty: impl FnOnce(&T) -> bool,
    ) -> Option<R> {
        let behind = (Bound::Excluded(self.last.clone()), Bound::Unbounded);
        let next = self.all.range::<String, _>(behind).next().or_else(|| self.all.iter().next());
        let whose = next?.0.clone();
        let found = self.all.get_mut(&whose)?;
        let taken = one(found);
        if is_empty(found) {
            self.all.remove(&whose);
        }
        self.last = whose;
        taken
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if let Some(gate) = self.0.take() {
            gate.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use lambfold_types::Timestamp;

    use super::*;

    /// Asks for a place, and does not wait for it.
    macro_rules! asked {
        ($gate:expr, $account:expr, $function:expr) => {{
            let mut place = Box::pin($gate.place($account, $function));
            assert!(place.as_mut().now_or_never().is_none(), "it has to wait");
            place
        }};
    }

    #[tokio::test]
    async fn accounts_take_turns_and_within_one_its_functions() {
        let gate = StartGate::of(1);
        let mut held = gate.place("a", "f").now_or_never();
        let mut waiting = Vec::new();
        for (account, function) in [("a", "f"), ("a", "f"), ("a", "g"), ("b", "h"), ("b", "h")] {
            waiting.push(((account, function), asked!(gate, account, function)));
        }
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(held.take());
            let ready = waiting.iter_mut().position(|(_, place)| {
                held = place.as_mut().now_or_never();
                held.is_some()
            });
            order.push(waiting.remove(ready.unwrap()).0);
        }
        assert_eq!(order, [("a", "f"), ("b", "h"), ("a", "g"), ("b", "h"), ("a", "f")]);
        drop(held);
        assert_eq!(gate.state().under_way, 0);
    }

    #[tokio::test]
    async fn a_place_of_who_has_gone_is_the_next_ones() {
        let gate = StartGate::of(1);
        let held = gate.place("a", "f").now_or_never().unwrap();
        let gone = asked!(gate, "a", "f");
        let mut next = asked!(gate, "a", "f");
        drop(gone);
        drop(held);
        drop(next.as_mut().now_or_never().unwrap());
        assert_eq!(gate.state().under_way, 0);
        // Told, but gone before it heard of it.
        let held = gate.place("a", "f").now_or_never().unwrap();
        let told = asked!(gate, "a", "f");
        drop(held);
        drop(told);
        assert_eq!(gate.state().under_way, 0);
    }

    #[tokio::test]
    async fn a_turn_is_over_when_its_time_is() {
        let manual = lambfold_clock::ManualClock::at(Timestamp::from_millis(0));
        let clock: Arc<dyn Clock> = Arc::new(manual.clone());
        let gate = StartGate::of(1);
        let _slow = gate.enter("a", "f", &clock).await;
        let mut next = asked!(gate, "a", "f");
        while next.as_mut().now_or_never().is_none() {
            manual.advance(Duration::from_millis(10));
            tokio::task::yield_now().await;
        }
        assert!(clock.now() >= Timestamp::from_millis(0) + LONGEST_TURN);
    }
}
