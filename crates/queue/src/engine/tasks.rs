//! Where the engine's tasks run. In a service that is tokio; the simulation runs them in an order of its own.

use std::sync::Arc;

use lambfold_types::RunFuture;
use tokio_util::task::TaskTracker;

/// Runs tasks. The engine starts all of them here and nowhere else, and uses no timer but its clock, so that who gives
/// it both decides everything about the order in which things happen.
pub trait Spawn: Send + Sync + 'static {
    /// Starts a task; `name` says what it does. It may be dropped at any point where it waits: that is a crash.
    fn spawn(&self, name: &'static str, task: RunFuture);
}

/// Tasks on the tokio runtime of whoever starts them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tokio;

impl Spawn for Tokio {
    fn spawn(&self, _name: &'static str, task: RunFuture) {
        drop(tokio::spawn(task));
    }
}

/// Tasks that can be waited for. Clones share them.
#[derive(Clone)]
pub(crate) struct Tasks {
    spawn: Arc<dyn Spawn>,
    tracker: TaskTracker,
}

impl Tasks {
    pub(crate) fn new(spawn: Arc<dyn Spawn>) -> Self {
        Self { spawn, tracker: TaskTracker::new() }
    }

    pub(crate) fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn.spawn(name, Box::pin(self.tracker.track_future(task)));
    }

    /// Returns when all have ended.
    pub(crate) async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
