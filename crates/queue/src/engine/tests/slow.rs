//! A store that takes its time.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use lambfold_clock::{ManualClock, SeededEntropy};
use lambfold_types::{Clock, PlainSealer, RunFuture, Scope, SleepFuture, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::engine::Spawn;
use crate::queue::{CreateOutcome, NewQueue};
use crate::store::MemoryStore;
use crate::{Options, QueueService};

use super::harness::{messages, name, params};

/// Runs tasks on tokio, the writer only while nobody holds it.
#[derive(Clone, Default)]
struct Holding(Arc<Mutex<Hold>>);

#[derive(Default)]
struct Hold {
    is_held: bool,
    writer: Option<Waker>,
}

impl Holding {
    fn hold(&self) {
        self.0.lock().unwrap().is_held = true;
    }

    fn release(&self) {
        let mut hold = self.0.lock().unwrap();
        hold.is_held = false;
        hold.writer.take().unwrap().wake();
    }
}

impl Spawn for Holding {
    fn spawn(&self, name: &'static str, mut task: RunFuture) {
        let hold = Arc::clone(&self.0);
        drop(tokio::spawn(poll_fn(move |cx| {
            if name == "queue-writer" {
                let mut hold = hold.lock().unwrap();
                hold.writer = Some(cx.waker().clone());
                if hold.is_held {
                    return Poll::Pending;
                }
            }
            task.as_mut().poll(cx)
        })));
    }
}

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

/// Lets every task run until it waits.
async fn calm() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_owner_that_can_submit_no_more_waits_for_the_store() {
    let (holding, clock) = (Holding::default(), ManualClock::at(Timestamp::from_millis(1_700_000_000_000)));
    let counting = Arc::new(Counting { clock: clock.clone(), sleeps: AtomicUsize::new(0) });
    let service = QueueService::build_on(
        Arc::new(holding.clone()),
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

    holding.hold();
    assert_eq!(
        handle.receive(&queue, params(1, 0)).await.unwrap().len(),
        1,
        "nobody waits until it is written"
    );
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

    holding.release();
    for send in sends {
        send.await.unwrap().unwrap();
    }
    assert_eq!(handle.receive(&queue, params(10, 0)).await.unwrap().len(), 10);
    shutdown.cancel();
    running.await.unwrap();
}
