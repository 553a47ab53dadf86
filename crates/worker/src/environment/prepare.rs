//! Init ahead of any invocation: for provisioned concurrency. It has more time than before an invocation, and is not done
//! again here: whoever wanted it hears how it failed.

use std::time::Duration;

use lambfold_api::{Fault, TraceContext};
use tokio::sync::oneshot;

use super::Environment;
use super::init::{FailedInit, InitFailure};
use crate::running::Running;

/// Who wants an environment ahead of any invocation.
pub(crate) struct Preparation {
    pub(crate) limit: Duration,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) reply: oneshot::Sender<Result<(), NotPrepared>>,
}

/// Why there is none.
pub(crate) enum NotPrepared {
    /// Init failed; in words for the function's owner.
    Function(String),
    /// The platform failed.
    Platform(Fault),
}

impl Environment {
    /// Initialises the function. `None` if that failed, which has been told.
    pub(super) async fn prepare(&mut self, preparation: Preparation) -> Option<Running> {
        let Preparation { limit, trace, reply } = preparation;
        let outcome = self.init_before_all(limit, trace).await;
        let (outcome, running) = match outcome {
            Ok(Ok((running, _))) => {
                self.entry.idle();
                (Ok(()), Some(running))
            }
            Ok(Err(FailedInit { failure, .. })) => {
                self.metrics.init_failures.inc();
                (Err(NotPrepared::Function(words(&failure, limit))), None)
            }
            Err(error) => {
                self.metrics.launch_failures.inc();
                tracing::error!(
                    %error,
                    "function.name" = %self.function.function_name,
                    "cannot start an execution environment"
                );
                (Err(NotPrepared::Platform(error.fault())), None)
            }
        };
        // Who asked may have gone: the next one who looks finds the environment idle.
        let _ = reply.send(outcome);
        running
    }
}

fn words(failure: &InitFailure, limit: Duration) -> String {
    match failure.error_type() {
        Some(error_type) => format!("FUNCTION_ERROR_INIT_FAILURE: {error_type}; see the function's log."),
        None => format!("FUNCTION_ERROR_INIT_FAILURE: init took longer than {} seconds.", limit.as_secs()),
    }
}
