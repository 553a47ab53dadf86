//! The queue engine over a real SQLite file, with real time and threads.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lambfold_clock::{SystemClock, SystemEntropy};
use lambfold_queue::{
    CreateOutcome, Error, NewMessage, NewQueue, Options, Queue, QueueCounts, QueueHandle, QueueService,
    ReceiveParams,
};
use lambfold_store_sqlite::{QueueOptions, SqliteQueueStore};
use lambfold_types::{PlainSealer, Scope};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

struct Running {
    handle: QueueHandle,
    shutdown: CancellationToken,
    service: JoinHandle<()>,
}

impl Running {
    fn start(path: &Path, options: &QueueOptions) -> Self {
        let store = Arc::new(SqliteQueueStore::open(path, options).unwrap());
        let clock = Arc::new(SystemClock::new());
        let (entropy, sealer) = (Arc::new(SystemEntropy), Arc::new(PlainSealer));
        let service = QueueService::build(Options::default(), store, clock, entropy, sealer).unwrap();
        let (handle, shutdown) = (service.handle(), CancellationToken::new());
        let service = tokio::spawn(service.run(shutdown.clone()));
        Self { handle, shutdown, service }
    }

    /// Returns when all is committed and the file is closed.
    async fn stop(self) {
        self.shutdown.cancel();
        self.service.await.unwrap();
    }

    async fn queue(&self, name: &str) -> Queue {
        let name = name.parse().unwrap();
        match self.handle.create_queue(Scope::default(), name, NewQueue::default()).await.unwrap() {
            CreateOutcome::Created(queue) | CreateOutcome::Exists(queue) => queue,
        }
    }

    async fn counts(&self, queue: &Queue) -> QueueCounts {
        self.handle.queue_info(queue).await.unwrap().counts
    }
}

fn message(body: String) -> NewMessage {
    NewMessage { body: body.into(), ..NewMessage::default() }
}

fn poll(max_messages: usize, wait: u64) -> ReceiveParams {
    ReceiveParams {
        max_messages,
        visibility_timeout: None,
        wait_time: Some(Duration::from_secs(wait)),
        attempt_id: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_and_receivers_lose_and_double_nothing() {
    const SENDERS: usize = 16;
    const EACH: usize = 100;
    let directory = tempfile::tempdir().unwrap();
    let running = Running::start(&directory.path().join("queue.db"), &QueueOptions::default());
    let queues = [running.queue("a").await, running.queue("b").await];
    let mut tasks = JoinSet::new();
    for sender in 0..SENDERS {
        let (handle, queue) = (running.handle.clone(), queues[sender % 2].clone());
        tasks.spawn(async move {
            for number in 0..EACH {
                handle.send(&queue, vec![message(format!("{sender}/{number}"))]).await.unwrap();
            }
            BTreeSet::new()
        });
    }
    for receiver in 0..8 {
        let (handle, queue) = (running.handle.clone(), queues[receiver % 2].clone());
        tasks.spawn(async move {
            let mut bodies = BTreeSet::new();
            loop {
                let received = handle.receive(&queue, poll(10, 1)).await.unwrap();
                if received.is_empty() {
                    return bodies;
                }
                let handles = received.iter().map(|message| message.handle).collect();
                for message in received {
                    assert!(bodies.insert(message.body), "nobody gets a message twice");
                }
                handle.delete(&queue, handles).await.unwrap();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_and_a_start_have_everything_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue.db");
    let running = Running::start(&path, &QueueOptions::default());
    let (jobs, gone) = (running.queue("jobs").await, running.queue("gone").await);
    let batch = |from: usize| (from..from + 100).map(|number| message(format!("{number:05}"))).collect();
    for round in 0..30 {
        running.handle.send(&jobs, batch(round * 100)).await.unwrap();
    }
    running.handle.send(&gone, batch(0)).await.unwrap();
    let mut delayed = message("delayed".into());
    delayed.delay = Some(Duration::from_mins(15));
    running.handle.send(&jobs, vec![delayed]).await.unwrap();
    let received = running.handle.receive(&jobs, poll(10, 0)).await.unwrap();
    let deleted = received[..4].iter().map(|message| message.handle).collect();
    running.handle.delete(&jobs, deleted).await.unwrap();
    running.handle.delete_queue(&gone).await.unwrap();
    running.stop().await;

    let running = Running::start(&path, &QueueOptions::default());
    assert!(matches!(running.handle.queue(gone.scope(), gone.name()), Err(Error::NoSuchQueue)));
    let jobs = running.handle.queue(jobs.scope(), jobs.name()).unwrap();
    assert_eq!(running.counts(&jobs).await, QueueCounts { visible: 2_990, in_flight: 6, delayed: 1 });
    let rest = received[4..].iter().map(|message| message.handle).collect();
    running.handle.delete(&jobs, rest).await.unwrap();
    let mut bodies = BTreeSet::new();
    while bodies.len() < 2_990 {
        let received = running.handle.receive(&jobs, poll(10, 0)).await.unwrap();
        assert!(!received.is_empty());
        bodies.extend(received.into_iter().map(|message| message.body));
    }
    assert!(!bodies.iter().any(|body| received.iter().any(|message| message.body == *body)));
    assert_eq!(running.counts(&jobs).await, QueueCounts { visible: 0, in_flight: 2_990, delayed: 1 });
    running.handle.purge(&jobs).await.unwrap();
    running.stop().await;

    let running = Running::start(&path, &QueueOptions::default());
    let jobs = running.handle.queue(jobs.scope(), jobs.name()).unwrap();
    assert_eq!(running.counts(&jobs).await, QueueCounts::default());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_reserve_sends_are_refused_and_the_rest_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue.db");
    let running = Running::start(&path, &QueueOptions::default());
    let jobs = running.queue("jobs").await;
    running.handle.send(&jobs, vec![message("a".into())]).await.unwrap();
    running.stop().await;

    let running = Running::start(&path, &QueueOptions { reserve_bytes: u64::MAX });
    let jobs = running.handle.queue(jobs.scope(), jobs.name()).unwrap();
    let refused = running.handle.send(&jobs, vec![message("b".into())]).await;
    assert!(matches!(refused, Err(Error::StorageFull)));
    let received = running.handle.receive(&jobs, poll(10, 0)).await.unwrap();
    assert_eq!(received.len(), 1);
    running.handle.delete(&jobs, vec![received[0].handle]).await.unwrap();
    assert_eq!(running.counts(&jobs).await, QueueCounts::default());
    running.stop().await;
}

/// Fills a small filesystem for real.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "mounts a tmpfs, for which it has to be root"]
async fn a_full_disk_refuses_sends_and_the_rest_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let mount =
        |arguments: &[&str]| std::process::Command::new(arguments[0]).args(&arguments[1..]).status().unwrap();
    let target = directory.path().to_str().unwrap();
    assert!(mount(&["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", target]).success());
    let running =
        Running::start(&directory.path().join("queue.db"), &QueueOptions { reserve_bytes: 8 << 20 });
    let jobs = running.queue("jobs").await;
    let mut stored = 0;
    let refused = loop {
        match running.handle.send(&jobs, vec![message("x".repeat(10_000)); 10]).await {
            Ok(sent) => stored += sent.len(),
            Err(error) => break error,
        }
        assert!(stored < 10_000, "a small disk is full some time");
    };
    assert!(matches!(refused, Error::StorageFull), "{refused}");
    assert!(stored > 100);
    let mut deleted = 0;
    while deleted < stored {
        let received = running.handle.receive(&jobs, poll(10, 0)).await.unwrap();
        assert!(!received.is_empty());
        let handles: Vec<_> = received.iter().map(|message| message.handle).collect();
        deleted += handles.len();
        running.handle.delete(&jobs, handles).await.unwrap();
    }
    assert_eq!(running.counts(&jobs).await, QueueCounts::default());
    running.stop().await;
    assert!(mount(&["umount", target]).success());
}
