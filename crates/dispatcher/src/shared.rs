//! What the parts of the dispatcher share: the functions, the picture of the workers, and the way to act on it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lambfold_api::CallContext;
use lambfold_api::worker::{RetireRequest, Worker};
use lambfold_types::{Clock, Entropy, Scope, uuid_v4};
use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::concurrency::Concurrency;
use crate::functions::Functions;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::placement::{Effect, Grant, Placement, Ticket};

/// The dispatcher's state and surroundings.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) workers: Vec<Arc<dyn Worker>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) metrics: Metrics,
    pub(crate) tasks: TaskTracker,
    pub(crate) stopping: CancellationToken,
    functions: Mutex<Functions>,
    /// Changes with every change of `functions`.
    news: watch::Sender<u64>,
    board: Mutex<Board>,
    /// What is to be kept ready may no longer be.
    pub(crate) provisioning: Notify,
}

/// The placement, who waits for it, and how many may ask for it.
pub(crate) struct Board {
    pub(crate) placement: Placement,
    pub(crate) concurrency: Concurrency,
    pub(crate) waiting: HashMap<Ticket, oneshot::Sender<Grant>>,
}

impl Shared {
    pub(crate) fn new(
        options: Options,
        workers: Vec<Arc<dyn Worker>>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        metrics: Metrics,
    ) -> Self {
        let placement = Placement::new(uuid_v4(&*entropy).simple().to_string(), workers.len());
        Self {
            options,
            workers,
            clock,
            entropy,
            metrics,
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            functions: Mutex::default(),
            news: watch::Sender::new(0),
            board: Mutex::new(Board {
                placement,
                concurrency: Concurrency::default(),
                waiting: HashMap::new(),
            }),
            provisioning: Notify::new(),
        }
    }

    pub(crate) fn functions(&self) -> MutexGuard<'_, Functions> {
        // Nothing that holds the lock leaves it half changed.
        self.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait for a function that something has changed.
    pub(crate) fn tell_news(&self) {
        self.news.send_modify(|count| *count = count.wrapping_add(1));
        self.provisioning.notify_one();
    }

    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Changes the picture and does what follows from it.
    pub(crate) fn board<T>(self: &Arc<Self>, change: impl FnOnce(&mut Board) -> (T, Vec<Effect>)) -> T {
        let mut retired: HashMap<usize, Vec<String>> = HashMap::new();
        let outcome = {
            let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
            let (outcome, effects) = change(&mut board);
            if board.placement.take_provisioning_changed() {
                self.provisioning.notify_one();
            }
            for effect in effects {
                match effect {
                    Effect::Granted(ticket, grant) => {
                        // Who gives up takes its sender away under the same lock, so somebody is there.
                        if let Some(waiting) = board.waiting.remove(&ticket) {
                            let _ = waiting.send(grant);
                        }
                    }
                    Effect::Retire(worker, environment) => {
                        retired.entry(worker).or_default().push(environment.to_string());
                    }
                }
            }
            outcome
        };
        for (worker, environment_ids) in retired {
            self.retire(worker, environment_ids);
        }
        outcome
    }

    /// Changes the picture where only effects follow.
    pub(crate) fn act(self: &Arc<Self>, change: impl FnOnce(&mut Placement) -> Vec<Effect>) {
        self.board(|board| ((), change(&mut board.placement)));
    }

    /// A context for calls of our own.
    pub(crate) fn context(&self) -> CallContext {
        CallContext::internal(Scope::default(), uuid_v4(&*self.entropy))
    }

    fn retire(self: &Arc<Self>, worker: usize, environment_ids: Vec<String>) {
        self.metrics.retired.inc_by(environment_ids.len() as u64);
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            let ctx = shared.context();
            if let Err(fault) = shared.workers[worker].retire(&ctx, RetireRequest { environment_ids }).await {
                // What is not retired now ends when it was idle for long enough.
                tracing::debug!(%fault, worker, "a worker did not hear of environments to end");
            }
        });
    }
}
