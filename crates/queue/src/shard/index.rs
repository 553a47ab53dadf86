//! The messages that are delayed or were received: each with its state, their deadlines, and the lane of those
//! whose deadline has passed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use lambfold_types::Timestamp;

use crate::queue::QueueCounts;
use crate::store::DeliveryRow;

use super::send::Received;

/// Where a message of the index stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not yet visible since it was sent.
    Delayed(Timestamp),
    /// With a receiver until then.
    InFlight(Timestamp),
    /// Visible; its place in the lane.
    Due(i64),
    /// On its way to a dead-letter queue.
    Apart,
}

/// A message of the index.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) sent_at: Timestamp,
    state: State,
    pub(super) receive_count: u32,
    pub(super) first_received_at: Timestamp,
    pub(super) last_received_at: Timestamp,
    /// Handed out although it was received too often, since it can go nowhere else.
    pub(super) is_kept: bool,
    record: Option<Bytes>,
}

impl Entry {
    /// A message that was never received and whose record is at hand or not.
    pub(super) fn unreceived(sent_at: Timestamp, record: Option<Bytes>) -> Self {
        let never = Timestamp::default();
        Self {
            sent_at,
            state: State::Due(0),
            receive_count: 0,
            first_received_at: never,
            last_received_at: never,
            is_kept: false,
            record,
        }
    }

    /// A message that was received in another queue before it came here.
    pub(super) fn adopted(sent_at: Timestamp, received: Received, record: Option<Bytes>) -> Self {
        Self {
            receive_count: received.receive_count,
            first_received_at: received.first_received_at,
            last_received_at: received.last_received_at,
            ..Self::unreceived(sent_at, record)
        }
    }

    pub(super) fn is_apart(&self) -> bool {
        self.state == State::Apart
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn record(&self) -> Option<&Bytes> {
        self.record.as_ref()
    }

    /// Counts a receive at `now`.
    pub(super) fn count_receive(&mut self, now: Timestamp) {
        if self.receive_count == 0 {
            self.first_received_at = now;
        }
        self.receive_count = self.receive_count.saturating_add(1);
        self.is_kept = false;
        self.last_received_at = now;
    }
}

impl From<&DeliveryRow> for Entry {
    fn from(row: &DeliveryRow) -> Self {
        Self {
            sent_at: row.sent_at,
            state: State::Due(0),
            receive_count: row.receive_count,
            first_received_at: row.first_received_at,
            last_received_at: row.last_received_at,
            is_kept: false,
            record: None,
        }
    }
}

/// At which end of the lane a message that has become visible is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Front,
    Back,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    entries: BTreeMap<u64, Entry>,
    deadlines: BTreeSet<(Timestamp, u64)>,
    due: BTreeMap<i64, u64>,
    front: i64,
    back: i64,
    in_flight: usize,
    delayed: usize,
    apart: usize,
    /// Messages that were sent before others with a lower sequence, to another queue at that time.
    adopted: BTreeSet<(Timestamp, u64)>,
    /// Messages in the lane whose records are at hand.
    ready: usize,
    record_bytes: usize,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Visible messages.
    pub(super) fn due(&self) -> usize {
        self.due.len()
    }

    /// Visible messages whose records are at hand.
    pub(super) fn ready(&self) -> usize {
        self.ready
    }

    /// Bytes of records held.
    pub(super) fn record_bytes(&self) -> usize {
        self.record_bytes
    }

    pub(super) fn add_counts(&self, counts: &mut QueueCounts) {
        counts.visible += (self.due.len() + self.apart) as u64;
        counts.in_flight += self.in_flight as u64;
        counts.delayed += self.delayed as u64;
    }

    pub(super) fn get(&self, sequence: u64) -> Option<&Entry> {
        self.entries.get(&sequence)
    }

    pub(super) fn contains(&self, sequence: u64) -> bool {
        self.entries.contains_key(&sequence)
    }

    /// Adds a message that is not delayed until `visible_at` but may be in flight until then, or is visible.
    pub(super) fn insert_due(&mut self, sequence: u64, entry: Entry, end: End) {
        self.insert(sequence, entry);
        self.make_due(sequence, end);
    }

    /// Adds a visible message that was sent before those that are here already.
    pub(super) fn insert_adopted(&mut self, sequence: u64, entry: Entry) {
        self.adopted.insert((entry.sent_at, sequence));
        self.insert_due(sequence, entry, End::Back);
    }

    /// Marks a message as sent before others with a lower sequence.
    pub(super) fn mark_adopted(&mut self, sequence: u64) {
        if let Some(entry) = self.entries.get(&sequence) {
            self.adopted.insert((entry.sent_at, sequence));
        }
    }

    /// Takes a visible message out of the lane, for a move; its record is no longer held.
    pub(super) fn set_apart(&mut self, sequence: u64) {
        self.unlink(sequence);
        self.put(sequence, State::Apart);
        self.set_record(sequence, None);
    }

    /// Messages set apart.
    pub(super) fn apart(&self) -> usize {
        self.apart
    }

    pub(super) fn insert_delayed(&mut self, sequence: u64, entry: Entry, until: Timestamp) {
        self.insert(sequence, entry);
        self.put(sequence, State::Delayed(until));
    }

    pub(super) fn insert_in_flight(&mut self, sequence: u64, entry: Entry, until: Timestamp) {
        self.insert(sequence, entry);
        self.make_in_flight(sequence, until);
    }

    /// Makes a message visible.
    pub(super) fn make_due(&mut self, sequence: u64, end: End) {
        let place = match end {
            End::Front => {
                self.front -= 1;
                self.front
            }
            End::Back => {
                self.back += 1;
                self.back
            }
        };
        self.unlink(sequence);
        self.put(sequence, State::Due(place));
    }

    /// Puts a message with a receiver until `until`; its record is no longer held.
    pub(super) fn make_in_flight(&mut self, sequence: u64, until: Timestamp) {
        self.unlink(sequence);
        self.put(sequence, State::InFlight(until));
        self.set_record(sequence, None);
    }

    /// Edits what is not state or record.
    pub(super) fn edit(&mut self, sequence: u64, edit: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.get_mut(&sequence) {
            edit(entry);
        }
    }

    pub(super) fn set_record(&mut self, sequence: u64, record: Option<Bytes>) {
        if let Some(entry) = self.entries.get_mut(&sequence) {
            self.record_bytes -= entry.record.as_ref().map_or(0, Bytes::len);
            self.record_bytes += record.as_ref().map_or(0, Bytes::len);
            if matches!(entry.state, State::Due(_)) {
                self.ready -= usize::from(entry.record.is_some());
                self.ready += usize::from(record.is_some());
            }
            entry.record = record;
        }
    }

    pub(super) fn remove(&mut self, sequence: u64) -> Option<Entry> {
        self.unlink(sequence);
        let entry = self.entries.remove(&sequence)?;
        self.record_bytes -= entry.record.as_ref().map_or(0, Bytes::len);
        if !self.adopted.is_empty() {
            self.adopted.remove(&(entry.sent_at, sequence));
        }
        Some(entry)
    }

    /// The head of the lane of visible messages.
    pub(super) fn first_due(&self) -> Option<(u64, &Entry)> {
        let (_, sequence) = self.due.first_key_value()?;
        self.entries.get(sequence).map(|entry| (*sequence, entry))
    }

    /// Up to `max` visible messages near the head whose records are not at hand.
    pub(super) fn due_without_record(&self, max: usize) -> Vec<u64> {
        if self.ready == self.due.len() {
            return Vec::new();
        }
        let near = self.due.values().take(max).copied();
        near.filter(|sequence| self.entries.get(sequence).is_some_and(|entry| entry.record.is_none()))
            .collect()
    }

    /// Takes the next message whose delay or visibility timeout is over at `now` into the lane.
    pub(super) fn pass_deadline(&mut self, now: Timestamp) -> Option<u64> {
        let &(deadline, sequence) = self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.make_due(sequence, End::Back);
        Some(sequence)
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The message that was sent first.
    pub(super) fn oldest(&self) -> Option<(u64, Timestamp)> {
        // But for the adopted ones, messages were sent in the order of their sequences.
        let first = self.entries.first_key_value().map(|(sequence, entry)| (entry.sent_at, *sequence));
        let oldest = first.into_iter().chain(self.adopted.first().copied()).min();
        oldest.map(|(sent_at, sequence)| (sequence, sent_at))
    }

    /// The row that makes a message's state durable.
    pub(super) fn row(&self, sequence: u64, now: Timestamp) -> Option<DeliveryRow> {
        let entry = self.entries.get(&sequence)?;
        let visible_at = match entry.state {
            State::Delayed(until) | State::InFlight(until) => until,
            State::Due(_) | State::Apart => now,
        };
        Some(DeliveryRow {
            sequence,
            sent_at: entry.sent_at,
            visible_at,
            receive_count: entry.receive_count,
            first_received_at: entry.first_received_at,
            last_received_at: entry.last_received_at,
        })
    }

    fn insert(&mut self, sequence: u64, entry: Entry) {
        self.record_bytes += entry.record.as_ref().map_or(0, Bytes::len);
        let replaced = self.entries.insert(sequence, entry);
        debug_assert!(replaced.is_none(), "message {sequence} was indexed already");
    }

    fn put(&mut self, sequence: u64, state: State) {
        let Some(entry) = self.entries.get_mut(&sequence) else { return };
        entry.state = state;
        match state {
            State::Delayed(until) => {
                self.delayed += 1;
                self.deadlines.insert((until, sequence));
            }
            State::InFlight(until) => {
                self.in_flight += 1;
                self.deadlines.insert((until, sequence));
            }
            State::Due(place) => {
                self.due.insert(place, sequence);
                self.ready += usize::from(entry.record.is_some());
            }
            State::Apart => self.apart += 1,
        }
    }

    /// Takes a message out of what its state put it into. Harmless for one that was just inserted.
    fn unlink(&mut self, sequence: u64) {
        let Some(entry) = self.entries.get(&sequence) else { return };
        match entry.state {
            State::Delayed(until) => {
                self.delayed -= usize::from(self.deadlines.remove(&(until, sequence)));
            }
            State::InFlight(until) => {
                self.in_flight -= usize::from(self.deadlines.remove(&(until, sequence)));
            }
            State::Due(place) => {
                if self.due.get(&place) == Some(&sequence) {
                    self.due.remove(&place);
                    self.ready -= usize::from(entry.record.is_some());
                }
            }
            State::Apart => self.apart -= 1,
        }
    }
}
