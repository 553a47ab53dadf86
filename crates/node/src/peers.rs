//! The other roles, wherever they run: in this process through the trait, in another through gRPC.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use lambfold_api::control::{Control, ControlRemote, ControlVia};
use lambfold_api::lambda::{
    Lambda, LambdaInvoke, LambdaInvokeRemote, LambdaInvokeVia, LambdaRemote, LambdaVia,
};
use lambfold_api::logs::{Logs, LogsRemote, LogsVia};
use lambfold_api::logstore::{LogIntake, LogIntakeRemote, LogIntakeVia};
use lambfold_api::rpc::RpcClient;
use lambfold_api::sqs::{Sqs, SqsPeek, SqsPeekRemote, SqsPeekVia, SqsRemote, SqsVia};
use lambfold_api::telemetry::{Traces, TracesRemote};
use lambfold_api::transport::{self, ClientTls, PeerAddress};
use lambfold_api::worker::{Worker, WorkerRemote, WorkerVia};
use lambfold_config::Peers;
use lambfold_queue::{Cluster, PeerNodes};
use lambfold_types::{Clock, Entropy};
use tonic::metadata::{Ascii, MetadataValue};

use crate::{StartError, tls};

/// Makes the callers' side of every service.
pub(crate) struct PeerMap {
    peers: Peers,
    clock: Arc<dyn Clock>,
    clients: Arc<Clients>,
}

/// Connections to peers by their addresses.
struct Clients {
    token: Option<MetadataValue<Ascii>>,
    tls: Option<ClientTls>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Of other queue nodes, which come and go.
    nodes: Mutex<BTreeMap<String, RpcClient>>,
}

/// Queue nodes that are remembered at most; then all are forgotten, and those in use connect again.
const NODES: usize = 1024;

/// Declares, per service, how a local implementation or a peer's address becomes what callers hold.
macro_rules! service {
    ($(#[$doc:meta])* $name:ident, $trait:ident, $via:ident, $remote:ident, $key:ident) => {
        $(#[$doc])*
        pub(crate) fn $name(&self, local: Option<Arc<dyn $trait>>) -> Result<Arc<dyn $trait>, StartError> {
            match local {
                Some(local) => Ok($via::local(local, self.clock.clone())),
                None => Ok(Arc::new($remote::new(self.client(stringify!($key), &self.peers.$key)?))),
            }
        }
    };
}

impl PeerMap {
    pub(crate) fn new(
        peers: &Peers,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StartError> {
        let token = match peers.cluster_token.as_str() {
            "" => None,
            token => Some(token.parse().map_err(|_| StartError::ClusterToken)?),
        };
        let tls = tls::peers(&peers.tls)?.map(|mutual| mutual.client);
        let nodes = Mutex::default();
        let clients = Arc::new(Clients { token, tls, clock: clock.clone(), entropy, nodes });
        Ok(Self { peers: peers.clone(), clock, clients })
    }

    service!(
        /// SQS.
        sqs, Sqs, SqsVia, SqsRemote, queue
    );
    service!(
        /// Looking at messages.
        peek, SqsPeek, SqsPeekVia, SqsPeekRemote, queue
    );
    service!(
        /// The control plane of Lambda.
        lambda, Lambda, LambdaVia, LambdaRemote, control
    );
    service!(
        /// What the data plane needs of the control plane.
        control, Control, ControlVia, ControlRemote, control
    );
    service!(
        /// The data plane of invoke.
        invoke, LambdaInvoke, LambdaInvokeVia, LambdaInvokeRemote, dispatcher
    );

    service!(
        /// CloudWatch Logs.
        logs, Logs, LogsVia, LogsRemote, logs
    );
    service!(
        /// What workers deliver logs to.
        log_intake, LogIntake, LogIntakeVia, LogIntakeRemote, logs
    );

    /// Every worker.
    pub(crate) fn workers(&self, local: Option<Arc<dyn Worker>>) -> Result<Vec<Arc<dyn Worker>>, StartError> {
        if let Some(local) = local {
            return Ok(vec![WorkerVia::local(local, self.clock.clone())]);
        }
        if self.peers.workers.is_empty() {
            return Err(StartError::PeerMissing("workers"));
        }
        let remote = |address: &String| {
            Ok(Arc::new(WorkerRemote::new(self.client("workers", address)?)) as Arc<dyn Worker>)
        };
        self.peers.workers.iter().map(remote).collect()
    }

    /// Every peer that keeps spans.
    pub(crate) fn traces(&self) -> Result<Vec<Arc<dyn Traces>>, StartError> {
        let remote = |address: &String| {
            Ok(Arc::new(TracesRemote::new(self.client("traces", address)?)) as Arc<dyn Traces>)
        };
        self.peers.traces.iter().map(remote).collect()
    }

    fn client(&self, key: &'static str, address: &str) -> Result<RpcClient, StartError> {
        if address.is_empty() {
            return Err(StartError::PeerMissing(key));
        }
        self.clients.client(address)
    }

    /// This node as the other queue nodes on the same store see it.
    pub(crate) fn cluster(&self) -> Result<Cluster, StartError> {
        let Peers { listen, advertise, .. } = &self.peers;
        let address = if advertise.is_empty() { listen } else { advertise };
        if address.is_empty() {
            return Err(StartError::PeerMissing("listen"));
        }
        let _: PeerAddress = address.parse()?;
        Ok(Cluster { address: address.clone(), nodes: self.clients.clone() })
    }
}

impl Clients {
    fn client(&self, address: &str) -> Result<RpcClient, StartError> {
        let address: PeerAddress = address.parse()?;
        if matches!(address, PeerAddress::Tcp(_)) && self.token.is_none() && self.tls.is_none() {
            return Err(StartError::ClusterToken);
        }
        let channel = transport::connect(&address, self.tls.clone());
        let client = RpcClient::new(channel, self.clock.clone(), self.entropy.clone());
        Ok(client.with_token(self.token.clone()))
    }
}

impl PeerNodes for Clients {
    fn rpc(&self, address: &str) -> Option<RpcClient> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = nodes.get(address) {
            return Some(client.clone());
        }
        match self.client(address) {
            Ok(client) => {
                if nodes.len() >= NODES {
                    nodes.clear();
                }
                nodes.insert(address.to_owned(), client.clone());
                Some(client)
            }
            Err(error) => {
                tracing::error!(address, %error, "a queue node cannot be reached");
                None
            }
        }
    }
}
