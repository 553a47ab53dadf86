//! The other processes, where roles run apart.

use serde::{Deserialize, Serialize};

use crate::PeersTls;

/// The other processes, where roles run apart.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    /// Where this process serves its peers; empty for nowhere.
    pub listen: String,
    /// Where others reach `listen`, if not there.
    pub advertise: String,
    /// The control plane.
    pub control: String,
    /// The dispatcher.
    pub dispatcher: String,
    /// The queue service.
    pub queue: String,
    /// CloudWatch Logs.
    pub logs: String,
    /// The workers.
    pub workers: Vec<String>,
    /// Peers that keep spans.
    pub traces: Vec<String>,
    /// What peers on TCP show each other.
    pub cluster_token: String,
    /// TLS between peers on TCP.
    pub tls: PeersTls,
}
