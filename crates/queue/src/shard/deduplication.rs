//! Which messages a FIFO queue has taken in the last five minutes (facts, SQS §6.3). The history is in memory and in
//! the store, where it is written with the messages and read back at a start; it outlives the messages themselves.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use lambfold_types::Timestamp;
use uuid::Uuid;

use crate::store::DeduplicationRow;

/// For how long a second message with the same id counts as the first.
const WINDOW: Duration = Duration::from_mins(5);

/// The message that was sent first under an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Original {
    pub(super) sequence: u64,
    pub(super) message_id: Uuid,
}

#[derive(Debug, Default)]
pub(super) struct Deduplication {
    originals: BTreeMap<u128, Original>,
    /// In the order of their time.
    history: VecDeque<(Timestamp, u128, u64)>,
    /// Rows of the store below this sequence are of no use any more.
    forgotten_before: u64,
}

impl Deduplication {
    /// As the store has it.
    pub(super) fn restore(rows: &[DeduplicationRow]) -> Self {
        let mut restored = Self::default();
        for row in rows {
            restored.add(row);
        }
        restored
    }

    pub(super) fn find(&self, id: u128) -> Option<Original> {
        self.originals.get(&id).copied()
    }

    pub(super) fn add(&mut self, row: &DeduplicationRow) {
        self.originals.insert(row.id, Original { sequence: row.sequence, message_id: row.message_id });
        self.history.push_back((row.sent_at, row.id, row.sequence));
    }

    /// The message was not stored after all.
    pub(super) fn forget(&mut self, id: u128, sequence: u64) {
        if self.originals.get(&id).is_some_and(|original| original.sequence == sequence) {
            self.originals.remove(&id);
        }
    }

    /// Lets go what is older than the window.
    pub(super) fn advance(&mut self, now: Timestamp) {
        while let Some((_, id, sequence)) =
            self.history.pop_front_if(|(sent_at, ..)| *sent_at + WINDOW <= now)
        {
            self.forget(id, sequence);
            self.forgotten_before = self.forgotten_before.max(sequence + 1);
        }
    }

    /// Below which sequence the store may drop its rows, if that has changed since the last call.
    pub(super) fn take_forgotten(&mut self) -> Option<u64> {
        let before = std::mem::take(&mut self.forgotten_before);
        (before > 0).then_some(before)
    }
}
