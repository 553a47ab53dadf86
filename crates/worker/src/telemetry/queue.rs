//! What waits for one subscriber: gathered until it is enough or old enough, and never more than there is room for.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lambfold_types::{Clock, Timestamp};
use tokio::sync::Notify;

use super::subscription::Buffering;

/// What an event costs beside its text.
const OVERHEAD: usize = 64;
/// What waits, over all environments of a worker.
const MOST_OF_ALL: usize = 64 << 20;
/// How long something waits at most once its environment ends.
const LAST_TIMEOUT: Duration = Duration::from_millis(25);

/// The bytes that wait in all queues of a worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room(Arc<AtomicUsize>);

impl Room {
    /// False if there is none for so many bytes.
    fn take(&self, bytes: usize) -> bool {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        let fits = before + bytes <= MOST_OF_ALL;
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Given back when dropped.
pub(super) struct Taken {
    room: Room,
    bytes: usize,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.give_back(self.bytes);
    }
}

pub(super) struct Queue {
    buffering: Buffering,
    room: Room,
    state: Mutex<State>,
    /// There is something new for the one that takes batches.
    changed: Notify,
    /// It has sent everything.
    emptied: Notify,
}

#[derive(Default)]
struct State {
    events: VecDeque<Bytes>,
    bytes: usize,
    /// When the oldest came.
    since: Option<Timestamp>,
    /// A batch has been taken and not been sent yet.
    taken: bool,
    /// Everything is to go now.
    flush: bool,
    ending: bool,
    lost: Lost,
}

/// What never reaches the subscriber.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// What is sent together.
pub(super) struct Batch {
    pub(super) events: Vec<Bytes>,
    /// What was lost after these.
    pub(super) lost: Lost,
    /// Of the events' text.
    pub(super) bytes: usize,
    /// Held, not used.
    room: Taken,
}

impl Queue {
    pub(super) fn new(buffering: Buffering, room: Room) -> Self {
        let (changed, emptied) = (Notify::new(), Notify::new());
        Self { buffering, room, state: Mutex::default(), changed, emptied }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock leaves it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event, or counts it as lost. Returns at once. A batch is being sent while another one is gathered, so
    /// there is room for two.
    pub(super) fn push(&self, event: Bytes, now: Timestamp) {
        let mut state = self.state();
        let (size, cost) = (event.len(), event.len() + OVERHEAD);
        let fits =
            state.events.len() < 2 * self.buffering.items && state.bytes + size <= 2 * self.buffering.bytes;
        if !fits || !self.room.take(cost) {
            state.lost.records += 1;
            state.lost.bytes += size as u64;
            return;
        }
        state.events.push_back(event);
        state.bytes += size;
        let first = state.since.is_none();
        state.since.get_or_insert(now);
        let full = self.is_full(&state);
        drop(state);
        if first || full {
            self.changed.notify_one();
        }
    }

    fn is_full(&self, state: &State) -> bool {
        state.events.len() >= self.buffering.items || state.bytes >= self.buffering.bytes
    }

    /// Waits until there is a batch to send. Whoever takes it says when it has been [`sent`](Self::sent).
    pub(super) async fn batch(&self, clock: &dyn Clock) -> Batch {
        loop {
            let due = {
                let mut state = self.state();
                let timeout = if state.ending {
                    self.buffering.timeout.min(LAST_TIMEOUT)
                } else {
                    self.buffering.timeout
                };
                let due = state.since.map(|since| since + timeout);
                let now = clock.now();
                if due.is_some_and(|due| state.flush || due <= now || self.is_full(&state)) {
                    return self.take(&mut state, now);
                }
                due
            };
            match due {
                None => self.changed.notified().await,
                Some(due) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = clock.sleep_until(due) => {}
                },
            }
        }
    }

    fn take(&self, state: &mut State, now: Timestamp) -> Batch {
        let room = Taken { room: self.room.clone(), bytes: 0 };
        let mut batch = Batch { events: Vec::new(), lost: Lost::default(), bytes: 0, room };
        while let Some(event) = state.events.front() {
            let size = event.len();
            let full = batch.events.len() >= self.buffering.items
                || (batch.bytes + size > self.buffering.bytes && !batch.events.is_empty());
            if full {
                break;
            }
            batch.bytes += size;
            batch.room.bytes += size + OVERHEAD;
            state.bytes -= size;
            batch.events.extend(state.events.pop_front());
        }
        if state.events.is_empty() {
            // What was lost came after what waited.
            batch.lost = std::mem::take(&mut state.lost);
            state.since = None;
        } else {
            state.since = Some(now);
        }
        state.taken = true;
        batch
    }

    /// A batch has reached the subscriber, or never will.
    pub(super) fn sent(&self, batch: &Batch, reached: bool, now: Timestamp) {
        let mut state = self.state();
        state.taken = false;
        if !reached {
            state.lost.records += batch.lost.records + batch.events.len() as u64;
            state.lost.bytes += batch.lost.bytes + batch.bytes as u64;
            // It is told even if nothing else comes.
            state.since.get_or_insert(now);
        }
        if state.since.is_none() || (!reached && state.events.is_empty()) {
            state.flush = false;
            drop(state);
            self.emptied.notify_waiters();
        }
    }

    /// Sends everything now, and from now on nothing waits for long.
    pub(super) fn flush(&self) {
        let mut state = self.state();
        state.ending = true;
        state.flush = state.since.is_some();
        drop(state);
        self.changed.notify_one();
    }

    /// Waits until everything has been sent.
    pub(super) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            {
                let state = self.state();
                if state.events.is_empty() && !state.taken {
                    return;
                }
            }
            emptied.await;
        }
    }

    /// What has not been taken yet.
    pub(super) fn rest(&self) -> Vec<Bytes> {
        let mut state = self.state();
        let rest: Vec<Bytes> = std::mem::take(&mut state.events).into();
        self.room.give_back(state.bytes + rest.len() * OVERHEAD);
        state.bytes = 0;
        rest
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.rest();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUFFERING: Buffering = Buffering { items: 3, bytes: 100, timeout: Duration::from_secs(1) };

    fn queue() -> Queue {
        Queue::new(BUFFERING, Room::default())
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn it_holds_two_batches_and_counts_the_rest() {
        let queue = queue();
        for _ in 0..10 {
            queue.push("event".into(), at(0));
        }
        let next = |reached, count, lost| {
            let batch = queue.take(&mut queue.state(), at(0));
            assert_eq!((batch.events.len(), batch.bytes, batch.lost), (count, count * 5, lost));
            queue.sent(&batch, reached, at(0));
        };
        next(true, 3, Lost::default());
        // It never arrives: it is lost, too, and so is the word of what was lost.
        next(false, 3, Lost { records: 4, bytes: 20 });
        next(true, 0, Lost { records: 7, bytes: 35 });
        assert_eq!(queue.room.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn large_events_are_batches_of_their_own() {
        let queue = queue();
        queue.push(vec![b'x'; 150].into(), at(0));
        queue.push(vec![b'x'; 50].into(), at(0));
        let batch = queue.take(&mut queue.state(), at(0));
        assert_eq!(batch.bytes, 150);
        queue.sent(&batch, true, at(0));
        assert_eq!(queue.take(&mut queue.state(), at(0)).bytes, 50);
    }

    #[test]
    fn all_queues_together_have_a_bound() {
        let room = Room::default();
        let buffering = Buffering { items: 10_000, bytes: 1 << 20, ..BUFFERING };
        let queues: Vec<Queue> = (0..100).map(|_| Queue::new(buffering, room.clone())).collect();
        for queue in &queues {
            queue.push(vec![0; 1 << 20].into(), at(0));
        }
        assert_eq!(queues.iter().filter(|queue| queue.state().events.is_empty()).count(), 37);
        drop(queues);
        assert_eq!(room.0.load(Ordering::Relaxed), 0);
    }
}
