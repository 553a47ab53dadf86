//! The HTTP edge.

use serde::{Deserialize, Serialize};

use crate::GatewayTls;

/// The HTTP edge.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// What the URLs in answers begin with; empty for what the client used.
    pub public_url: String,
    /// Connections at once.
    pub max_connections: usize,
    /// The largest request body.
    pub max_body_bytes: usize,
    /// Memory for bodies that are still arriving.
    pub body_memory_mib: usize,
    /// How long headers may take.
    pub header_timeout_seconds: u64,
    /// How long a request's body may take, and how long a client may take nothing of a streamed answer.
    pub body_timeout_seconds: u64,
    /// How long an operation may take.
    pub request_timeout_seconds: u64,
    /// TLS.
    pub tls: GatewayTls,
}
