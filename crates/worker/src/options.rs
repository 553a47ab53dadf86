//! Settings of a worker.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use lambfold_package::HotReload;
use lambfold_types::{ENDPOINT_PORT, RUNTIME_API_PORT};

/// Settings of a worker. Limits that AWS sets per function come with the function.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where unpacked packages and the runtimes' files are kept. Can be rebuilt: losing it loses nothing.
    pub state_dir: PathBuf,
    /// Memory that functions may take in all, in MiB. Told to the dispatcher, which keeps to it.
    pub memory_mb: u64,
    /// Execution environments at once.
    pub max_environments: u32,
    /// How long an environment may sit idle before it is ended.
    pub idle: Duration,
    /// How long an environment may sit idle before its processes are made to stand still, as AWS's do between invocations.
    /// `None`: they go on.
    pub freeze_after: Option<Duration>,
    /// How old an environment may become before it is ended, once idle (AWS: about 14 hours).
    pub max_age: Duration,
    /// How long init may take before it is cut off and done again inside the first invocation (AWS: 10 s).
    pub init_limit: Duration,
    /// Space for unpacked packages, in bytes. What environments use is kept even beyond it.
    pub package_cache_bytes: u64,
    /// Whether a function may run on the nearest version of its language when its own is not installed.
    pub nearest_version: bool,
    /// Whether a function gets the CPU share of its memory as on AWS (1769 MB: one CPU) after init. Off: all it
    /// can get, which is what a developer wants of a 128 MB function.
    pub limit_cpu: bool,
    /// Memory that environments which wait for functions may take in all, in MiB; 0: none wait.
    pub pool_memory_mib: u64,
    /// How many wait at least, for each runtime that was asked for lately (of Node.js, for each memory size of
    /// the last hour) and the newest of each language.
    pub pool_minimum: u32,
    /// Which directories of this machine may stand in for packages.
    pub hot_reload: HotReload,
    /// Whether functions may have a port of this machine for their debugger.
    pub debugger: bool,
    /// `host:port` of the gateway: what functions reach at 127.0.0.1 and, if it can be, the same port, so that the URLs of queues
    /// mean the same inside and outside. `None`: they reach nothing there.
    pub endpoint: Option<String>,
    /// How long invocations that run may take to finish when the worker is stopped.
    pub stop_within: Duration,
}

impl Options {
    /// The defaults, with the setting that has none.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            memory_mb: 8192,
            max_environments: 1000,
            idle: Duration::from_mins(10),
            freeze_after: Some(Duration::from_millis(50)),
            max_age: Duration::from_hours(12),
            init_limit: Duration::from_secs(10),
            package_cache_bytes: 2 << 30,
            nearest_version: true,
            limit_cpu: false,
            pool_memory_mib: 256,
            pool_minimum: 1,
            hot_reload: HotReload::default(),
            debugger: false,
            endpoint: None,
            stop_within: Duration::from_secs(8),
        }
    }

    /// Where functions reach [`endpoint`](Self::endpoint): at port 4566 if its own is privileged, or the Runtime API's.
    pub(crate) fn endpoint_inside(&self) -> Option<SocketAddr> {
        let (_, port) = self.endpoint.as_ref()?.rsplit_once(':')?;
        let own = port.parse().ok().filter(|port| *port >= 1024 && *port != RUNTIME_API_PORT);
        Some(([127, 0, 0, 1], own.unwrap_or(ENDPOINT_PORT)).into())
    }

    /// How many environments may wait for functions at once, with sandboxes of their own.
    pub fn waiting_at_most(&self) -> u32 {
        crate::pool::waiting_at_most(self.pool_memory_mib)
    }
}
