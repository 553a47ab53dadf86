//! One line per connection, in the structured log: who, where, what came of it, how much. Bounded per environment: a
//! function that asks a thousand times a second is one line with a number.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lambfold_types::{Clock, Timestamp};

use crate::metrics::{ByteLabels, ConnectionLabels, Direction, Metrics, Protocol, Verdict};
use crate::network::Client;

/// Lines that an environment may write at once, and how fast it earns further ones.
const BURST: u32 = 50;
const EARNED_EVERY: Duration = Duration::from_millis(200);

/// The audit of one environment.
pub(crate) struct Audit {
    client: Client,
    /// Whether what is permitted is told, too.
    all: bool,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    allowance: Mutex<Allowance>,
}

struct Allowance {
    lines: u32,
    since: Timestamp,
    dropped: u64,
}

/// What is said of a connection.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) protocol: Protocol,
    /// An address with its port, or a name that was to be resolved.
    pub(crate) destination: String,
    /// The name that led there, if known.
    pub(crate) name: Option<&'a str>,
    pub(crate) verdict: Verdict,
    /// Why, if it came to nothing.
    pub(crate) reason: &'a str,
}

/// Bytes of a connection, without headers.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Traffic {
    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Audit {
    pub(crate) fn new(client: Client, all: bool, metrics: Metrics, clock: Arc<dyn Clock>) -> Self {
        let allowance = Mutex::new(Allowance { lines: BURST, since: clock.now(), dropped: 0 });
        Self { client, all, metrics, clock, allowance }
    }

    /// Counts a connection that came to nothing, and tells of it.
    pub(crate) fn tell(&self, line: &Line<'_>) {
        self.tell_with(line, &Traffic::default());
    }

    /// Counts a connection, and tells of it.
    pub(crate) fn tell_with(&self, line: &Line<'_>, traffic: &Traffic) {
        let Line { protocol, verdict, .. } = *line;
        let (sent, received) =
            (traffic.sent.load(Ordering::Relaxed), traffic.received.load(Ordering::Relaxed));
        self.metrics.connections.get_or_create(&ConnectionLabels { protocol, verdict }).inc();
        for (direction, bytes) in [(Direction::Sent, sent), (Direction::Received, received)] {
            self.metrics.bytes.get_or_create(&ByteLabels { direction }).inc_by(bytes);
        }
        if matches!(verdict, Verdict::Allowed | Verdict::Failed) && !self.all {
            return;
        }
        let Some(dropped) = self.take() else { return };
        tracing::info!(
            target: "network",
            {
                function.arn = %self.client.function,
                environment = %self.client.environment,
                network.protocol = protocol.as_str(),
                network.destination = %line.destination,
                network.name = line.name,
                network.verdict = verdict.as_str(),
                network.reason = line.reason,
                network.sent = sent,
                network.received = received,
                not_told = (dropped > 0).then_some(dropped),
            },
            "a function's connection"
        );
    }

    /// Leave for one line, with the number of those that had none before it.
    fn take(&self) -> Option<u64> {
        let now = self.clock.now();
        let mut allowance = self.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        let earned = now.since(allowance.since).as_millis() / EARNED_EVERY.as_millis();
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(BURST);
            allowance.lines = allowance.lines.saturating_add(earned).min(BURST);
            allowance.since = now;
        }
        if allowance.lines == 0 {
            allowance.dropped += 1;
            return None;
        }
        allowance.lines -= 1;
        Some(std::mem::take(&mut allowance.dropped))
    }
}
