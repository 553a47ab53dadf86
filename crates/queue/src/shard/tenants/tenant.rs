//! What is known of one group of a standard queue.

use std::collections::BTreeSet;

use lambfold_types::Timestamp;

use crate::queue::QueueCounts;

/// How a message is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shard) enum Standing {
    Visible,
    InFlight,
    Delayed,
}

/// The count of messages that stand so.
pub(super) fn count(counts: &mut QueueCounts, standing: Standing) -> &mut u64 {
    match standing {
        Standing::Visible => &mut counts.visible,
        Standing::InFlight => &mut counts.in_flight,
        Standing::Delayed => &mut counts.delayed,
    }
}

/// A group, while it sends or has messages.
#[derive(Debug)]
pub(super) struct Tenant {
    name: Box<[u8]>,
    /// Lately.
    pub(super) sent: u32,
    pub(super) counts: QueueCounts,
    /// Its messages in memory.
    pub(super) held: BTreeSet<(Timestamp, u64)>,
    /// Messages that came to the backlog below it were not counted, as the group was not known.
    known_from: u64,
    /// Those of its counted messages that are in the backlog and not in memory.
    tail: u64,
    /// None of the tail was sent before. When some were read, it is the time of the last one that was.
    tail_from: Timestamp,
}

impl Tenant {
    /// A group of which messages are counted that take their places at or above the sequence `known_from`.
    pub(super) fn new(name: &[u8], known_from: u64) -> Self {
        Self {
            name: name.into(),
            sent: 0,
            counts: QueueCounts::default(),
            held: BTreeSet::new(),
            known_from,
            tail: 0,
            tail_from: Timestamp::default(),
        }
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// When its oldest message was sent; `None` if it has none.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let held = self.held.first().map(|(sent_at, _)| *sent_at);
        let tail = (self.tail > 0).then_some(self.tail_from);
        held.into_iter().chain(tail).min()
    }

    pub(super) fn join_tail(&mut self, sent_at: Timestamp) {
        if self.tail == 0 {
            self.tail_from = sent_at;
        }
        self.tail += 1;
    }

    /// A message of the tail has come into memory, the first of those that are left.
    pub(super) fn leave_tail(&mut self, sent_at: Timestamp, sequence: u64) {
        self.held.insert((sent_at, sequence));
        if sequence < self.known_from {
            self.counts.visible += 1;
        } else {
            self.tail = self.tail.saturating_sub(1);
            self.tail_from = sent_at;
        }
    }

    pub(super) fn purge(&mut self) {
        self.counts = QueueCounts::default();
        self.held.clear();
        self.tail = 0;
    }
}
