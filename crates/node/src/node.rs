//! A running node.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use lambfold_api::telemetry::Traces;
use lambfold_config::Config;
use lambfold_sandbox::SpawnerCommand;
use lambfold_telemetry::{RecordedTraces, SpanRecorder};
use lambfold_types::{Clock, Entropy, RunFuture};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::part::Part;
use crate::peers::PeerMap;
use crate::roles::{self, Services};
use crate::traces::JoinedTraces;
use crate::{DataDirectory, Role, StartError};

/// What a node is made of.
pub struct NodeOptions {
    /// The settings.
    pub config: Config,
    /// The roles to run here.
    pub roles: BTreeSet<Role>,
    /// How to start the spawner of the worker role.
    pub spawner: SpawnerCommand,
    /// The memory of recent traces.
    pub recorder: SpanRecorder,
    /// Whether requests that bring no trace begin one.
    pub traces_every_request: bool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// When the start began; for the banner.
    pub began: Instant,
}

/// What was reached: for the banner.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The roles that run here.
    pub roles: BTreeSet<Role>,
    /// Where AWS clients connect.
    pub http: Option<SocketAddr>,
    /// Where gRPC clients connect.
    pub grpc: Option<SocketAddr>,
    /// Whether both speak TLS.
    pub secure: bool,
    /// What isolates functions, where this node runs them.
    pub isolation: Option<Isolation>,
    /// Where everything that must last is kept.
    pub data_dir: PathBuf,
    /// How long the start took.
    pub started_in: Duration,
}

/// What a role gets to stop when those before it have used up the time.
const LEAST_STOP: Duration = Duration::from_millis(500);

/// The isolation level and what is to be said about it.
#[derive(Clone, Debug)]
pub struct Isolation {
    /// `full`, `userns`, `process` or `unisolated`.
    pub level: String,
    /// Why it is not higher, with a remedy.
    pub notes: Vec<String>,
    /// What functions reach: the network policy in force.
    pub network: String,
}

/// Some roles at work in this process.
pub struct Node {
    summary: Summary,
    // In the order in which they stop: callers before what they call.
    parts: Vec<Part>,
    peer_listener: Option<Part>,
    stop_within: Duration,
    _directory: DataDirectory,
}

/// What the roles of one node share while they are put together.
pub(crate) struct Surroundings {
    pub(crate) config: Config,
    pub(crate) roles: BTreeSet<Role>,
    pub(crate) data_dir: PathBuf,
    pub(crate) packages_dir: PathBuf,
    pub(crate) spawner: SpawnerCommand,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) peers: PeerMap,
    pub(crate) registry: Registry,
    pub(crate) traces_every_request: bool,
    /// Where this node's own gateway listens, if it has one.
    pub(crate) http: Option<SocketAddr>,
    pub(crate) grpc: Option<SocketAddr>,
}

impl Node {
    /// Starts `options.roles` and returns when they serve. Boxed, as [`lambfold_types::RunFuture`].
    pub fn start(options: NodeOptions) -> BoxFuture<'static, Result<Self, StartError>> {
        Box::pin(Self::start_roles(options))
    }

    async fn start_roles(options: NodeOptions) -> Result<Self, StartError> {
        let NodeOptions { mut config, roles, spawner, recorder, traces_every_request, clock, entropy, began } =
            options;
        let directory = DataDirectory::lock(&config.data_dir)?;
        if roles.contains(&Role::Queue) && !config.queue.database.is_empty() && config.peers.listen.is_empty()
        {
            // Other queue nodes on the same database have to reach this one; on this machine they can.
            config.peers.listen = format!("unix:{}", directory.path().join("peers.sock").display());
        }
        let gateway = roles.contains(&Role::Gateway);
        let aws = listen(gateway, "listen", &config.listen).await?;
        let grpc = listen(gateway, "grpc_listen", &config.grpc_listen).await?;
        let address = |listener: &Option<TcpListener>| listener.as_ref().and_then(|it| it.local_addr().ok());
        let (http_address, grpc_address) = (address(&aws), address(&grpc));

        let packages_dir = packages_dir(&config, directory.path());
        let stop_within = Duration::from_secs(config.stop_within_seconds);
        let mut around = Surroundings {
            peers: PeerMap::new(&config.peers, clock.clone(), entropy.clone())?,
            data_dir: directory.path().to_path_buf(),
            packages_dir,
            roles: roles.clone(),
            spawner,
            clock: clock.clone(),
            entropy,
            registry: Registry::with_prefix("lambfold"),
            traces_every_request,
            http: http_address,
            grpc: grpc_address,
            config,
        };

        let mut parts = Vec::new();
        let mut services = Services::default();
        // What is called first; each role finds those before it in `services`, or calls them where they run.
        for role in [Role::Logs, Role::Queue, Role::Control, Role::Worker, Role::Dispatcher, Role::Poller] {
            if roles.contains(&role) {
                parts.push(roles::start(role, &mut around, &mut services).await?);
            }
        }
        let own: Arc<dyn Traces> = Arc::new(RecordedTraces(recorder));
        let peer_listener = crate::roles::peer_listener(&around, &services, own.clone()).await?;
        if let (Some(aws), Some(grpc)) = (aws, grpc) {
            let mut sources = vec![own];
            sources.extend(around.peers.traces()?);
            let traces = Arc::new(JoinedTraces(sources));
            parts.push(roles::gateway(&mut around, &services, aws, grpc, traces)?);
        }
        // Gateway, poller, dispatcher, worker, control, queue, logs.
        parts.reverse();
        let secure = !around.config.gateway.tls.certificate.as_os_str().is_empty();
        let summary = Summary {
            roles,
            http: http_address,
            grpc: grpc_address,
            secure,
            isolation: services.isolation,
            data_dir: directory.path().to_path_buf(),
            started_in: began.elapsed(),
        };
        Ok(Self { summary, parts, peer_listener, stop_within, _directory: directory })
    }

    /// What was reached.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Returns when a role ends by itself: something is badly wrong then.
    pub async fn ended(&mut self) -> Role {
        let ends: Vec<_> = self.parts.iter_mut().map(|part| Box::pin(part.ended())).collect();
        futures_util::future::select_all(ends).await.0
    }

    /// Stops gracefully: callers first, so that each role finishes what it was asked. What takes longer than
    /// `stop_within_seconds` is cut off.
    pub fn stop(self) -> RunFuture {
        Box::pin(self.stop_parts())
    }

    async fn stop_parts(self) {
        // In real time: the promise is to whoever sent the signal.
        let began = std::time::Instant::now();
        for part in self.parts {
            // The last ones keep a moment each, however long the first ones took.
            let left = self.stop_within.saturating_sub(began.elapsed());
            part.stop(left.max(LEAST_STOP)).await;
        }
        if let Some(listener) = self.peer_listener {
            listener.stop(Duration::from_secs(1)).await;
        }
    }
}

async fn listen(
    wanted: bool,
    setting: &'static str,
    address: &str,
) -> Result<Option<TcpListener>, StartError> {
    if !wanted {
        return Ok(None);
    }
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) => Err(StartError::listen(setting, address, &error)),
    }
}

fn packages_dir(config: &Config, data_dir: &Path) -> PathBuf {
    if config.packages_dir.as_os_str().is_empty() {
        data_dir.join("packages")
    } else {
        config.packages_dir.clone()
    }
}

/// Brings the databases of the data directory to this version's schema.
pub fn migrate(config: &Config) -> Result<(), StartError> {
    let directory = DataDirectory::lock(&config.data_dir)?;
    roles::migrate(config, directory.path())
}
