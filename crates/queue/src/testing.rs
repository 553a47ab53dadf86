//! The engine over a store, in real time: what must hold whichever store it is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lambfold_types::{Clock, Entropy, PlainSealer, Scope};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    CreateOutcome, Error, NewMessage, NewQueue, Options, Queue, QueueCounts, QueueHandle, QueueService,
    QueueStore, ReceiveParams,
};

/// An engine that runs.
pub struct Running {
    /// The way in.
    pub handle: QueueHandle,
    shutdown: CancellationToken,
    service: JoinHandle<()>,
}

impl Running {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// If the store cannot be read.
    pub fn start(store: Arc<dyn QueueStore>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let sealer = Arc::new(PlainSealer);
        let service =
            QueueService::build(Options::default(), store, clock, entropy, sealer).expect("a service");
        let (handle, shutdown) = (service.handle(), CancellationToken::new());
        let service = tokio::spawn(service.run(shutdown.clone()));
        Self { handle, shutdown, service }
    }

    /// Returns when all is committed and the store is closed.
    ///
    /// # Panics
    ///
    /// If the engine did.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.service.await.expect("the engine ends");
    }

    /// The queue of that name; it is made if need be.
    ///
    /// # Panics
    ///
    /// If it cannot be.
    pub async fn queue(&self, name: &str) -> Queue {
        let name = name.parse().expect("a queue's name");
        let made = self.handle.create_queue(Scope::default(), name, NewQueue::default()).await;
        match made.expect("a queue") {
            CreateOutcome::Created(queue) | CreateOutcome::Exists(queue) => queue,
        }
    }

    /// How many messages are in which state.
    ///
    /// # Panics
    ///
    /// If that cannot be told.
    pub async fn counts(&self, queue: &Queue) -> QueueCounts {
        self.handle.queue_info(queue).await.expect("the counts").counts
    }
}

/// A message of that body.
pub fn message(body: String) -> NewMessage {
    NewMessage { body: body.into(), ..NewMessage::default() }
}

/// A receive that waits for so many seconds.
pub fn poll(max_messages: usize, wait: u64) -> ReceiveParams {
    ReceiveParams {
        max_messages,
        visibility_timeout: None,
        wait_time: Some(Duration::from_secs(wait)),
        attempt_id: None,
    }
}

/// Sixteen send and eight receive at once.
///
/// # Panics
///
/// If a message is lost or comes twice.
pub async fn many_senders_and_receivers_lose_and_double_nothing(running: Running) {
    const SENDERS: usize = 16;
    const EACH: usize = 100;
    let queues = [running.queue("a").await, running.queue("b").await];
    let mut tasks = JoinSet::new();
    for sender in 0..SENDERS {
        let (handle, queue) = (running.handle.clone(), queues[sender % 2].clone());
        tasks.spawn(async move {
            for number in 0..EACH {
                handle.send(&queue, vec![message(format!("{sender}/{number}"))]).await.expect("sent");
            }
            BTreeSet::new()
        });
    }
    for receiver in 0..8 {
        let (handle, queue) = (running.handle.clone(), queues[receiver % 2].clone());
        tasks.spawn(async move {
            let mut bodies = BTreeSet::new();
            loop {
                let received = handle.receive(&queue, poll(10, 1)).await.expect("received");
                if received.is_empty() {
                    return bodies;
                }
                let handles = received.iter().map(|message| message.handle).collect();
                for message in received {
                    assert!(bodies.insert(message.body), "nobody gets a message twice");
                }
                handle.delete(&queue, handles).await.expect("deleted");
            }
        });
    }
    let parts = tasks.join_all().await;
    let all: BTreeSet<_> = parts.iter().flatten().collect();
    assert_eq!(parts.iter().map(BTreeSet::len).sum::<usize>(), all.len(), "no two get the same");
    assert_eq!(all.len(), SENDERS * EACH);
    for queue in &queues {
        assert_eq!(running.counts(queue).await, QueueCounts::default());
    }
    running.stop().await;
}

/// `start` opens the same store each time.
///
/// # Panics
///
/// If something is not there.
pub async fn a_stop_and_a_start_have_everything_back(start: impl Fn() -> Running) {
    let running = start();
    let (jobs, gone) = (running.queue("jobs").await, running.queue("gone").await);
    let batch = |from: usize| (from..from + 100).map(|number| message(format!("{number:05}"))).collect();
    for round in 0..30 {
        running.handle.send(&jobs, batch(round * 100)).await.expect("sent");
    }
    running.handle.send(&gone, batch(0)).await.expect("sent");
    let mut delayed = message("delayed".into());
    delayed.delay = Some(Duration::from_mins(15));
    running.handle.send(&jobs, vec![delayed]).await.expect("sent");
    let received = running.handle.receive(&jobs, poll(10, 0)).await.expect("received");
    let deleted = received[..4].iter().map(|message| message.handle).collect();
    running.handle.delete(&jobs, deleted).await.expect("deleted");
    running.handle.delete_queue(&gone).await.expect("deleted");
    running.stop().await;

    let running = start();
    assert!(matches!(running.handle.queue(gone.scope(), gone.name()), Err(Error::NoSuchQueue)));
    let jobs = running.handle.queue(jobs.scope(), jobs.name()).expect("the queue");
    assert_eq!(running.counts(&jobs).await, QueueCounts { visible: 2_990, in_flight: 6, delayed: 1 });
    let rest = received[4..].iter().map(|message| message.handle).collect();
    running.handle.delete(&jobs, rest).await.expect("deleted");
    let mut bodies = BTreeSet::new();
    while bodies.len() < 2_990 {
        let received = running.handle.receive(&jobs, poll(10, 0)).await.expect("received");
        assert!(!received.is_empty());
        bodies.extend(received.into_iter().map(|message| message.body));
    }
    assert!(!bodies.iter().any(|body| received.iter().any(|message| message.body == *body)));
    assert_eq!(running.counts(&jobs).await, QueueCounts { visible: 0, in_flight: 2_990, delayed: 1 });
    running.handle.purge(&jobs).await.expect("purged");
    running.stop().await;

    let running = start();
    let jobs = running.handle.queue(jobs.scope(), jobs.name()).expect("the queue");
    assert_eq!(running.counts(&jobs).await, QueueCounts::default());
    running.stop().await;
}
