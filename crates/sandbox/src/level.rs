//! How well function code is fenced off, and why it is not better.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How function code is isolated. Ordered: a stronger level is greater, so that `reached >= minimum` reads as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IsolationLevel {
    /// A plain child process. For platforms without any of the below; never for code that is not trusted.
    Unisolated,
    /// A child process behind seccomp, Landlock and rlimits, sharing user, network and process view with Lambfold.
    Process,
    /// Namespaces, own root, seccomp and Landlock as an ordinary user; limits by rlimits and a watchdog unless a
    /// cgroup is delegated.
    Userns,
    /// All of that with root: a uid per sandbox and cgroup limits.
    Full,
}

impl IsolationLevel {
    /// All levels, the strongest first: the order in which they are tried.
    pub const ALL: [Self; 4] = [Self::Full, Self::Userns, Self::Process, Self::Unisolated];

    /// The name used in settings, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unisolated => "unisolated",
            Self::Process => "process",
            Self::Userns => "userns",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for IsolationLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no isolation level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an isolation level; use full, userns, process or unisolated")]
pub struct ParseIsolationLevelError(String);

impl FromStr for IsolationLevel {
    type Err = ParseIsolationLevelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| ParseIsolationLevelError(text.to_owned()))
    }
}

/// What the probe at start found, by running a command in a sandbox of each level until one worked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelReport {
    /// The level that every sandbox of this driver has.
    pub reached: IsolationLevel,
    /// Stronger levels that were tried and failed, strongest first.
    pub refused: Vec<Refusal>,
    /// What is weaker than the level promises on this machine (no Landlock, no cgroup limits, …), one line each.
    pub notes: Vec<String>,
}

/// Why a level was not reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The level that was tried.
    pub level: IsolationLevel,
    /// The step that failed, with the system's message.
    pub reason: String,
    /// One line that says what the operator can do about it.
    pub remedy: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} isolation is not available: {} ({})", self.level, self.reason, self.remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stronger_is_greater_and_names_read_back() {
        assert!(IsolationLevel::Full > IsolationLevel::Userns);
        assert!(IsolationLevel::Process > IsolationLevel::Unisolated);
        for level in IsolationLevel::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        assert!("FULL ".parse::<IsolationLevel>().is_err());
    }
}
