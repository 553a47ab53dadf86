//! The queue engine over a real SQLite file, with real time and threads.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::path::Path;
use std::sync::Arc;

use lambfold_clock::{SystemClock, SystemEntropy};
use lambfold_queue::testing::{self, Running, message, poll};
use lambfold_queue::{Error, QueueCounts};
use lambfold_store_sqlite::{QueueOptions, SqliteQueueStore};

fn start(path: &Path, options: &QueueOptions) -> Running {
    let store = SqliteQueueStore::open(path, options).unwrap();
    Running::start(Arc::new(store), Arc::new(SystemClock::new()), Arc::new(SystemEntropy))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_and_receivers_lose_and_double_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let running = start(&directory.path().join("queue.db"), &QueueOptions::default());
    testing::many_senders_and_receivers_lose_and_double_nothing(running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_and_a_start_have_everything_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue.db");
    testing::a_stop_and_a_start_have_everything_back(|| start(&path, &QueueOptions::default())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_reserve_sends_are_refused_and_the_rest_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue.db");
    let running = start(&path, &QueueOptions::default());
    let jobs = running.queue("jobs").await;
    running.handle.send(&jobs, vec![message("a".into())]).await.unwrap();
    running.stop().await;

    let running = start(&path, &QueueOptions { reserve_bytes: u64::MAX });
    let jobs = running.handle.queue(jobs.scope(), jobs.name()).unwrap();
    let refused = running.handle.send(&jobs, vec![message("b".into())]).await;
    assert!(matches!(refused, Err(Error::StorageFull)));
    let received = running.handle.receive(&jobs, poll(10, 0)).await.unwrap();
    assert_eq!(received.len(), 1);
    running.handle.delete(&jobs, vec![received[0].handle]).await.unwrap();
    assert_eq!(running.counts(&jobs).await, QueueCounts::default());
    running.stop().await;
}

/// Several times what the logs have room for, without a pause in which they could be emptied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_logs_stay_near_the_room_that_they_have() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue.db");
    let length = |extension: &str| std::fs::metadata(path.with_extension(extension)).unwrap().len();
    let running = start(&path, &QueueOptions::default());
    let commits = length("db-commits");
    // A commit makes nothing durable but what it says.
    assert!(commits > 16 << 20, "{commits}");
    let jobs = running.queue("jobs").await;
    let sender = || async {
        for _ in 0..100 {
            running.handle.send(&jobs, vec![message("x".repeat(20_000)); 10]).await.unwrap();
        }
    };
    tokio::join!(sender(), sender(), sender(), sender());
    assert_eq!(length("db-commits"), commits);
    // SQLite's may outgrow its room while a checkpoint is made, and is cut when it begins anew.
    assert!(length("db-wal") <= 2 * commits, "{} after 80 MB", length("db-wal"));
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
    let running = start(&directory.path().join("queue.db"), &QueueOptions { reserve_bytes: 8 << 20 });
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
