//! What is counted of functions' connections. Labels are outcomes and directions: never a function or an address.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics; clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(crate) connections: Family<ConnectionLabels, Counter>,
    pub(crate) bytes: Family<ByteLabels, Counter>,
    pub(crate) open: Gauge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ConnectionLabels {
    pub(crate) protocol: Protocol,
    pub(crate) verdict: Verdict,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Dns,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Verdict {
    Allowed,
    Denied,
    /// Permitted, but the other side could not be reached.
    Failed,
    /// One too many.
    Limited,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByteLabels {
    pub(crate) direction: Direction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Direction {
    Sent,
    Received,
}

impl Metrics {
    /// Registers the metrics under `worker_network_…`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("worker_network");
        registry.register(
            "connections",
            "Connections that functions asked for, by what came of them",
            metrics.connections.clone(),
        );
        registry.register("bytes", "Bytes that functions sent and received", metrics.bytes.clone());
        registry.register("open_connections", "Connections of functions that are open", metrics.open.clone());
        metrics
    }
}

impl Protocol {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Dns => "dns",
        }
    }
}

impl Verdict {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Limited => "limited",
        }
    }
}
