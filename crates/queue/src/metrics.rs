//! What is counted of each queue, under the names of AWS's namespace `AWS/SQS`, and of the store, for `/metrics`.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use lambfold_types::{Clock, Timestamp};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::engine::{Names, Whereabouts};
use crate::queue::{Queue, QueueCounts};
use crate::store::Durability;

/// The counts of one queue since the start of the process.
#[derive(Debug, Default)]
pub(crate) struct QueueStatistics {
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) deleted: AtomicU64,
    pub(crate) empty_receives: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) deduplicated: AtomicU64,
    visible: AtomicU64,
    in_flight: AtomicU64,
    delayed: AtomicU64,
    locked_groups: AtomicU64,
    /// In milliseconds; negative while there is no message, or none is known.
    oldest_sent_at: AtomicI64,
}

impl QueueStatistics {
    /// Adds to a count.
    pub(crate) fn add(count: &AtomicU64, more: usize) {
        count.fetch_add(more as u64, Ordering::Relaxed);
    }

    /// Notes the state of the queue's only shard.
    pub(crate) fn note(&self, counts: QueueCounts, locked_groups: usize, oldest_sent_at: Option<Timestamp>) {
        self.locked_groups.store(locked_groups as u64, Ordering::Relaxed);
        self.visible.store(counts.visible, Ordering::Relaxed);
        self.in_flight.store(counts.in_flight, Ordering::Relaxed);
        self.delayed.store(counts.delayed, Ordering::Relaxed);
        self.oldest_sent_at.store(oldest_sent_at.map_or(-1, Timestamp::millis), Ordering::Relaxed);
    }
}

/// Shows the statistics of all queues that this node owns and that were used since the start, as CloudWatch has metrics of
/// active queues only.
pub struct QueueMetrics {
    pub(crate) names: Arc<RwLock<Names>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) commits: Arc<AtomicU64>,
    pub(crate) durability: Durability,
}

impl fmt::Debug for QueueMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QueueMetrics")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    account: String,
    region: String,
    queue_name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SettingLabels {
    setting: &'static str,
    value: String,
}

type Count = fn(&QueueStatistics) -> &AtomicU64;

const COUNTERS: [(&str, &str, Count); 6] = [
    ("NumberOfMessagesSent", "Messages added to the queue", |of| &of.sent),
    ("NumberOfMessagesReceived", "Messages returned by ReceiveMessage", |of| &of.received),
    ("NumberOfMessagesDeleted", "Deletes that succeeded", |of| &of.deleted),
    ("NumberOfEmptyReceives", "ReceiveMessage calls that returned no message", |of| &of.empty_receives),
    ("NumberOfDeduplicatedSentMessages", "Messages that a FIFO queue had already", |of| &of.deduplicated),
    ("SentMessageSize", "Bytes of bodies and attributes of the messages sent", |of| &of.sent_bytes),
];

const GAUGES: [(&str, &str, Count); 4] = [
    ("ApproximateNumberOfMessagesVisible", "Messages that a receive could return", |of| &of.visible),
    ("ApproximateNumberOfMessagesNotVisible", "Messages in flight", |of| &of.in_flight),
    ("ApproximateNumberOfMessagesDelayed", "Messages whose delay is not over", |of| &of.delayed),
    (
        "ApproximateNumberOfGroupsWithInflightMessages",
        "Groups of a FIFO queue with messages in flight",
        |of| &of.locked_groups,
    ),
];

impl Collector for QueueMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let queues: Vec<(Labels, Queue)> = {
            let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
            let all = names.values().flat_map(|queues| queues.values());
            all.filter(|queue| queue.link().whereabouts() == Whereabouts::Here)
                .map(|queue| (labels(queue), queue.clone()))
                .collect()
        };
        for (name, help, count) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (labels, queue) in &queues {
                let value = count(queue.statistics()).load(Ordering::Relaxed);
                ConstCounter::new(value).encode(family.encode_family(labels)?)?;
            }
        }
        for (name, help, count) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (labels, queue) in &queues {
                let value = count(queue.statistics()).load(Ordering::Relaxed);
                ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
                    .encode(family.encode_family(labels)?)?;
            }
        }
        let help = "Seconds since the oldest message was sent";
        let name = "ApproximateAgeOfOldestMessage";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, queue) in &queues {
            let sent_at = queue.statistics().oldest_sent_at.load(Ordering::Relaxed);
            let age = self.clock.now().since(Timestamp::from_millis(sent_at)).as_secs();
            let age = if sent_at < 0 { 0 } else { i64::try_from(age).unwrap_or(i64::MAX) };
            ConstGauge::new(age).encode(family.encode_family(labels)?)?;
        }
        self.encode_store(&mut encoder)
    }
}

impl QueueMetrics {
    /// How many commits it took, and what each of them outlasts.
    fn encode_store(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Transactions in which the writer made decisions of queues durable";
        let commits = encoder.encode_descriptor("store_commits", help, None, MetricType::Counter)?;
        ConstCounter::new(self.commits.load(Ordering::Relaxed)).encode(commits)?;
        let help =
            "Settings of the database that decide what a commit outlasts, as it reported them at the start";
        let mut settings = encoder.encode_descriptor("store_setting", help, None, MetricType::Gauge)?;
        for (setting, value) in &self.durability {
            let labels = SettingLabels { setting, value: value.clone() };
            ConstGauge::new(1_i64).encode(settings.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn labels(queue: &Queue) -> Labels {
    Labels {
        account: queue.scope().account.to_string(),
        region: queue.scope().region.to_string(),
        queue_name: queue.name().to_string(),
    }
}
