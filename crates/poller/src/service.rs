//! The service: follows control and keeps one task for every mapping.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lambfold_api::control::Control;
use lambfold_api::lambda::LambdaInvoke;
use lambfold_api::sqs::Sqs;
use lambfold_types::{Clock, Entropy, RunFuture};
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::functions::FunctionTimeouts;
use crate::mapping::Mapping;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::poll::Poll;
use crate::shared::Shared;
use crate::watch::{Change, follow};

/// Changes that may wait for the service.
const CHANGES: usize = 256;

/// Polls the queues of all event source mappings and invokes their functions. There is no handle: control's watch is
/// the only way in.
pub struct PollerService {
    shared: Arc<Shared>,
}

impl PollerService {
    /// Puts the parts together; they move when [`PollerService::run`] is called.
    pub fn build(
        options: Options,
        control: Arc<dyn Control>,
        sqs: Arc<dyn Sqs>,
        invoke: Arc<dyn LambdaInvoke>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        metrics: Metrics,
    ) -> Self {
        let timeouts = FunctionTimeouts::default();
        let shared = Shared { options, control, sqs, invoke, clock, entropy, metrics, timeouts };
        Self { shared: Arc::new(shared) }
    }

    /// Runs until `shutdown` is cancelled. Then nothing more is received, what was received but not invoked goes
    /// back to its queue, and batches that run have [`Options::stop_within`] to end.
    pub fn run(self, shutdown: CancellationToken) -> RunFuture {
        Box::pin(self.work(shutdown))
    }

    async fn work(self, shutdown: CancellationToken) {
        let (sender, mut changes) = mpsc::channel(CHANGES);
        let mut follower = JoinSet::new();
        follower.spawn(follow(Arc::clone(&self.shared), sender));
        let mut mappings = Mappings {
            shared: Arc::clone(&self.shared),
            stop: shutdown.clone(),
            by_uuid: BTreeMap::new(),
            tasks: JoinSet::new(),
        };
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(change) = changes.recv() => mappings.apply(change),
                Some(ended) = mappings.tasks.join_next_with_id() => {
                    mappings.ended(ended.map_or_else(|error| error.id(), |(id, ())| id));
                }
                Some(ended) = follower.join_next() => {
                    // Without it we would go on with what is known, and never learn more.
                    tracing::error!(?ended, "the watch of control broke off");
                    self.shared.sleep(Duration::from_secs(1)).await;
                    let (sender, anew) = mpsc::channel(CHANGES);
                    changes = anew;
                    follower.spawn(follow(Arc::clone(&self.shared), sender));
                }
            }
        }
        drop(follower);
        let stop_at = self.shared.clock.now() + self.shared.options.stop_within;
        tokio::select! {
            () = async { while mappings.tasks.join_next().await.is_some() {} } => {}
            () = self.shared.clock.sleep_until(stop_at) => {
                let unfinished = mappings.tasks.len();
                tracing::warn!(unfinished, "batches were cut off; their messages come back");
                mappings.tasks.shutdown().await;
            }
        }
        self.shared.metrics.mappings.set(0);
    }
}

/// The mappings that have a task.
struct Mappings {
    shared: Arc<Shared>,
    stop: CancellationToken,
    by_uuid: BTreeMap<String, Running>,
    tasks: JoinSet<()>,
}

struct Running {
    task: Id,
    tell: watch::Sender<Arc<Mapping>>,
    stop: CancellationToken,
}

impl Mappings {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Is(mapping) => match self.by_uuid.get(&mapping.uuid) {
                Some(running) => {
                    running.tell.send_if_modified(|current| {
                        let newer = mapping.generation >= current.generation && *current != mapping;
                        if newer {
                            *current = mapping;
                        }
                        newer
                    });
                }
                None => self.begin(mapping),
            },
            Change::Gone(uuid) => {
                if let Some(running) = self.by_uuid.remove(&uuid) {
                    running.stop.cancel();
                }
            }
        }
        self.count();
    }

    fn begin(&mut self, mapping: Arc<Mapping>) {
        let uuid = mapping.uuid.clone();
        let (tell, told) = watch::channel(mapping);
        let stop = self.stop.child_token();
        let task = self.tasks.spawn(supervise(Arc::clone(&self.shared), told, stop.clone())).id();
        self.by_uuid.insert(uuid, Running { task, tell, stop });
    }

    fn ended(&mut self, task: Id) {
        self.by_uuid.retain(|_, running| running.task != task);
        self.count();
    }

    fn count(&self) {
        self.shared.metrics.mappings.set(i64::try_from(self.by_uuid.len()).unwrap_or(i64::MAX));
    }
}

/// Runs the task of a mapping, and again if it panics: one mapping's misfortune is nobody else's, and not for ever.
async fn supervise(shared: Arc<Shared>, told: watch::Receiver<Arc<Mapping>>, stop: CancellationToken) {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));
    loop {
        let mut task = JoinSet::new();
        task.spawn(Poll::new(Arc::clone(&shared), told.clone(), stop.clone()).run());
        match task.join_next().await {
            Some(Err(error)) if error.is_panic() => {
                let uuid = told.borrow().uuid.clone();
                tracing::error!(mapping.uuid = uuid, %error, "the task of a mapping broke off; it begins anew");
            }
            _ => return,
        }
        let wait = backoff.failed(&*shared.entropy);
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.sleep(wait) => {}
        }
    }
}
