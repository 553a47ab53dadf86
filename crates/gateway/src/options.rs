//! The edge's settings.

use std::time::Duration;

use lambfold_api::Endpoint;
use lambfold_api::transport::ServerTls;

/// Bounds of what a client may ask of the edge.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections at once, of each listener; further ones wait to be accepted.
    pub max_connections: usize,
    /// The largest request body, in bytes. Operations have lower limits of their own.
    pub max_body_bytes: usize,
    /// Memory for request bodies that are still arriving, all together, in bytes. Further ones wait.
    pub body_memory_bytes: usize,
    /// How long a new connection may take to send the head of its first request.
    pub header_timeout: Duration,
    /// How long a request's body may take, and how long a client may take nothing of an answer that comes in pieces.
    pub body_timeout: Duration,
    /// How long an operation may take.
    pub request_timeout: Duration,
    /// How long an invocation may take: as long, or longer where functions are debugged. Over gRPC it holds for every operation.
    pub invoke_timeout: Duration,
    /// How long a connection may have no request, or take to send the head of its next one.
    pub idle_timeout: Duration,
    /// What the URLs in answers begin with; without it what the client used.
    pub public_url: Option<Endpoint>,
    /// Whether a request that brings no trace begins one.
    pub traces_every_request: bool,
    /// TLS on both listeners; without it they speak plainly.
    pub tls: Option<Tls>,
}

/// TLS of the public listeners.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Certificate and key.
    pub server: ServerTls,
    /// Who may do without.
    pub plain: PlainFrom,
}

/// Whose plain connections a listener with TLS takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainFrom {
    /// Nobody's.
    Nobody,
    /// Those of this machine: functions reach Lambfold plainly, over a relay into their sandbox.
    Loopback,
    /// Everybody's.
    Everybody,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            // What AWS takes for CreateFunction: 50 MiB of zip in base64.
            max_body_bytes: 70_167_211,
            body_memory_bytes: 256 << 20,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_mins(1),
            request_timeout: Duration::from_secs(920),
            invoke_timeout: Duration::from_secs(920),
            idle_timeout: Duration::from_mins(2),
            public_url: None,
            traces_every_request: false,
            tls: None,
        }
    }
}
