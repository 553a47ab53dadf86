//! The messages that were never received nor delayed, in the order they were sent: those near the head with their
//! records in memory, the tail only as a count and the sequence it starts at.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;
use lambfold_types::Timestamp;

use crate::store::MessageRow;

use super::groups::GroupId;

/// Below this many messages in memory (and this many bytes) the next page is fetched.
const LOW_MESSAGES: usize = 512;
const LOW_BYTES: usize = 512 << 10;

#[derive(Debug, Default)]
pub(super) struct Backlog {
    head: BTreeMap<u64, Fresh>,
    head_bytes: usize,
    tail: Tail,
}

/// A message near the head.
#[derive(Clone, Debug)]
pub(super) struct Fresh {
    pub(super) sent_at: Timestamp,
    /// In a standard queue.
    pub(super) group: GroupId,
    pub(super) record: Bytes,
}

/// Messages that only the store knows one by one. All of the head's sequences are below `from`.
#[derive(Debug, Default)]
struct Tail {
    count: u64,
    from: u64,
    /// Sequences at or above `from` that are gone although a page that is read may still show them.
    gone: BTreeSet<u64>,
    page: Option<Page>,
}

/// A page that is being read.
#[derive(Debug)]
struct Page {
    id: u64,
    end: u64,
    /// Messages that joined the tail behind the page's range meanwhile.
    joined: u64,
}

/// What came with a page: the messages that are new to the shard.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PageReport {
    /// By how much the count had been wrong; anything but zero is a defect, and corrected.
    pub(super) miscounted: i64,
}

impl Backlog {
    /// After a start: `count` messages at or above `from`, none of them in memory.
    pub(super) fn in_store(from: u64, count: u64) -> Self {
        Self { tail: Tail { count, from, ..Tail::default() }, ..Self::default() }
    }

    pub(super) fn len(&self) -> u64 {
        self.head.len() as u64 + self.tail.count
    }

    /// Messages in memory.
    pub(super) fn ready(&self) -> usize {
        self.head.len()
    }

    pub(super) fn record_bytes(&self) -> usize {
        self.head_bytes
    }

    /// Adds a message behind all others; whether it is in memory. Without `room` its record stays in the store.
    pub(super) fn push(&mut self, sequence: u64, fresh: Fresh, room: bool) -> bool {
        if self.is_whole() {
            if room {
                self.put_head(sequence, fresh);
                return true;
            }
            self.tail.from = sequence;
            self.tail.gone.clear();
        }
        self.tail.count += 1;
        if let Some(page) = &mut self.tail.page
            && sequence >= page.end
        {
            page.joined += 1;
        }
        false
    }

    pub(super) fn first(&self) -> Option<(u64, &Fresh)> {
        self.head.first_key_value().map(|(sequence, fresh)| (*sequence, fresh))
    }

    /// Takes a message out of the head.
    pub(super) fn remove(&mut self, sequence: u64) -> Option<Fresh> {
        let fresh = self.head.remove(&sequence)?;
        self.head_bytes -= fresh.record.len();
        Some(fresh)
    }

    /// Whether a message that nothing in memory knows may be in the tail.
    pub(super) fn may_hold(&self, sequence: u64) -> bool {
        self.tail.count > 0 && sequence >= self.tail.from && !self.tail.gone.contains(&sequence)
    }

    /// Whether a message that is in the store is of the backlog, as far as that is known.
    pub(super) fn holds(&self, sequence: u64) -> bool {
        self.head.contains_key(&sequence) || self.may_hold(sequence)
    }

    /// A message of the tail was found in the store, one by one, and is indexed now.
    pub(super) fn leave_tail(&mut self, sequence: u64) {
        debug_assert!(self.may_hold(sequence), "message {sequence} is not of the tail");
        self.tail.count = self.tail.count.saturating_sub(1);
    }

    /// An indexed message was removed: should a page still show it, it is not there.
    pub(super) fn note_gone(&mut self, sequence: u64) {
        if sequence >= self.tail.from && (self.tail.count > 0 || self.tail.page.is_some()) {
            self.tail.gone.insert(sequence);
        }
    }

    /// Forgets everything; a page that is being read will not be taken.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether a page is being read.
    pub(super) fn awaits_page(&self) -> bool {
        self.tail.page.is_some()
    }

    /// Whether the next page should be read, to go on with messages that are not in memory.
    pub(super) fn is_low(&self) -> bool {
        let low = self.head.len() < LOW_MESSAGES && self.head_bytes < LOW_BYTES;
        low && self.has_unread()
    }

    /// Whether all of it is in memory.
    pub(super) fn is_whole(&self) -> bool {
        self.tail.count == 0 && self.tail.page.is_none()
    }

    /// Whether there are messages that are not in memory and not being read.
    pub(super) fn has_unread(&self) -> bool {
        self.tail.count > 0 && self.tail.page.is_none()
    }

    /// All messages below it are known one by one.
    pub(super) fn known_below(&self) -> u64 {
        if self.is_whole() { u64::MAX } else { self.tail.from }
    }

    /// The range to read next, under `id`. All messages below `committed_end` can be read.
    pub(super) fn begin_page(&mut self, id: u64, committed_end: u64) -> Option<Range<u64>> {
        if !self.has_unread() || committed_end <= self.tail.from {
            return None;
        }
        self.tail.page = Some(Page { id, end: committed_end, joined: 0 });
        Some(self.tail.from..committed_end)
    }

    /// Takes the page that was read under `id`, unless it is no longer wanted. `group` is asked once about each message
    /// that may be of the tail: it knows the number of its group, and which ones are indexed, and so not of the tail.
    pub(super) fn take_page(
        &mut self,
        id: u64,
        rows: Vec<MessageRow>,
        exhausted: bool,
        mut group: impl FnMut(&MessageRow) -> Option<GroupId>,
    ) -> PageReport {
        let Some(page) = self.tail.page.take_if(|page| page.id == id) else { return PageReport::default() };
        self.tail.from = match rows.last() {
            Some(last) if !exhausted => last.sequence + 1,
            _ => page.end,
        };
        for row in rows {
            if !self.tail.gone.contains(&row.sequence)
                && let Some(group) = group(&row)
            {
                self.put_head(row.sequence, Fresh { sent_at: row.sent_at, group, record: row.record });
                self.tail.count = self.tail.count.saturating_sub(1);
            }
        }
        self.tail.gone = self.tail.gone.split_off(&self.tail.from);
        let mut report = PageReport::default();
        if exhausted && self.tail.count != page.joined {
            report.miscounted = self.tail.count.cast_signed() - page.joined.cast_signed();
            self.tail.count = page.joined;
        }
        report
    }

    fn put_head(&mut self, sequence: u64, fresh: Fresh) {
        self.head_bytes += fresh.record.len();
        self.head.insert(sequence, fresh);
    }
}
