//! The roles that a process may run.

use std::fmt;
use std::str::FromStr;

/// A part of Lambfold that can run in a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The HTTP and public gRPC edge.
    Gateway,
    /// The control plane of Lambda.
    Control,
    /// The data plane of invoke.
    Dispatcher,
    /// SQS.
    Queue,
    /// Event source mappings.
    Poller,
    /// Execution environments.
    Worker,
    /// CloudWatch Logs.
    Logs,
}

impl Role {
    /// All of them: what `lambfold up` runs.
    pub const ALL: [Self; 7] =
        [Self::Gateway, Self::Control, Self::Dispatcher, Self::Queue, Self::Poller, Self::Worker, Self::Logs];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gateway => "gateway",
            Self::Control => "control",
            Self::Dispatcher => "dispatcher",
            Self::Queue => "queue",
            Self::Poller => "poller",
            Self::Worker => "worker",
            Self::Logs => "logs",
        })
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.to_string() == text).ok_or_else(|| {
            format!("{text:?} is no role: use {}", Self::ALL.map(|role| role.to_string()).join(", "))
        })
    }
}
