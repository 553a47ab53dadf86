//! What the edge counts. Labels come from the operation table, never from a request.

use std::time::Duration;

use lambfold_api::Operation;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// From a tenth of a millisecond to what a function may take; seconds.
const LATENCIES: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0, 900.0];

/// The edge's metrics; clones share the counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<OperationLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    pub(crate) connections: Family<ListenerLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    service: &'static str,
    operation: &'static str,
    protocol: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    service: &'static str,
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ListenerLabels {
    pub(crate) listener: &'static str,
}

impl Metrics {
    /// Puts the metrics into `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(LATENCIES)),
            in_flight: Gauge::default(),
            connections: Family::default(),
        };
        registry.register(
            "gateway_requests",
            "Requests answered, by operation, protocol and HTTP status (or the one that stands for the gRPC status)",
            new.requests.clone(),
        );
        registry.register_with_unit(
            "gateway_request_duration",
            "From the head of a request to its answer",
            Unit::Seconds,
            new.durations.clone(),
        );
        registry.register(
            "gateway_requests_in_flight",
            "Requests that wait for their answer",
            new.in_flight.clone(),
        );
        registry.register("gateway_connections", "Open connections, by listener", new.connections.clone());
        new
    }

    /// One more request is under way, until the value is dropped.
    pub(crate) fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// A request was answered. Requests that are for no operation count together.
    pub(crate) fn answered(
        &self,
        operation: Option<&Operation>,
        protocol: &'static str,
        status: u16,
        took: Duration,
    ) {
        let (service, name) = operation.map_or(("none", "none"), |it| (it.service, it.name));
        let labels = RequestLabels { service, operation: name, protocol, status };
        self.requests.get_or_create(&labels).inc();
        let labels = OperationLabels { service, operation: name };
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

/// A request under way.
pub(crate) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
