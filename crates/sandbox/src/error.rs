//! What can go wrong between the worker and a running sandbox.

use std::io;
use std::path::PathBuf;

/// Why a sandbox could not be made, or is no longer there.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The spawner could not be started or did not say hello.
    #[error("the spawner {} could not be started", program.display())]
    SpawnerStart {
        /// The executable that was tried.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The spawner started but no permitted isolation level works here.
    #[error("no isolation level works here: {0}")]
    NoLevel(String),
    /// The spawner has ended; every sandbox ended with it.
    #[error("the spawner has ended")]
    SpawnerGone,
    /// The request can not be carried out as it stands (a relative path, a NUL byte, an empty command, too long).
    #[error("invalid sandbox request: {0}")]
    Invalid(String),
    /// All slots are taken. Try again when a sandbox has been reaped.
    #[error("all {slots} sandbox slots are taken")]
    NoFreeSlot {
        /// The number of slots.
        slots: u32,
    },
    /// The command could not be executed inside the sandbox. AWS reports this as `Runtime.InvalidEntrypoint`.
    #[error("cannot execute {program}: {}", io::Error::from_raw_os_error(*errno))]
    Exec {
        /// The program as it was asked for.
        program: String,
        /// The error number of `execve`.
        errno: i32,
    },
    /// The command could not start in its directory. AWS reports this as `Runtime.InvalidWorkingDir`.
    #[error("cannot enter {path}: {}", io::Error::from_raw_os_error(*errno))]
    WorkingDirectory {
        /// The directory, as seen inside.
        path: String,
        /// The error number of `chdir`.
        errno: i32,
    },
    /// A step of building the sandbox failed: our fault or the machine's, never the function's.
    #[error("sandbox: {0}")]
    Setup(String),
}
