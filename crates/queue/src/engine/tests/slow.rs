//! A store that takes its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lambfold_clock::{ManualClock, SeededEntropy};
use lambfold_types::{Clock, PlainSealer, Scope, SleepFuture, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::queue::{CreateOutcome, NewQueue};
use crate::store::MemoryStore;
use crate::{Options, QueueService};

use super::harness::{Gate, calm, messages, name, params};

/// Wound by hand; counts how often somebody begins to sleep.
struct Counting {
    clock: ManualClock,
    sleeps: AtomicUsize,
}

impl Clock for Counting {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn sleep_until(&self, deadline: Timestamp) -> SleepFuture {
        // Whoever does it in a turn without an end would never let the test go on.
        assert!(self.sleeps.fetch_add(1, Ordering::Relaxed) < 1000, "somebody sleeps over and over");
        self.clock.sleep_until(deadline)
    }
}

#[tokio::test]
async fn an_owner_that_can_submit_no_more_waits_for_the_store() {
    let (gate, clock) = (Gate::default(), ManualClock::at(Timestamp::from_millis(1_700_000_000_000)));
    let counting = Arc::new(Counting { clock: clock.clone(), sleeps: AtomicUsize::new(0) });
    let service = QueueService::build_on(
        Arc::new(gate.clone()),
        Options::default(),
        Arc::new(MemoryStore::new()),
        Arc::<Counting>::clone(&counting),
        Arc::new(SeededEntropy::new(7)),
        Arc::new(PlainSealer),
        None,
    );
    let service = service.unwrap();
    let (handle, shutdown) = (service.handle(), CancellationToken::new());
    let running = tokio::spawn(service.run(shutdown.clone()));
    let created = handle.create_queue(Scope::default(), name("jobs"), NewQueue::default()).await.unwrap();
    let (CreateOutcome::Created(queue) | CreateOutcome::Exists(queue)) = created;
    handle.send(&queue, messages(&["a", "b"])).await.unwrap();

    gate.holds_up_commits.store(true, Ordering::Relaxed);
    // Nobody waits until that is written, and more follows than may be on its way at once.
    assert_eq!(handle.receive(&queue, params(1, 0)).await.unwrap().len(), 1);
    let mut sends = Vec::new();
    for _ in 0..12 {
        let (handle, queue) = (handle.clone(), queue.clone());
        sends.push(tokio::spawn(async move { handle.send(&queue, messages(&["c"])).await }));
        calm().await;
    }
    // The time of the receive has come.
    clock.advance(Duration::from_millis(20));
    calm().await;
    assert!(sends.iter().all(|send| !send.is_finished()));

    gate.holds_up_commits.store(false, Ordering::Relaxed);
    for send in sends {
        send.await.unwrap().unwrap();
    }
    assert_eq!(handle.receive(&queue, params(10, 0)).await.unwrap().len(), 10);
    shutdown.cancel();
    running.await.unwrap();
}
