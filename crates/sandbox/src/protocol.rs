//! What worker and spawner say to each other, as JSON in packets that may carry descriptors.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    Assignment, Capabilities, Exit, IsolationLevel, LevelReport, NetworkLink, ProgramEnd, ProgramSignal,
    SandboxError, SandboxProgram, SandboxTemplate,
};

/// Worker to spawner.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Call {
    /// Chosen by the worker; comes back with the reply.
    pub(crate) number: u64,
    pub(crate) request: Request,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// The first call: find the level and build what all sandboxes share.
    Start(Settings),
    Prepare(SandboxTemplate),
    Assign {
        sandbox: u64,
        assignment: Assignment,
    },
    /// Start the command that waits for its companions.
    StartCommand {
        sandbox: u64,
    },
    /// Without a reply.
    Signal {
        sandbox: u64,
        program: SandboxProgram,
        signal: ProgramSignal,
    },
    Kill {
        sandbox: u64,
    },
    SetCpu {
        sandbox: u64,
        millis: Option<u32>,
    },
    MemoryPeak {
        sandbox: u64,
    },
    /// Stop all processes by signals, or let them go on, where no control group can. Without a reply.
    Stop {
        sandbox: u64,
        stop: bool,
    },
    /// An unconnected TCP socket of the sandbox's network.
    Socket {
        sandbox: u64,
    },
    /// Kill everything, clean up, reply, exit.
    Shutdown,
}

/// [`SpawnerOptions`](crate::SpawnerOptions) without how to start the process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) state_dir: PathBuf,
    pub(crate) at_most: IsolationLevel,
    pub(crate) at_least: IsolationLevel,
    pub(crate) extra_readonly: Vec<PathBuf>,
    pub(crate) uid_base: u32,
    pub(crate) network_device: bool,
    pub(crate) slots: u32,
    pub(crate) total_memory_mb: Option<u64>,
}

/// Spawner to worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    Reply {
        number: u64,
        result: Result<Reply, Failure>,
    },
    /// Of a sandbox with companions, which lives on.
    ProgramEnded {
        sandbox: u64,
        end: ProgramEnd,
    },
    Exited {
        sandbox: u64,
        exit: Exit,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Started {
        report: LevelReport,
        capabilities: Capabilities,
    },
    /// With the listeners, then the device if `network`, then the freeze file if there is one, as descriptors.
    Prepared {
        sandbox: u64,
        addresses: Vec<SocketAddr>,
        network: Option<NetworkLink>,
        /// The private directory for temporary files on the host, at levels without an own root.
        host_tmp_dir: Option<PathBuf>,
        freeze: Option<FreezeFile>,
    },
    /// With the read end of the output, then that of the companions if there are any, then the file that tells the memory
    /// peak if `memory_peak`.
    Assigned {
        companions: bool,
        memory_peak: bool,
    },
    /// What was in `/tmp` is not in it, where `tmp_used`; else it is the kernel's.
    MemoryPeak {
        peak: Option<u64>,
        tmp_used: bool,
    },
    /// With it as a descriptor.
    Socket,
    Done,
}

/// How the file that stops and continues a control group is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FreezeFile {
    /// `freezer.state`. What is stopped does not even die before it goes on.
    V1,
    /// `cgroup.freeze`
    V2,
}

impl FreezeFile {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V1 => "freezer.state",
            Self::V2 => "cgroup.freeze",
        }
    }

    /// What to write.
    pub(crate) fn word(self, stop: bool) -> &'static [u8] {
        match (self, stop) {
            (Self::V1, true) => b"FROZEN",
            (Self::V1, false) => b"THAWED",
            (Self::V2, true) => b"1",
            (Self::V2, false) => b"0",
        }
    }
}

/// [`SandboxError`] as it travels.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Failure {
    NoLevel(String),
    Invalid(String),
    NoFreeSlot {
        slots: u32,
    },
    Exec {
        program: String,
        errno: i32,
    },
    WorkingDirectory {
        path: String,
        errno: i32,
    },
    Setup(String),
    /// The sandbox is not, or no longer, there.
    Gone,
}

impl From<Failure> for SandboxError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoLevel(text) => Self::NoLevel(text),
            Failure::Invalid(text) => Self::Invalid(text),
            Failure::NoFreeSlot { slots } => Self::NoFreeSlot { slots },
            Failure::Exec { program, errno } => Self::Exec { program, errno },
            Failure::WorkingDirectory { path, errno } => Self::WorkingDirectory { path, errno },
            Failure::Setup(text) => Self::Setup(text),
            Failure::Gone => Self::Setup("the sandbox has ended".to_owned()),
        }
    }
}
