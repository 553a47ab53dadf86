//! What the spawner is told when it starts.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::{IsolationLevel, SandboxError};

/// How to start the spawner process.
#[derive(Debug, Clone)]
pub struct SpawnerCommand {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments, up to where `spawner_main` is called.
    pub args: Vec<OsString>,
}

impl SpawnerCommand {
    /// The running executable, started anew with one hidden argument.
    ///
    /// # Errors
    ///
    /// When the system does not say which executable is running.
    pub fn this_executable(argument: &str) -> Result<Self, SandboxError> {
        let program = std::env::current_exe().map_err(|source| SandboxError::SpawnerStart {
            program: PathBuf::from("/proc/self/exe"),
            source,
        })?;
        Ok(Self { program, args: vec![argument.into()] })
    }

    /// An executable that is a spawner and nothing else, such as `lambfold-spawner`.
    pub fn program(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), args: Vec::new() }
    }
}

/// Settings of the spawner and of every sandbox it makes.
#[derive(Debug, Clone)]
pub struct SpawnerOptions {
    /// How to start it.
    pub command: SpawnerCommand,
    /// A directory of its own (made when absent, swept at start). One spawner per directory.
    pub state_dir: PathBuf,
    /// The strongest level to try. Default: `Full`.
    pub at_most: IsolationLevel,
    /// The weakest level to accept; below it `Spawner::start` fails. Default: `Process`.
    pub at_least: IsolationLevel,
    /// Directories of the host, beside `/usr` and what belongs to it, that functions may read: where interpreters live
    /// (a pyenv, an nvm). Seen inside under the same path; nothing else of their parents is.
    pub extra_readonly: Vec<PathBuf>,
    /// First uid (and gid) of the range that sandboxes run under at level `full`. Default: 900000. Spawners that run
    /// at the same time take consecutive blocks of [`slots`](Self::slots) ids.
    pub uid_base: u32,
    /// Whether each sandbox with a network of its own gets a device in it, that leads to the worker
    /// ([`PreparedSandbox::take_network`](crate::PreparedSandbox::take_network)). Default: no.
    pub network_device: bool,
    /// How many sandboxes may exist at once. Default: 1000.
    pub slots: u32,
    /// An upper bound in MiB for the memory of all sandboxes together, where cgroups can enforce it.
    pub total_memory_mb: Option<u64>,
}

impl SpawnerOptions {
    /// The defaults, with the two settings that have none.
    pub fn new(command: SpawnerCommand, state_dir: impl Into<PathBuf>) -> Self {
        Self {
            command,
            state_dir: state_dir.into(),
            at_most: IsolationLevel::Full,
            at_least: IsolationLevel::Process,
            extra_readonly: Vec::new(),
            uid_base: 900_000,
            network_device: false,
            slots: 1000,
            total_memory_mb: None,
        }
    }
}
