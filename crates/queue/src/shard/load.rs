//! What the shard has to read from the store, and what comes of it.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::message::HandleParts;
use crate::store::MessageRow;

use super::Shard;
use super::index::Entry;
use super::lane::End;

/// Records fetched at once for messages that are visible again.
const RECORDS: usize = 64;

/// A read of the store that the owner is to perform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// The next page of the backlog.
    Page { id: u64, range: Range<u64> },
    /// The records of messages that are visible again.
    Records { id: u64, sequences: Vec<u64> },
}

/// Its result. For [`Load::Records`] `exhausted` has no meaning.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) load: Load,
    pub(crate) rows: Vec<MessageRow>,
    pub(crate) exhausted: bool,
}

/// The reads under way.
#[derive(Debug, Default)]
pub(super) struct Loads {
    last_id: u64,
    records: Option<u64>,
}

impl Loads {
    pub(super) fn forget(&mut self) {
        self.records = None;
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

impl Shard {
    /// A read that is wanted now, if there is one; it counts as under way from now on.
    pub(crate) fn take_load(&mut self) -> Option<Load> {
        let id = self.loads.next_id();
        if self.wants_page()
            && let Some(range) = self.backlog.begin_page(id, self.committed_end)
        {
            return Some(Load::Page { id, range });
        }
        if self.loads.records.is_none() && !self.waiters.is_empty() {
            let sequences = self.wanted_records();
            if !sequences.is_empty() {
                self.loads.records = Some(id);
                return Some(Load::Records { id, sequences });
            }
        }
        None
    }

    /// Whether a read under way will bring messages that a receive can take.
    pub(super) fn awaits_load(&self) -> bool {
        self.backlog.awaits_page() || self.loads.records.is_some()
    }

    /// Whether [`Shard::take_load`] would, for someone who waits, read messages that a receive can take.
    pub(super) fn could_load(&self) -> bool {
        let again = self.loads.records.is_none() && !self.wanted_records().is_empty();
        again || self.wants_page()
    }

    /// Whether the next page of the backlog should be read.
    fn wants_page(&self) -> bool {
        if self.kind.is_fifo() { self.window_is_low() } else { self.backlog.is_low() }
    }

    /// Messages that are next, and whose records are not at hand.
    fn wanted_records(&self) -> Vec<u64> {
        if self.kind.is_fifo() {
            self.index.without_record(self.next_in_order(RECORDS).into_iter())
        } else {
            self.index.due_without_record(RECORDS)
        }
    }

    /// Takes the result of a read. Returns by how much the count of stored messages had been wrong, which is a
    /// defect to be reported.
    pub(crate) fn take_loaded(&mut self, loaded: Loaded) -> i64 {
        self.touched += loaded.rows.len() as u64;
        match loaded.load {
            Load::Page { id, .. } => {
                let index = &mut self.index;
                let group =
                    |row: &MessageRow| (!index.contains(row.sequence)).then(|| index.group_of_tail(row));
                let report = self.backlog.take_page(id, loaded.rows, loaded.exhausted, group);
                if self.kind.is_fifo() {
                    self.fill_window();
                }
                // A page may show messages that are too old.
                self.advance(self.now);
                report.miscounted
            }
            Load::Records { id, sequences } => {
                if self.loads.records != Some(id) {
                    return 0;
                }
                self.loads.records = None;
                let asked = sequences.first().copied();
                let found = loaded.rows.first().map(|row| row.sequence);
                for row in loaded.rows {
                    if self.index.get(row.sequence).is_some_and(|entry| entry.record().is_none()) {
                        self.index.set_record(row.sequence, Some(row.record));
                    }
                }
                // A visible message without a record in the store would hold up the lane for ever.
                let lost = asked.filter(|asked| {
                    found != Some(*asked)
                        && self.index.get(*asked).is_some_and(|entry| entry.record().is_none())
                });
                if let Some(sequence) = lost {
                    self.forget_indexed(sequence);
                    self.write.deletes.push(sequence);
                    return 1;
                }
                0
            }
        }
    }

    /// The sequences of `handles` that only the store can say something about: messages that were handed out
    /// before a crash which cut off that receive's commit.
    pub(crate) fn unknown(&self, handles: impl Iterator<Item = HandleParts>) -> Vec<u64> {
        let wanted: BTreeSet<u64> = handles
            .filter(|handle| handle.incarnation == self.key.incarnation && handle.shard == self.key.shard)
            .map(|handle| handle.sequence)
            .filter(|sequence| !self.index.contains(*sequence) && self.backlog.may_hold(*sequence))
            .filter(|sequence| *sequence < self.committed_end)
            // A FIFO queue hands out nothing before the commit.
            .filter(|_| !self.kind.is_fifo())
            .collect();
        wanted.into_iter().collect()
    }

    /// What the store said about [`Shard::unknown`] messages.
    pub(crate) fn found(&mut self, rows: Vec<MessageRow>) {
        for row in rows {
            if !self.index.contains(row.sequence) && self.backlog.may_hold(row.sequence) {
                self.backlog.leave_tail(row.sequence);
                let group = self.index.group_of_tail(&row);
                self.uncount(group);
                let entry = self.index.entry(Entry::unreceived(row.sent_at), &row.record, true);
                self.index.insert_due(row.sequence, entry, End::Front);
            }
        }
    }
}
