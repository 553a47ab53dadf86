//! A running engine with hand-wound time.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use lambfold_clock::{ManualClock, SeededEntropy};
use lambfold_types::{Clock, PlainSealer, QueueName, RunFuture, Scope, Timestamp};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::queue::{CreateOutcome, NewQueue, Queue, QueueCounts};
use crate::store::{FaultyStore, MemoryStore};
use crate::{NewMessage, Options, QueueHandle, QueueService, ReceiveParams, Received, Spawn};

pub(super) type Store = FaultyStore<MemoryStore>;

pub(super) struct Engine {
    pub(super) handle: QueueHandle,
    pub(super) store: Arc<Store>,
    gate: Gate,
    clock: ManualClock,
    registry: Registry,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl Engine {
    pub(super) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub(super) async fn start_with(options: Options) -> Self {
        let store = Arc::new(FaultyStore::new(MemoryStore::new()));
        Self::start_over(store, options, ManualClock::at(Timestamp::from_millis(1_700_000_000_000))).await
    }

    async fn start_over(store: Arc<Store>, options: Options, clock: ManualClock) -> Self {
        let entropy = Arc::new(SeededEntropy::new(7));
        let gate = Gate::default();
        let service = QueueService::build_on(
            Arc::new(gate.clone()),
            options,
            Arc::<Store>::clone(&store),
            Arc::new(clock.clone()),
            entropy,
            Arc::new(PlainSealer),
            None,
        );
        let service = service.unwrap();
        let handle = service.handle();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(service.metrics()));
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(service.run(shutdown.clone()));
        let engine = Self { handle, store, gate, clock, registry, shutdown, running };
        engine.calm().await;
        engine
    }

    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap();
    }

    /// Stops without ceremony, and starts again over what is in the store.
    pub(super) async fn restart(self) -> Self {
        self.running.abort();
        self.calm().await;
        Self::start_over(self.store, Options::default(), self.clock).await
    }

    /// Whether commits wait from now on.
    pub(super) fn hold_up_commits(&self, holds_up: bool) {
        self.gate.holds_up_commits.store(holds_up, Ordering::Relaxed);
    }

    pub(super) fn shutdown(&self) {
        self.shutdown.cancel();
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets time pass, and what happens then happen.
    pub(super) async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.calm().await;
    }

    /// Lets every task run until it waits.
    pub(super) async fn calm(&self) {
        calm().await;
    }

    pub(super) async fn queue(&self, queue: &str) -> Queue {
        match self.handle.create_queue(Scope::default(), name(queue), NewQueue::default()).await.unwrap() {
            CreateOutcome::Created(queue) | CreateOutcome::Exists(queue) => queue,
        }
    }

    pub(super) async fn send(&self, queue: &Queue, bodies: &[&str]) {
        self.handle.send(queue, messages(bodies)).await.unwrap();
    }

    pub(super) async fn receive(&self, queue: &Queue, max_messages: usize) -> Vec<Received> {
        self.handle.receive(queue, params(max_messages, 0)).await.unwrap()
    }

    /// A receive that waits, on its way.
    pub(super) async fn poll(
        &self,
        queue: &Queue,
        max: usize,
    ) -> JoinHandle<Result<Vec<Received>, crate::Error>> {
        let (handle, queue) = (self.handle.clone(), queue.clone());
        let poll = tokio::spawn(async move { handle.receive(&queue, params(max, 20)).await });
        self.calm().await;
        poll
    }

    /// What `/metrics` shows of a queue: by the name of the metric.
    pub(super) async fn metrics(&self, queue: &Queue) -> BTreeMap<String, u64> {
        self.calm().await;
        let mut page = String::new();
        encode(&mut page, &self.registry).unwrap();
        let label = format!("queue_name=\"{}\"}}", queue.name());
        let samples =
            page.lines().filter_map(|line| line.split_once(' ').filter(|(name, _)| name.ends_with(&label)));
        samples
            .map(|(name, value)| (name.split('{').next().unwrap().to_owned(), value.parse().unwrap()))
            .collect()
    }

    pub(super) async fn counts(&self, queue: &Queue) -> QueueCounts {
        self.handle.queue_info(queue).await.unwrap().counts
    }
}

/// Runs tasks on tokio, but the writer of commits only while it may.
#[derive(Clone, Default)]
pub(super) struct Gate {
    pub(super) holds_up_commits: Arc<AtomicBool>,
}

impl Spawn for Gate {
    fn spawn(&self, name: &'static str, mut task: RunFuture) {
        let holds_up = Arc::clone(&self.holds_up_commits);
        tokio::spawn(poll_fn(move |cx| {
            if name == "queue-writer" && holds_up.load(Ordering::Relaxed) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            task.as_mut().poll(cx)
        }));
    }
}

/// Lets every task run until it waits: there is one thread, and no task takes that many turns.
pub(super) async fn calm() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

pub(super) fn params(max_messages: usize, wait: u64) -> ReceiveParams {
    ReceiveParams { max_messages, visibility_timeout: None, wait_time: Some(secs(wait)), attempt_id: None }
}

pub(super) fn messages(bodies: &[&str]) -> Vec<NewMessage> {
    let message = |body: &&str| NewMessage { body: (*body).to_owned().into(), ..NewMessage::default() };
    bodies.iter().map(message).collect()
}

pub(super) fn name(text: &str) -> QueueName {
    text.parse().unwrap()
}

pub(super) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
