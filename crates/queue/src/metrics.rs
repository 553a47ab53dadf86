//! What is counted of each queue, under the names of AWS's namespace `AWS/SQS`, and of the store, for `/metrics`.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use lambfold_types::{Clock, Timestamp};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::engine::{Names, Whereabouts};
use crate::queue::Queue;
use crate::shard::{FairGauges, Gauges};
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
    oldest_sent_at: SentAt,
    /// Whether messages with groups came to it, which is not a FIFO queue.
    is_fair: AtomicBool,
    noisy_groups: AtomicU64,
    quiet_visible: AtomicU64,
    quiet_in_flight: AtomicU64,
    quiet_delayed: AtomicU64,
    oldest_quiet_sent_at: SentAt,
}

/// In milliseconds; negative while there is no message, or none is known.
#[derive(Debug, Default)]
struct SentAt(AtomicI64);

impl SentAt {
    fn set(&self, sent_at: Option<Timestamp>) {
        self.0.store(sent_at.map_or(-1, Timestamp::millis), Ordering::Relaxed);
    }

    /// In seconds.
    fn age(&self, now: Timestamp) -> i64 {
        let sent_at = self.0.load(Ordering::Relaxed);
        let age = now.since(Timestamp::from_millis(sent_at)).as_secs();
        if sent_at < 0 { 0 } else { i64::try_from(age).unwrap_or(i64::MAX) }
    }
}

impl QueueStatistics {
    /// Adds to a count.
    pub(crate) fn add(count: &AtomicU64, more: usize) {
        count.fetch_add(more as u64, Ordering::Relaxed);
    }

    /// Notes the state of the queue's only shard.
    pub(crate) fn note(&self, gauges: &Gauges) {
        let Gauges { counts, oldest_sent_at, locked_groups, fair } = gauges;
        self.locked_groups.store(*locked_groups as u64, Ordering::Relaxed);
        self.visible.store(counts.visible, Ordering::Relaxed);
        self.in_flight.store(counts.in_flight, Ordering::Relaxed);
        self.delayed.store(counts.delayed, Ordering::Relaxed);
        self.oldest_sent_at.set(*oldest_sent_at);
        if let Some(FairGauges { noisy_groups, quiet, oldest_quiet_sent_at }) = fair {
            self.noisy_groups.store(*noisy_groups as u64, Ordering::Relaxed);
            self.quiet_visible.store(quiet.visible, Ordering::Relaxed);
            self.quiet_in_flight.store(quiet.in_flight, Ordering::Relaxed);
            self.quiet_delayed.store(quiet.delayed, Ordering::Relaxed);
            self.oldest_quiet_sent_at.set(*oldest_quiet_sent_at);
        }
        self.is_fair.store(fair.is_some(), Ordering::Relaxed);
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

/// Of queues to which messages with a `MessageGroupId` were sent since their shard was taken, as CloudWatch has these metrics
/// of fair queues. What a noisy group is: ADR 006.
const FAIR_GAUGES: [(&str, &str, Count); 4] = [
    ("ApproximateNumberOfNoisyGroups", "Message groups that are noisy neighbors", |of| &of.noisy_groups),
    (
        "ApproximateNumberOfMessagesVisibleInQuietGroups",
        "Messages that a receive could return, but for those of noisy groups",
        |of| &of.quiet_visible,
    ),
    (
        "ApproximateNumberOfMessagesNotVisibleInQuietGroups",
        "Messages in flight, but for those of noisy groups",
        |of| &of.quiet_in_flight,
    ),
    (
        "ApproximateNumberOfMessagesDelayedInQuietGroups",
        "Messages whose delay is not over, but for those of noisy groups",
        |of| &of.quiet_delayed,
    ),
];

impl Collector for QueueMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut queues: Vec<(Labels, Queue)> = {
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
        encode_gauges(&mut encoder, &GAUGES, &queues)?;
        let help = "Seconds since the oldest message was sent";
        self.encode_ages(&mut encoder, ("ApproximateAgeOfOldestMessage", help), &queues, |of| {
            &of.oldest_sent_at
        })?;
        queues.retain(|(_, queue)| queue.statistics().is_fair.load(Ordering::Relaxed));
        encode_gauges(&mut encoder, &FAIR_GAUGES, &queues)?;
        let help = "Seconds since the oldest message was sent that is not of a noisy group";
        let name = "ApproximateAgeOfOldestMessageInQuietGroups";
        self.encode_ages(&mut encoder, (name, help), &queues, |of| &of.oldest_quiet_sent_at)?;
        self.encode_store(&mut encoder)
    }
}

fn encode_gauges(
    encoder: &mut DescriptorEncoder<'_>,
    gauges: &[(&str, &str, Count)],
    queues: &[(Labels, Queue)],
) -> fmt::Result {
    for (name, help, count) in gauges {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, queue) in queues {
            let value = count(queue.statistics()).load(Ordering::Relaxed);
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
                .encode(family.encode_family(labels)?)?;
        }
    }
    Ok(())
}

impl QueueMetrics {
    /// A gauge of ages as of now.
    fn encode_ages(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&str, &str),
        queues: &[(Labels, Queue)],
        sent_at: fn(&QueueStatistics) -> &SentAt,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        let now = self.clock.now();
        for (labels, queue) in queues {
            ConstGauge::new(sent_at(queue.statistics()).age(now)).encode(family.encode_family(labels)?)?;
        }
        Ok(())
    }

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
