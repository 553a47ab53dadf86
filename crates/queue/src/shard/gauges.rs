//! How many messages there are, and how old: for attributes and metrics. None of it costs more when there are more messages.

#[cfg(test)]
mod tests;

use lambfold_types::Timestamp;

use crate::queue::QueueCounts;

use super::Shard;
use super::tenants::UNTRACKED;

/// What the metrics of a queue show, as of the last [`Shard::advance`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gauges {
    pub(crate) counts: QueueCounts,
    /// When the oldest message was sent; `None` if there is none, or it is not in memory.
    pub(crate) oldest_sent_at: Option<Timestamp>,
    /// Groups of a FIFO queue with messages in flight.
    pub(crate) locked_groups: usize,
    /// Of a standard queue that messages with groups were sent to.
    pub(crate) fair: Option<FairGauges>,
}

/// What the metrics of a fair queue show beside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FairGauges {
    /// Groups that the others are put in front of.
    pub(crate) noisy_groups: usize,
    /// The messages of all other groups, and those of none.
    pub(crate) quiet: QueueCounts,
    /// When the oldest one of them was sent.
    pub(crate) oldest_quiet_sent_at: Option<Timestamp>,
}

impl Shard {
    /// Exact as of the last [`Shard::advance`].
    pub(crate) fn counts(&self) -> QueueCounts {
        let mut counts = QueueCounts { visible: self.backlog.len(), ..QueueCounts::default() };
        self.index.add_counts(&mut counts);
        counts
    }

    /// What the metrics show.
    pub(crate) fn gauges(&self) -> Gauges {
        let backlog = self.backlog.first().map(|(_, fresh)| (fresh.sent_at, fresh.group));
        let index = self
            .index
            .oldest()
            .and_then(|(sequence, sent_at)| self.index.get(sequence).map(|entry| (sent_at, entry.group())));
        let oldest = backlog.into_iter().chain(index).min_by_key(|(sent_at, _)| *sent_at);
        let mut gauges = Gauges {
            counts: self.counts(),
            oldest_sent_at: oldest.map(|(sent_at, _)| sent_at),
            locked_groups: self.index.locked_groups(),
            fair: None,
        };
        if let Some(tenants) = self.index.tenants().filter(|tenants| tenants.is_used()) {
            // Without a backlog nobody is put in front of anybody.
            let noisy = if self.has_backlog() { tenants.noisy() } else { Vec::new() };
            // What came before there were groups is older than what came after.
            let is_quiet = noisy.is_empty() || oldest.is_some_and(|(_, group)| group == UNTRACKED);
            gauges.fair = Some(FairGauges {
                noisy_groups: noisy.len(),
                quiet: tenants.quiet(&noisy, gauges.counts),
                oldest_quiet_sent_at: if is_quiet {
                    gauges.oldest_sent_at
                } else {
                    tenants.oldest_quiet(&noisy)
                },
            });
        }
        gauges
    }
}
