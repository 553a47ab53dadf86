//! What the logs service counts. No label names a group: there are as many as functions.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The logs service's metrics; clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(crate) events: Counter,
    pub(crate) expired: Counter,
    pub(crate) evicted: Counter,
    pub(crate) refused: Counter,
    pub(crate) stored_bytes: Gauge,
    pub(crate) live_tails: Gauge,
}

impl Metrics {
    /// Registers the metrics under `logs_…`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("logs");
        registry.register("events", "Log events stored", metrics.events.clone());
        registry.register(
            "expired_events",
            "Log events removed because their retention was over, or their group or stream gone",
            metrics.expired.clone(),
        );
        registry.register(
            "evicted_events",
            "Log events removed because the store was full",
            metrics.evicted.clone(),
        );
        registry.register(
            "refused_batches",
            "Batches refused because too much was waiting",
            metrics.refused.clone(),
        );
        registry.register("stored_bytes", "Size of the events that are kept", metrics.stored_bytes.clone());
        registry.register("live_tails", "Live tail sessions", metrics.live_tails.clone());
        metrics
    }
}
