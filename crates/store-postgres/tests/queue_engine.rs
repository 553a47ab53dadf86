//! The queue engine over a real PostgreSQL server, with real time and threads.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lambfold_clock::{SystemClock, SystemEntropy};
use lambfold_queue::testing::{self, Running, message, poll};
use lambfold_queue::{Error, QueueCounts};
use lambfold_store_postgres::PostgresQueueStore;
use lambfold_store_postgres::testing::{TestSchema, own_server, server};
use tokio::task::JoinSet;

fn start(schema: &TestSchema) -> Running {
    let store = PostgresQueueStore::open(schema.options()).unwrap();
    Running::start(Arc::new(store), Arc::new(SystemClock::new()), Arc::new(SystemEntropy))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_and_receivers_lose_and_double_nothing() {
    let Some(server) = server() else { return };
    let schema = server.schema();
    testing::many_senders_and_receivers_lose_and_double_nothing(start(&schema)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_and_a_start_have_everything_back() {
    let Some(server) = server() else { return };
    let schema = server.schema();
    testing::a_stop_and_a_start_have_everything_back(|| start(&schema)).await;
}

/// The server crashes twice while messages are sent: what was acknowledged is there, and the store connects again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_crashes_loses_nothing_that_was_acknowledged() {
    const SENDERS: usize = 8;
    const EACH: usize = 200;
    let Some(server) = own_server() else { return };
    let server = Arc::new(server);
    let schema = server.schema();
    let running = start(&schema);
    let queue = running.queue("jobs").await;
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (handle, queue) = (running.handle.clone(), queue.clone());
        let acknowledged = Arc::clone(&acknowledged);
        senders.spawn(async move {
            let mut refused = 0;
            for number in 0..EACH {
                // What fails may have been stored: it is sent again.
                while let Err(error) = handle.send(&queue, vec![message(format!("{sender}/{number}"))]).await
                {
                    refused += 1;
                    assert!(refused < 1_000_000, "the store comes back: {error}");
                    tokio::task::yield_now().await;
                }
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            refused
        });
    }
    for part in [1, 2] {
        while acknowledged.load(Ordering::Relaxed) < part * SENDERS * EACH / 3 {
            tokio::task::yield_now().await;
        }
        let server = Arc::clone(&server);
        tokio::task::spawn_blocking(move || server.restart()).await.unwrap();
    }
    let refused: usize = senders.join_all().await.into_iter().sum();
    assert!(refused > 0, "the crashes were noticed");
    running.stop().await;

    let running = start(&schema);
    let queue = running.handle.queue(queue.scope(), queue.name()).unwrap();
    let mut bodies = BTreeSet::new();
    loop {
        let received = running.handle.receive(&queue, poll(10, 0)).await.unwrap();
        if received.is_empty() {
            break;
        }
        bodies.extend(received.into_iter().map(|message| message.body));
    }
    assert_eq!(bodies.len(), SENDERS * EACH);
    running.stop().await;
}

/// A small filesystem, which goes with the guard.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        run(&["mount", "-t", "tmpfs", "-o", &format!("size={size},mode=0777"), "tmpfs", path_of(&directory)]);
        Self(directory)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run(&["umount", "--lazy", path_of(&self.0)]);
    }
}

fn path_of(directory: &tempfile::TempDir) -> &str {
    directory.path().to_str().unwrap()
}

fn run(command: &[&str]) {
    assert!(Command::new(command[0]).args(&command[1..]).status().unwrap().success(), "{command:?}");
}

/// Fills the disk of the server's tables for real: sends are refused, what is there can be received and deleted, and when
/// there is room again messages are taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "mounts a tmpfs, for which it has to be root"]
async fn a_full_disk_refuses_sends_and_the_rest_goes_on() {
    let disk = SmallDisk::mount("24m");
    let Some(server) = own_server() else { return };
    let schema = server.schema();
    run(&["chown", "--reference", server.directory().to_str().unwrap(), path_of(&disk.0)]);
    schema.script(&format!("CREATE TABLESPACE small LOCATION '{}'", path_of(&disk.0)));
    schema.script("ALTER DATABASE postgres SET default_tablespace = 'small'");
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    let running = start(&schema);
    let jobs = running.queue("jobs").await;
    let mut stored = 0;
    let refused = loop {
        match running.handle.send(&jobs, vec![message("x".repeat(1_500)); 10]).await {
            Ok(sent) => stored += sent.len(),
            Err(error) => break error,
        }
        assert!(stored < 20_000, "a small disk is full some time");
    };
    assert!(matches!(refused, Error::StorageFull), "{refused}");
    assert!(stored > 1_000, "{stored}");
    let mut deleted = 0;
    while deleted < stored {
        let received = running.handle.receive(&jobs, poll(10, 0)).await.unwrap();
        assert!(!received.is_empty(), "{deleted} of {stored}");
        let handles: Vec<_> = received.iter().map(|message| message.handle).collect();
        deleted += handles.len();
        running.handle.delete(&jobs, handles).await.unwrap();
    }
    assert_eq!(running.counts(&jobs).await, QueueCounts::default());
    // What was deleted is given back by VACUUM, which needs some room itself.
    std::fs::remove_file(&ballast).unwrap();
    schema.script("VACUUM");
    running.handle.send(&jobs, vec![message("there is room".into())]).await.unwrap();
    running.stop().await;
}
