//! `cargo bench -p lambfold-benches`: the queue engine on SQLite without HTTP, and the same group commit by hand: what
//! the engine adds to the floor.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lambfold_clock::{SystemClock, SystemEntropy};
use lambfold_queue::{
    CreateOutcome, NewMessage, NewQueue, Options, Queue, QueueHandle, QueueService, ReceiveParams,
};
use lambfold_store_sqlite::{QueueOptions, SqliteQueueStore};
use lambfold_types::{PlainSealer, Scope};
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = SqliteQueueStore::open(&directory.path().join("queue.sqlite"), &QueueOptions::default());
    let store = Arc::new(store.expect("the store opens"));
    let (clock, entropy) = (Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
    let service = QueueService::build(Options::default(), store, clock, entropy, Arc::new(PlainSealer));
    let service = service.expect("the service is built");
    let handle = service.handle();
    let stop = CancellationToken::new();
    let running = tokio::spawn(service.run(stop.clone()));

    for tasks in [1, 16, 64] {
        let queue = create(&handle, &format!("send-{tasks}")).await;
        let per_second =
            rate(tasks, 2.0, async || handle.send(&queue, vec![message()]).await.map(|sent| sent.len()))
                .await;
        println!("send, {tasks:>2} callers: {per_second:>8.0}/s");
    }
    let queue = create(&handle, "life").await;
    let per_second = rate(16, 2.0, async || {
        handle.send(&queue, vec![message()]).await?;
        let params =
            ReceiveParams { max_messages: 1, wait_time: Some(Duration::ZERO), ..ReceiveParams::default() };
        let received = handle.receive(&queue, params).await?;
        let count = received.len();
        handle.delete(&queue, received.into_iter().map(|message| message.handle).collect()).await?;
        Ok::<_, lambfold_queue::Error>(count)
    })
    .await;
    println!("life, 16 callers: {per_second:>8.0}/s");
    stop.cancel();
    running.await.expect("the service stops");
}

async fn create(handle: &QueueHandle, name: &str) -> Queue {
    let name = name.parse().expect("a queue name");
    match handle
        .create_queue(Scope::default(), name, NewQueue::default())
        .await
        .expect("the queue is created")
    {
        CreateOutcome::Created(queue) | CreateOutcome::Exists(queue) => queue,
    }
}

fn message() -> NewMessage {
    NewMessage { body: Bytes::from_static(&[b'x'; 256]), ..NewMessage::default() }
}

/// What `call` counts, a second, with `tasks` of it at once.
async fn rate<E: std::fmt::Debug>(
    tasks: usize,
    seconds: f64,
    call: impl AsyncFn() -> Result<usize, E>,
) -> f64 {
    let began = Instant::now();
    let one = async || {
        let mut count = 0;
        while began.elapsed().as_secs_f64() < seconds {
            count += call().await.expect("the engine answers");
        }
        count
    };
    let counts = futures_util::future::join_all((0..tasks).map(|_| one())).await;
    #[expect(clippy::cast_precision_loss, reason = "counts of a bench are far below 2^52")]
    let total = counts.into_iter().sum::<usize>() as f64;
    total / began.elapsed().as_secs_f64()
}
