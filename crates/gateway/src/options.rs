//! The edge's settings.

use std::time::Duration;

/// Bounds of what a client may ask of the edge.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections at once, of each listener; further ones wait to be accepted.
    pub max_connections: usize,
    /// The largest request body, in bytes. Operations have lower limits of their own.
    pub max_body_bytes: usize,
    /// How long a new connection may take to send the head of its first request.
    pub header_timeout: Duration,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// How long an operation may take.
    pub request_timeout: Duration,
    /// How long a connection may have no request, or take to send the head of its next one.
    pub idle_timeout: Duration,
    /// Whether a request that brings no trace begins one.
    pub traces_every_request: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            // What AWS takes for CreateFunction: 50 MiB of zip in base64.
            max_body_bytes: 70_167_211,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_mins(1),
            request_timeout: Duration::from_secs(920),
            idle_timeout: Duration::from_mins(2),
            traces_every_request: false,
        }
    }
}
