//! What the dispatcher counts. Labels are outcomes only: never a function or an account.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The dispatcher's metrics; clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    invocations: Family<InvocationLabels, Counter>,
    pub(crate) in_flight: Gauge,
    pub(crate) cold_starts: Counter,
    pub(crate) placed_again: Counter,
    pub(crate) retired: Counter,
    pub(crate) functions: Gauge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InvocationLabels {
    outcome: InvocationOutcome,
}

/// How an invocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum InvocationOutcome {
    Success,
    FunctionError,
    Throttled,
    Fault,
}

impl Metrics {
    /// Registers the metrics under `dispatcher_…`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("dispatcher");
        registry.register("invocations", "Invocations by how they ended", metrics.invocations.clone());
        registry.register(
            "in_flight_invocations",
            "Invocations without an answer yet",
            metrics.in_flight.clone(),
        );
        registry.register(
            "cold_starts",
            "Invocations that a new environment was started for",
            metrics.cold_starts.clone(),
        );
        registry.register(
            "placed_again",
            "Invocations whose environment was gone before they began",
            metrics.placed_again.clone(),
        );
        registry.register(
            "retired_environments",
            "Environments that were told to end",
            metrics.retired.clone(),
        );
        registry.register("functions", "Function versions that are known", metrics.functions.clone());
        metrics
    }

    pub(crate) fn invocation(&self, outcome: InvocationOutcome) {
        self.invocations.get_or_create(&InvocationLabels { outcome }).inc();
    }
}
