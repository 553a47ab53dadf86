//! Execution environments.

use serde::{Deserialize, Serialize};

/// Execution environments.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    /// The least isolation to start with.
    pub minimum_isolation: String,
    /// Memory for functions in all, in MiB; 0 for three quarters of the machine's.
    pub memory_mib: u64,
    /// Environments at once.
    pub max_environments: u32,
    /// Memory that environments which wait for functions may take in all, in MiB; 0: none wait.
    pub pool_memory_mib: u64,
    /// How many wait at least, per runtime.
    pub pool_minimum: u32,
    /// Where functions reach Lambfold; empty for this process's own listen address.
    pub endpoint: String,
    /// What functions reach: open, allow-list, endpoint-only or none.
    pub network: String,
    /// Where they may connect to under allow-list.
    pub allow: Vec<String>,
    /// Name servers to ask instead of the host's.
    pub name_servers: Vec<String>,
    /// Whether a function gets only the CPU share of its memory.
    pub limit_cpu: bool,
    /// How long an environment may sit idle.
    pub idle_seconds: u64,
    /// How long an environment may sit idle before it stands still, in milliseconds; -1: it never does.
    pub freeze_after_ms: i64,
    /// Space for unpacked packages, in MiB.
    pub package_cache_mib: u64,
    /// Whether the nearest installed version of a language will do.
    pub nearest_version: bool,
    /// Directories below which hot reload is allowed; `~` for the home directory.
    pub hot_reload: Vec<String>,
    /// Whether functions may be debugged from this machine.
    pub debugger: bool,
}
