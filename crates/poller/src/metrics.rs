//! What the poller counts. Labels are outcomes only: never a mapping, a queue or a function.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The poller's metrics; clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Batches that came to an end.
    pub(crate) batches: Family<BatchLabels, Counter>,
    /// Messages that left the poller's hands.
    pub(crate) messages: Family<MessageLabels, Counter>,
    /// Invocations that were throttled, each attempt.
    pub(crate) throttles: Counter,
    /// Calls to the queue service that failed.
    pub(crate) source_errors: Counter,
    /// Batches in flight.
    pub(crate) in_flight: Gauge,
    /// Mappings that are polled.
    pub(crate) mappings: Gauge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct BatchLabels {
    pub(crate) outcome: BatchOutcome,
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum BatchOutcome {
    /// Every message was processed.
    Success,
    /// Some were.
    PartialFailure,
    /// The function failed, or said that all messages did.
    FunctionError,
    /// The function was throttled until the messages' time was up.
    Throttled,
    /// The invocation could not be made.
    InvokeError,
    /// The messages' time was up before they could be invoked.
    Expired,
    /// Not invoked; given back to the queue.
    HandedBack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct MessageLabels {
    pub(crate) outcome: MessageOutcome,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum MessageOutcome {
    /// Processed and deleted.
    Deleted,
    /// Processed, but it could not be deleted: it comes again.
    NotDeleted,
    /// Left to its visibility timeout.
    Left,
    /// Made visible again at once.
    HandedBack,
    /// Its visibility ran out in the poller's hands.
    Expired,
}

impl Metrics {
    /// Registers the metrics under `poller_…`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("poller");
        registry.register("batches", "Batches by how they ended", metrics.batches.clone());
        registry.register("messages", "Messages by what became of them", metrics.messages.clone());
        registry.register("throttles", "Invocations that were throttled", metrics.throttles.clone());
        let source_errors = metrics.source_errors.clone();
        registry.register("source_errors", "Failed calls to the queue service", source_errors);
        registry.register("in_flight_batches", "Batches in flight", metrics.in_flight.clone());
        registry.register("mappings", "Event source mappings", metrics.mappings.clone());
        metrics
    }

    pub(crate) fn batch(&self, outcome: BatchOutcome) {
        self.batches.get_or_create(&BatchLabels { outcome }).inc();
    }

    pub(crate) fn messages(&self, outcome: MessageOutcome, count: usize) {
        if count > 0 {
            self.messages.get_or_create(&MessageLabels { outcome }).inc_by(count as u64);
        }
    }
}
