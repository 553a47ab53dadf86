//! The queue engine over a real PostgreSQL server, with real time and threads.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lambfold_clock::{SystemClock, SystemEntropy};
use lambfold_queue::testing::{self, Running, message, poll};
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
