//! A poller between a control plane, queues and functions in memory, on a clock that stands still.

use std::sync::Arc;
use std::time::Duration;

use lambfold_api::control::{EventSourceMapping, FunctionVersion};
use lambfold_clock::{ManualClock, SeededEntropy};
use lambfold_types::{Clock, Timestamp};
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::control::ControlPlane;
use super::functions::Functions;
use super::queues::Queues;
use crate::mapping::tests::told;
use crate::{Metrics, Options, PollerService};

pub(super) struct World {
    pub(super) clock: ManualClock,
    pub(super) control: Arc<ControlPlane>,
    pub(super) queues: Arc<Queues>,
    pub(super) functions: Arc<Functions>,
    pub(super) registry: Registry,
    pub(super) shutdown: CancellationToken,
    pub(super) poller: JoinHandle<()>,
}

/// A mapping of this name from the queue of this name to the function of this name.
pub(super) fn mapping(name: &str) -> EventSourceMapping {
    EventSourceMapping {
        uuid: name.into(),
        event_source_arn: format!("arn:aws:sqs:us-east-1:000000000000:{name}"),
        function_name: name.into(),
        ..told()
    }
}

impl World {
    /// Queue `jobs` with a visibility timeout of 30 s, function `jobs` with a timeout of 3 s, and the mapping
    /// between them.
    pub(super) async fn with(change: impl FnOnce(&mut EventSourceMapping)) -> Self {
        let clock = ManualClock::at(Timestamp::from_millis(1_700_000_000_000));
        let control = ControlPlane::new();
        let queues = Queues::new(clock.clone());
        let functions = Functions::new(clock.clone(), Arc::clone(&queues));
        queues.create("jobs", 30);
        control.put_function(FunctionVersion {
            account: "000000000000".into(),
            region: "us-east-1".into(),
            function_name: "jobs".into(),
            version: "$LATEST".into(),
            incarnation: "i".into(),
            timeout_seconds: 3,
            ..FunctionVersion::default()
        });
        let mut jobs = mapping("jobs");
        change(&mut jobs);
        control.put(jobs);
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let shutdown = CancellationToken::new();
        let service = PollerService::build(
            Options { max_concurrency: 50, stop_within: Duration::from_secs(10) },
            Arc::clone(&control) as _,
            Arc::clone(&queues) as _,
            Arc::clone(&functions) as _,
            Arc::new(clock.clone()),
            Arc::new(SeededEntropy::new(7)),
            metrics,
        );
        let poller = tokio::spawn(service.run(shutdown.clone()));
        let world = Self { clock, control, queues, functions, registry, shutdown, poller };
        world.settle().await;
        world
    }

    /// Lets everything run that can run without time going on.
    pub(super) async fn settle(&self) {
        for _ in 0..300 {
            tokio::task::yield_now().await;
        }
    }

    /// Lets time go on in small steps.
    pub(super) async fn advance(&self, time: Duration) {
        let end = self.clock.now() + time;
        self.settle().await;
        while self.clock.now() < end {
            self.clock.advance(Duration::from_millis(250).min(end.since(self.clock.now())));
            self.settle().await;
        }
    }

    /// Lets up to an hour go by until something is so.
    pub(super) async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        self.settle().await;
        for _ in 0..3600 * 4 {
            if so(self) {
                return;
            }
            self.clock.advance(Duration::from_millis(250));
            self.settle().await;
        }
        panic!("it never came to this: {what}");
    }

    /// Stops the poller and waits for it; no batch may be left that counts as running.
    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        self.until("the poller has stopped", |world| world.poller.is_finished()).await;
        assert_eq!(self.metric("poller_in_flight_batches"), "0");
        self.queues.assert_no_rule_is_broken();
        self.poller.await.unwrap();
    }

    /// The value of a metric, written as Prometheus does; empty if it was never counted.
    pub(super) fn metric(&self, name: &str) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let mut values =
            text.lines().filter_map(|line| line.rsplit_once(' ')).filter(|(key, _)| *key == name);
        values.next().map(|(_, value)| value.to_owned()).unwrap_or_default()
    }
}
