//! A role at work.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Role;

/// A running part and how to stop it.
pub(crate) struct Part {
    pub(crate) role: Role,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Part {
    /// Starts `run`, which ends when its token is cancelled and it has finished what it had.
    pub(crate) fn start<F: Future<Output = ()> + Send + 'static>(
        role: Role,
        run: impl FnOnce(CancellationToken) -> F,
    ) -> Self {
        Self::start_with(role, CancellationToken::new(), run)
    }

    /// The same with a token that others know, too.
    pub(crate) fn start_with<F: Future<Output = ()> + Send + 'static>(
        role: Role,
        stop: CancellationToken,
        run: impl FnOnce(CancellationToken) -> F,
    ) -> Self {
        let running = tokio::spawn(run(stop.clone()));
        Self { role, stop, running }
    }

    /// Returns when it has ended by itself, which it should not.
    pub(crate) async fn ended(&mut self) -> Role {
        if let Err(error) = (&mut self.running).await {
            tracing::error!(role = %self.role, %error, "a role ended");
        }
        self.role
    }

    /// Asks it to stop and waits; cuts it off after `within`.
    #[expect(clippy::disallowed_methods, reason = "a stop that hangs is cut off in real time")]
    pub(crate) async fn stop(mut self, within: Duration) {
        self.stop.cancel();
        tokio::select! {
            _ = &mut self.running => {}
            () = tokio::time::sleep(within) => {
                tracing::warn!(role = %self.role, "did not stop in time and is cut off");
                self.running.abort();
            }
        }
    }
}
