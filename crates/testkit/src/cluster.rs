//! Nodes in this process.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_http_client::Builder;
use lambfold_clock::{SystemClock, SystemEntropy};
use lambfold_config::Config;
use lambfold_node::{Node, NodeOptions, Role};
use lambfold_telemetry::SpanRecorder;
use tempfile::TempDir;

use crate::spawner;

/// How roles are spread over nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// All roles in one node: calls stay in the process.
    OneNode,
    /// Each role in a node of its own, with its own database: calls go over gRPC.
    NodePerRole,
}

/// A running Lambfold on a temporary directory.
pub struct Cluster {
    // Stopped in this order: callers before what they call.
    nodes: Vec<Node>,
    http: String,
    grpc: String,
    directory: TempDir,
}

impl Cluster {
    /// Starts one and waits until it serves.
    pub async fn start(layout: Layout) -> Self {
        Self::with(layout, SpanRecorder::default(), |_| {}).await
    }

    /// Starts one with changed settings, that remembers spans in `recorder`.
    pub async fn with(layout: Layout, recorder: SpanRecorder, change: impl Fn(&mut Config)) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let groups: Vec<BTreeSet<Role>> = match layout {
            Layout::OneNode => vec![Role::ALL.into_iter().collect()],
            // What is called first, so that nobody has to wait long for anybody.
            Layout::NodePerRole => [
                Role::Logs,
                Role::Queue,
                Role::Control,
                Role::Worker,
                Role::Dispatcher,
                Role::Poller,
                Role::Gateway,
            ]
            .map(|role| BTreeSet::from([role]))
            .to_vec(),
        };
        // The worker must know the gateway's address before there is one.
        let listen = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let listen = listen.expect("a free port").to_string();
        let mut nodes = Vec::new();
        for roles in groups {
            let mut config = settings(directory.path(), layout, &roles, &listen);
            change(&mut config);
            let options = NodeOptions {
                config,
                roles,
                spawner: spawner::command(),
                recorder: recorder.clone(),
                traces_every_request: false,
                clock: Arc::new(SystemClock::new()),
                entropy: Arc::new(SystemEntropy),
                began: Instant::now(),
            };
            nodes.push(Node::start(options).await.expect("the node starts"));
        }
        nodes.reverse();
        let summary = nodes.first().expect("there is a node").summary();
        let address =
            |address: Option<std::net::SocketAddr>| address.expect("the gateway listens").to_string();
        let (http, grpc) = (address(summary.http), address(summary.grpc));
        Self { nodes, http, grpc, directory }
    }

    /// Where AWS clients connect: `host:port`.
    pub fn http(&self) -> &str {
        &self.http
    }

    /// Where gRPC clients connect: `host:port`.
    pub fn grpc(&self) -> &str {
        &self.grpc
    }

    /// The directory that everything lies in.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The AWS SDK's SQS client, for the default account.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::from_conf(
            aws_sdk_sqs::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .endpoint_url(format!("http://{}", self.http))
                .region(Region::new("us-east-1"))
                .credentials_provider(Credentials::new("000000000000", "test", None, None, "test"))
                .http_client(Builder::new().build_http())
                .build(),
        )
    }

    /// The AWS SDK's Lambda client, for the default account.
    pub fn lambda(&self) -> aws_sdk_lambda::Client {
        aws_sdk_lambda::Client::from_conf(
            aws_sdk_lambda::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .endpoint_url(format!("http://{}", self.http))
                .region(Region::new("us-east-1"))
                .credentials_provider(Credentials::new("000000000000", "test", None, None, "test"))
                .http_client(Builder::new().build_http())
                .build(),
        )
    }

    /// Stops every node gracefully.
    pub async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }
}

fn settings(directory: &Path, layout: Layout, roles: &BTreeSet<Role>, listen: &str) -> Config {
    let mut config = Config::defaults();
    listen.clone_into(&mut config.listen);
    "127.0.0.1:0".clone_into(&mut config.grpc_listen);
    if layout == Layout::OneNode {
        config.data_dir = directory.join("data");
        return config;
    }
    let role = roles.first().expect("a node has roles");
    let socket = |role: Role| format!("unix:{}/{role}.sock", directory.display());
    config.data_dir = directory.join(role.to_string());
    config.packages_dir = directory.join("packages");
    config.peers.listen = socket(*role);
    config.peers.queue = socket(Role::Queue);
    config.peers.control = socket(Role::Control);
    config.peers.dispatcher = socket(Role::Dispatcher);
    config.peers.logs = socket(Role::Logs);
    config.peers.workers = vec![socket(Role::Worker)];
    config.peers.traces = [Role::Queue, Role::Poller, Role::Dispatcher, Role::Worker].map(socket).to_vec();
    config
}
