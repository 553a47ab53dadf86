//! What environments log, on its way to the logs service: in batches, in order, bounded, and never waited for. What finds
//! no room is dropped and counted, in a metric and in the log itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lambfold_api::control::FunctionVersion;
use lambfold_api::logstore::{DeliverRequest, DeliveredBatch, DeliveredEvent, LogIntake};
use lambfold_api::{CallContext, Fault};
use lambfold_types::{Clock, Entropy, Scope, Timestamp, uuid_v4};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::platform_log::iso;

/// Bytes that may wait, over all environments: minutes of talk, seconds of a flood.
const MOST_WAITING: usize = 16 << 20;
/// What a line costs beside its text.
const OVERHEAD: usize = 128;
/// Bytes and lines of one delivery.
const DELIVERY_BYTES: usize = 1 << 20;
const DELIVERY_LINES: usize = 10_000;
/// After the first line of a delivery, so that others can join it.
const GATHER: Duration = Duration::from_millis(30);
/// Between attempts, while the logs service is away or has no room.
const RETRY: Duration = Duration::from_millis(250);
/// How long one attempt may take, and how long a delivery is tried.
const ATTEMPT: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a stop waits for what has not been delivered.
const LAST: Duration = Duration::from_secs(1);

/// Where lines go in.
#[derive(Clone)]
pub(crate) struct Outbox {
    lines: mpsc::UnboundedSender<Line>,
    /// Bytes that wait; what bounds the channel.
    waiting: Arc<AtomicUsize>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

/// Takes lines out and delivers them.
pub(crate) struct Delivery {
    lines: mpsc::UnboundedReceiver<Line>,
    waiting: Arc<AtomicUsize>,
    intake: Arc<dyn LogIntake>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    metrics: Metrics,
}

/// One log stream.
pub(crate) struct LogStream {
    key: Arc<Key>,
    json: bool,
    outbox: Outbox,
    /// Lines that found no room since the last one that did.
    dropped: u64,
    dropped_bytes: u64,
}

#[derive(Debug)]
struct Key {
    account: String,
    region: String,
    group: String,
    stream: String,
}

struct Line {
    key: Arc<Key>,
    time: Timestamp,
    message: String,
}

/// What is delivered together.
struct Gathered {
    batches: Vec<DeliveredBatch>,
    cost: usize,
    count: usize,
}

impl Line {
    fn cost(&self) -> usize {
        self.message.len() + OVERHEAD
    }
}

pub(crate) fn channel(
    intake: Arc<dyn LogIntake>,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
    metrics: &Metrics,
) -> (Outbox, Delivery) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let outbox = Outbox {
        lines: sender,
        waiting: Arc::clone(&waiting),
        clock: Arc::clone(clock),
        metrics: metrics.clone(),
    };
    let delivery = Delivery {
        lines: receiver,
        waiting,
        intake,
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
        metrics: metrics.clone(),
    };
    (outbox, delivery)
}

impl Outbox {
    /// The stream of one environment.
    pub(crate) fn stream(&self, function: &FunctionVersion, group: String, stream: String) -> LogStream {
        let key = Key { account: function.account.clone(), region: function.region.clone(), group, stream };
        LogStream {
            key: Arc::new(key),
            json: function.log_format == "JSON",
            outbox: self.clone(),
            dropped: 0,
            dropped_bytes: 0,
        }
    }

    /// Takes `message`, behind `gap` if there is one: both or neither. False if they have no room.
    fn push(&self, key: &Arc<Key>, gap: Option<String>, message: String) -> bool {
        let time = self.clock.now();
        let line = |message| Line { key: Arc::clone(key), time, message };
        let (gap, message) = (gap.map(line), line(message));
        let cost = message.cost() + gap.as_ref().map_or(0, Line::cost);
        let before = self.waiting.fetch_add(cost, Ordering::AcqRel);
        let fits = before + cost <= MOST_WAITING;
        if !fits || gap.into_iter().chain([message]).any(|line| self.lines.send(line).is_err()) {
            self.waiting.fetch_sub(cost, Ordering::AcqRel);
            return false;
        }
        true
    }
}

impl LogStream {
    /// Hands on an event. Returns at once, whatever becomes of it.
    pub(crate) fn push(&mut self, message: String) {
        let bytes = message.len() as u64;
        // A gap is told of in front of the first line that finds room again.
        let gap = (self.dropped > 0).then(|| self.gap());
        if self.outbox.push(&self.key, gap, message) {
            self.dropped = 0;
            self.dropped_bytes = 0;
            return;
        }
        self.dropped += 1;
        self.dropped_bytes += bytes;
        self.outbox.metrics.log_events_dropped.inc();
    }

    /// What stands where lines are missing.
    fn gap(&self) -> String {
        let (records, bytes) = (self.dropped, self.dropped_bytes);
        let reason = "too much waited to be delivered to the logs service";
        if self.json {
            let record = json!({ "reason": reason, "droppedRecords": records, "droppedBytes": bytes });
            let time = iso(self.outbox.clock.now());
            return json!({ "time": time, "type": "platform.logsDropped", "record": record }).to_string();
        }
        format!("LOGS_DROPPED Records: {records}\tBytes: {bytes}\tReason: {reason}\n")
    }
}

impl Delivery {
    /// Delivers until `stop`, and then what waits, for a moment.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let first = tokio::select! {
                biased;
                first = self.lines.recv() => first,
                () = stop.cancelled() => break,
            };
            let Some(first) = first else { return };
            tokio::select! {
                () = self.clock.sleep_until(self.clock.now() + GATHER) => {}
                () = stop.cancelled() => {}
            }
            self.deliver(first, Some(&stop)).await;
        }
        let clock = Arc::clone(&self.clock);
        let rest = async {
            while let Ok(first) = self.lines.try_recv() {
                self.deliver(first, None).await;
            }
        };
        tokio::select! {
            () = rest => {}
            () = clock.sleep_until(clock.now() + LAST) => tracing::warn!("log events are lost at the stop"),
        }
    }

    /// Delivers `first` and what else waits, as much as one delivery holds.
    async fn deliver(&mut self, first: Line, stop: Option<&CancellationToken>) {
        let Gathered { batches, cost, count } = self.gather(first);
        if let Err(fault) = self.attempt(DeliverRequest { batches }, stop).await {
            tracing::warn!(%fault, events = count, "log events are lost");
            self.metrics.log_events_dropped.inc_by(count as u64);
        }
        self.waiting.fetch_sub(cost, Ordering::AcqRel);
    }

    fn gather(&mut self, first: Line) -> Gathered {
        let mut gathered = Gathered { batches: Vec::new(), cost: 0, count: 0 };
        // By address, and held, so that no other key can have the address meanwhile.
        let mut places: HashMap<*const Key, usize> = HashMap::new();
        let mut held: Vec<Arc<Key>> = Vec::new();
        let mut next = Some(first);
        while let Some(line) = next {
            gathered.cost += line.cost();
            gathered.count += 1;
            let place = *places.entry(Arc::as_ptr(&line.key)).or_insert_with(|| {
                held.push(Arc::clone(&line.key));
                gathered.batches.push(DeliveredBatch {
                    account: line.key.account.clone(),
                    region: line.key.region.clone(),
                    log_group: line.key.group.clone(),
                    log_stream: line.key.stream.clone(),
                    events: Vec::new(),
                });
                gathered.batches.len() - 1
            });
            let event = DeliveredEvent { time_ms: line.time.millis(), message: line.message };
            gathered.batches[place].events.push(event);
            let full = gathered.cost >= DELIVERY_BYTES || gathered.count >= DELIVERY_LINES;
            next = if full { None } else { self.lines.try_recv().ok() };
        }
        gathered
    }

    async fn attempt(&self, request: DeliverRequest, stop: Option<&CancellationToken>) -> Result<(), Fault> {
        let give_up = self.clock.now() + PATIENCE;
        loop {
            let now = self.clock.now();
            let id = uuid_v4(&*self.entropy);
            let ctx =
                CallContext { deadline: Some(now + ATTEMPT), ..CallContext::internal(Scope::default(), id) };
            let Err(fault) = self.intake.deliver(&ctx, request.clone()).await else { return Ok(()) };
            let stopping = stop.is_some_and(CancellationToken::is_cancelled);
            // What was refused for what it is will be refused again.
            let may_pass = fault.http_status() >= 500 || matches!(fault.http_status(), 408 | 429);
            if !may_pass || stopping || now >= give_up {
                return Err(fault);
            }
            self.clock.sleep_until(now + RETRY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use lambfold_api::logstore::DeliverResponse;
    use lambfold_clock::{SystemClock, SystemEntropy};

    use super::*;

    /// Takes nothing until it is told to, and remembers what it took.
    #[derive(Default)]
    struct Slow {
        open: tokio::sync::Notify,
        taken: Mutex<Vec<(String, String)>>,
    }

    #[async_trait::async_trait]
    impl LogIntake for Slow {
        async fn deliver(&self, _: &CallContext, input: DeliverRequest) -> Result<DeliverResponse, Fault> {
            self.open.notified().await;
            self.open.notify_one();
            let mut taken = self.taken.lock().unwrap();
            for batch in input.batches {
                taken.extend(batch.events.into_iter().map(|event| (batch.log_stream.clone(), event.message)));
            }
            Ok(DeliverResponse {})
        }
    }

    #[tokio::test]
    async fn what_finds_no_room_is_dropped_and_told_of() {
        let intake = Arc::new(Slow::default());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let metrics = Metrics::default();
        let (outbox, delivery) = channel(intake.clone(), &clock, &entropy, &metrics);
        let stop = CancellationToken::new();
        let running = tokio::spawn(delivery.run(stop.clone()));
        let function = FunctionVersion::default();
        let mut one = outbox.stream(&function, "g".into(), "one".into());
        let mut two = outbox.stream(&function, "g".into(), "two".into());
        let large = "x".repeat(1 << 20);
        // Nobody takes anything, and nobody waits.
        for _ in 0..40 {
            one.push(large.clone());
            tokio::task::yield_now().await;
        }
        assert!(outbox.waiting.load(Ordering::Acquire) <= MOST_WAITING);
        let dropped = metrics.log_events_dropped.get();
        assert!((20..40).contains(&dropped), "{dropped}");
        intake.open.notify_one();
        while outbox.waiting.load(Ordering::Acquire) > 0 {
            clock.sleep_until(clock.now() + Duration::from_millis(5)).await;
        }
        two.push("small".into());
        one.push("after".into());
        stop.cancel();
        running.await.unwrap();
        let taken = intake.taken.lock().unwrap();
        let ones: Vec<&str> = taken.iter().filter(|(to, _)| to == "one").map(|(_, it)| it.as_str()).collect();
        assert_eq!(ones.len() as u64, 40 - dropped + 2);
        let [.., gap, last] = ones[..] else { panic!("two lines at least") };
        assert_eq!(last, "after");
        assert!(gap.starts_with(&format!("LOGS_DROPPED Records: {dropped}\tBytes: ")), "{gap}");
        assert!(taken.contains(&("two".to_owned(), "small".to_owned())));
    }
}
