//! What goes wrong in a worker that is not the function's doing.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use lambfold_api::Fault;
use lambfold_api::lambda::ErrorCode;
use lambfold_sandbox::{IsolationLevel, SandboxError};

use crate::failure::Failure;
use crate::interpreter::RuntimeError;
use crate::packages::FetchError;

/// Why a worker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its directory cannot be made, read or written.
    #[error("cannot use {path} for execution environments")]
    StateDirectory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Why an environment could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// The function's own doing: an answer, no fault.
    #[error("the function cannot be started")]
    Function(Failure),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(
        "Container images need an isolation level with a root of its own (userns or full); this worker has {0}."
    )]
    NoImages(IsolationLevel),
    #[error(transparent)]
    Package(#[from] FetchError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("the environment's listeners failed")]
    Listener(#[from] io::Error),
}

impl LaunchError {
    /// What the dispatcher, and perhaps the invoker, gets to see. Causes are logged by who asks.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::NoImages(_) => Fault::new(ErrorCode::InvalidRuntimeException, self.to_string()),
            Self::Runtime(error) => Fault::new(ErrorCode::InvalidRuntimeException, error.to_string()),
            Self::Sandbox(SandboxError::NoFreeSlot { .. }) => capacity_exceeded(),
            Self::Sandbox(SandboxError::SpawnerGone) => environment_gone(),
            Self::Function(_) | Self::Package(_) | Self::Sandbox(_) | Self::Listener(_) => Fault::new(
                ErrorCode::ServiceException,
                "The execution environment could not be started. The request id finds the cause in the log.",
            ),
        }
    }
}

/// The invocation has not started and may be placed elsewhere.
pub(crate) fn environment_gone() -> Fault {
    Fault::raw("EnvironmentGone", "EnvironmentGone", 410, "The execution environment is gone.")
        .blame_receiver()
}

/// The environment is not through with its last invocation, though that is answered. This one has not started and may be
/// placed elsewhere.
pub(crate) fn environment_busy() -> Fault {
    Fault::raw("EnvironmentBusy", "EnvironmentBusy", 409, "The execution environment is still at work.")
        .blame_receiver()
}

/// Nothing more can be started here for the moment.
pub(crate) fn capacity_exceeded() -> Fault {
    Fault::raw("CapacityExceeded", "CapacityExceeded", 503, "The worker is full.")
        .with_retry_after(Duration::from_millis(50))
}

/// The call was meant for the worker that was here before.
pub(crate) fn worker_restarted() -> Fault {
    Fault::raw("WorkerRestarted", "WorkerRestarted", 500, "The worker was started anew.")
}

/// The invocation had begun when its environment went down with the worker.
pub(crate) fn cut_off() -> Fault {
    Fault::new(ErrorCode::ServiceException, "The invocation was cut off: the worker is stopping.")
}
