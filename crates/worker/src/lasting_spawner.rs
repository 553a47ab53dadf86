//! A spawner that is started anew when it ends by itself: killed by hand, or by the kernel for want of memory.
//!
//! Its sandboxes end with it, and the environments in them as after any crash: what ran is answered with an error, what
//! had not begun is placed again. Without it the worker, and in one process everything beside it, would end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lambfold_sandbox::{
    Capabilities, LevelReport, PreparedSandbox, SandboxDriver, SandboxError, SandboxTemplate, Spawner,
    SpawnerOptions,
};
use lambfold_types::{Clock, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// After how many starts that failed in succession there is no spawner any more.
const MOST_FAILURES: u32 = 8;
/// Before it is started again after it has lived shortly, or could not be started; doubled each time.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// One that lived longer than this did not end because of how it was started.
const LONG_LIFE: Duration = Duration::from_mins(1);

/// How often a sandbox is asked for: a second time of the next spawner.
const ATTEMPTS: usize = 2;

/// The spawner that is there at the moment; `None` while another one is started.
type Current = Option<Arc<dyn SandboxDriver>>;

/// The driver of Linux sandboxes, for as long as the worker lives.
pub struct LastingSpawner {
    report: LevelReport,
    capabilities: Capabilities,
    /// Closed when there will be no other one.
    current: watch::Receiver<Current>,
    stopping: CancellationToken,
}

impl LastingSpawner {
    /// Starts the spawner. Later ones have to reach the same level and capabilities.
    ///
    /// # Errors
    ///
    /// As [`Spawner::start`], for the first one.
    pub async fn start(
        mut options: SpawnerOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn SandboxDriver>, SandboxError> {
        let first = Spawner::start(options.clone()).await?;
        let (report, capabilities) = (first.report().clone(), first.capabilities());
        options.at_least = report.reached;
        let (sender, current) = watch::channel(Some(Arc::clone(&first)));
        let stopping = CancellationToken::new();
        let keeper = Keeper { options, capabilities, clock, sender, stopping: stopping.clone() };
        tokio::spawn(keeper.keep(first));
        Ok(Arc::new(Self { report, capabilities, current, stopping }))
    }
}

#[async_trait]
impl SandboxDriver for LastingSpawner {
    fn report(&self) -> &LevelReport {
        &self.report
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn prepare(&self, template: SandboxTemplate) -> Result<Box<dyn PreparedSandbox>, SandboxError> {
        let mut current = self.current.clone();
        for _ in 0..ATTEMPTS {
            let spawner = current.wait_for(Option::is_some).await.ok().and_then(|it| it.clone());
            let Some(spawner) = spawner else { break };
            let outcome = spawner.prepare(template.clone()).await;
            // Whoever starts it anew hears of it in a moment.
            let gone = matches!(outcome, Err(SandboxError::SpawnerGone));
            if !gone || current.changed().await.is_err() {
                return outcome;
            }
        }
        Err(SandboxError::SpawnerGone)
    }

    async fn shutdown(&self) {
        self.stopping.cancel();
        self.closed().await;
    }

    async fn closed(&self) {
        let mut current = self.current.clone();
        while current.changed().await.is_ok() {}
    }
}

impl Drop for LastingSpawner {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

/// The task that starts it anew.
struct Keeper {
    options: SpawnerOptions,
    capabilities: Capabilities,
    clock: Arc<dyn Clock>,
    sender: watch::Sender<Current>,
    stopping: CancellationToken,
}

impl Keeper {
    async fn keep(self, mut spawner: Arc<dyn SandboxDriver>) {
        let mut pause = PAUSE;
        loop {
            let began = self.clock.now();
            tokio::select! {
                () = spawner.closed() => {}
                () = self.stopping.cancelled() => {
                    spawner.shutdown().await;
                    return;
                }
            }
            tracing::error!("the spawner has ended, and all environments with it: it is started anew");
            self.sender.send_replace(None);
            drop(spawner);
            if self.clock.now().since(began) > LONG_LIFE {
                pause = PAUSE;
            }
            match self.start_again(&mut pause).await {
                Some(next) => spawner = next,
                None => return,
            }
            self.sender.send_replace(Some(Arc::clone(&spawner)));
        }
    }

    /// `None` when there is to be no other one.
    async fn start_again(&self, pause: &mut Duration) -> Current {
        for _ in 0..MOST_FAILURES {
            self.sleep(*pause).await;
            *pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            if self.stopping.is_cancelled() {
                return None;
            }
            match Spawner::start(self.options.clone()).await {
                Ok(spawner) if spawner.capabilities() == self.capabilities => {
                    tracing::info!("there is a spawner again");
                    return Some(spawner);
                }
                Ok(spawner) => {
                    tracing::error!(found = ?spawner.capabilities(), "the new spawner cannot do what the first one could");
                    spawner.shutdown().await;
                }
                Err(error) => tracing::error!(%error, "the spawner could not be started"),
            }
        }
        None
    }

    async fn sleep(&self, pause: Duration) {
        let until: Timestamp = self.clock.now() + pause;
        tokio::select! {
            () = self.clock.sleep_until(until) => {}
            () = self.stopping.cancelled() => {}
        }
    }
}
