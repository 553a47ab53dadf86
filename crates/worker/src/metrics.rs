//! What a worker counts. Labels are outcomes and installed runtimes: never a function.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The worker's metrics; clones share the counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) invocations: Family<InvocationLabels, Counter>,
    pub(crate) environments: Gauge,
    pub(crate) init_seconds: Histogram,
    pub(crate) init_failures: Counter,
    pub(crate) freezes: Counter,
    pub(crate) launch_failures: Counter,
    pub(crate) log_events_dropped: Counter,
    pub(crate) pool_waiting: Family<RuntimeLabels, Gauge>,
    pub(crate) pool_assigned: Family<RuntimeLabels, Counter>,
    pub(crate) pool_missed: Family<RuntimeLabels, Counter>,
    pub(crate) pool_unfit: Family<RuntimeLabels, Counter>,
}

/// An interpreter of this machine, by the identifier of its runtime; where a pool is for functions of one memory size, with
/// that: `nodejs20.x 512 MB`. There are few such pools, and a pool that goes takes its figures along.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RuntimeLabels {
    pub(crate) runtime: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct InvocationLabels {
    pub(crate) outcome: InvocationOutcome,
}

/// How an invocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum InvocationOutcome {
    Success,
    FunctionError,
    Timeout,
    Crash,
    InitError,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            invocations: Family::default(),
            environments: Gauge::default(),
            init_seconds: Histogram::new(exponential_buckets(0.005, 2.0, 12)),
            init_failures: Counter::default(),
            freezes: Counter::default(),
            launch_failures: Counter::default(),
            log_events_dropped: Counter::default(),
            pool_waiting: Family::default(),
            pool_assigned: Family::default(),
            pool_missed: Family::default(),
            pool_unfit: Family::default(),
        }
    }
}

impl Metrics {
    /// Registers the metrics under `worker_…`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("worker");
        registry.register("invocations", "Invocations by how they ended", metrics.invocations.clone());
        registry.register("environments", "Execution environments", metrics.environments.clone());
        registry.register(
            "init_seconds",
            "Time from nothing to the first next",
            metrics.init_seconds.clone(),
        );
        registry.register("init_failures", "Init phases that failed", metrics.init_failures.clone());
        registry.register(
            "freezes",
            "How often an idle environment's processes were made to stand still",
            metrics.freezes.clone(),
        );
        registry.register(
            "launch_failures",
            "Environments that could not be started, through no fault of the function",
            metrics.launch_failures.clone(),
        );
        registry.register(
            "log_events_dropped",
            "Log events of functions that never reached the logs service",
            metrics.log_events_dropped.clone(),
        );
        let pool = registry.sub_registry_with_prefix("pool");
        pool.register("waiting", "Environments that wait for functions", metrics.pool_waiting.clone());
        pool.register("assigned", "Cold starts by one that waited", metrics.pool_assigned.clone());
        pool.register("missed", "Cold starts from nothing because none waited", metrics.pool_missed.clone());
        pool.register(
            "unfit",
            "Cold starts from nothing because of a variable that is needed when the interpreter starts",
            metrics.pool_unfit.clone(),
        );
        metrics
    }

    pub(crate) fn forget_pool(&self, labels: &RuntimeLabels) {
        self.pool_waiting.remove(labels);
        self.pool_assigned.remove(labels);
        self.pool_missed.remove(labels);
    }

    pub(crate) fn invocation(&self, outcome: InvocationOutcome) {
        self.invocations.get_or_create(&InvocationLabels { outcome }).inc();
    }
}
