//! The messages of which the shard knows each one: in a standard queue those that are delayed or were received, in a
//! FIFO queue the others near the head as well. Each has its state and its deadline; what is visible stands in a lane,
//! or in the order of its group.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use lambfold_types::Timestamp;

use crate::message::group_of;
use crate::queue::QueueCounts;
use crate::store::{DeliveryRow, MessageRow};

use super::backlog::Fresh;
use super::groups::{GroupId, Groups};
use super::lane::{End, Places};
use super::send::Received;
use super::tenants::{Standing, Tenants, UNKNOWN, UNTRACKED};

/// Where a message of the index stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not yet visible since it was sent.
    Delayed(Timestamp),
    /// With a receiver until then.
    InFlight(Timestamp),
    /// Visible; its place in the lane, if there is one.
    Due(i64),
    /// On its way to a dead-letter queue.
    Apart,
}

impl State {
    fn standing(self) -> Standing {
        match self {
            Self::Delayed(_) => Standing::Delayed,
            Self::InFlight(_) => Standing::InFlight,
            Self::Due(_) | Self::Apart => Standing::Visible,
        }
    }
}

/// A message of the index.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) sent_at: Timestamp,
    group: GroupId,
    /// Whether lanes, deadlines and counts know it; not while it is on its way into the index.
    is_linked: bool,
    state: State,
    pub(super) receive_count: u32,
    pub(super) first_received_at: Timestamp,
    pub(super) last_received_at: Timestamp,
    /// Handed out although it was received too often, since it can go nowhere else.
    pub(super) is_kept: bool,
    record: Option<Bytes>,
}

impl Entry {
    /// A message that was never received.
    pub(super) fn unreceived(sent_at: Timestamp) -> Self {
        let never = Timestamp::default();
        Self {
            sent_at,
            group: UNTRACKED,
            is_linked: false,
            state: State::Due(0),
            receive_count: 0,
            first_received_at: never,
            last_received_at: never,
            is_kept: false,
            record: None,
        }
    }

    /// A message of the backlog of a standard queue.
    pub(super) fn fresh(fresh: &Fresh) -> Self {
        Self { group: fresh.group, ..Self::unreceived(fresh.sent_at) }
    }

    /// A message that was received in another queue before it came here.
    pub(super) fn adopted(sent_at: Timestamp, received: Received) -> Self {
        Self {
            receive_count: received.receive_count,
            first_received_at: received.first_received_at,
            last_received_at: received.last_received_at,
            ..Self::unreceived(sent_at)
        }
    }

    pub(super) fn is_apart(&self) -> bool {
        self.state == State::Apart
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn group(&self) -> GroupId {
        self.group
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
            group: UNKNOWN,
            receive_count: row.receive_count,
            first_received_at: row.first_received_at,
            last_received_at: row.last_received_at,
            ..Self::unreceived(row.sent_at)
        }
    }
}

/// How what is visible is ordered.
#[derive(Debug)]
enum Order {
    Lane(Places<u64>, Tenants),
    Groups(Groups),
}

#[derive(Debug)]
pub(super) struct Index {
    entries: BTreeMap<u64, Entry>,
    deadlines: BTreeSet<(Timestamp, u64)>,
    order: Order,
    due: usize,
    in_flight: usize,
    delayed: usize,
    apart: usize,
    /// Messages that were sent before others with a lower sequence, to another queue at that time.
    adopted: BTreeSet<(Timestamp, u64)>,
    /// Visible messages whose records are at hand.
    ready: usize,
    record_bytes: usize,
}

impl Index {
    /// The index of a queue, which is of a standard one if it has `tenants`.
    pub(super) fn new(tenants: Option<Tenants>) -> Self {
        let order = match tenants {
            Some(tenants) => Order::Lane(Places::default(), tenants),
            None => Order::Groups(Groups::default()),
        };
        Self {
            entries: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            order,
            due: 0,
            in_flight: 0,
            delayed: 0,
            apart: 0,
            adopted: BTreeSet::new(),
            ready: 0,
            record_bytes: 0,
        }
    }

    /// Forgets all messages.
    pub(super) fn purge(&mut self) {
        let tenants = self.tenants_mut().map(std::mem::take);
        *self = Self::new(tenants);
        if let Some(tenants) = self.tenants_mut() {
            tenants.purge();
        }
    }

    /// The groups of a standard queue.
    pub(super) fn tenants(&self) -> Option<&Tenants> {
        match &self.order {
            Order::Lane(_, tenants) => Some(tenants),
            Order::Groups(_) => None,
        }
    }

    pub(super) fn tenants_mut(&mut self) -> Option<&mut Tenants> {
        match &mut self.order {
            Order::Lane(_, tenants) => Some(tenants),
            Order::Groups(_) => None,
        }
    }

    /// The number of the group, in a standard queue, of a message of the backlog that has been read.
    pub(super) fn group_of_tail(&mut self, row: &MessageRow) -> GroupId {
        let MessageRow { sequence, sent_at, record } = row;
        let tenants = self.tenants_mut();
        tenants.map_or(UNTRACKED, |tenants| tenants.leave_tail(group_of(record), *sent_at, *sequence))
    }

    /// An entry for the record, which is kept if there is `room`; of the group that the record names.
    pub(super) fn entry(&mut self, mut entry: Entry, record: &Bytes, room: bool) -> Entry {
        entry.group = match &mut self.order {
            Order::Lane(_, tenants) => tenants.number(group_of(record)),
            Order::Groups(groups) => groups.join(group_of(record)),
        };
        entry.record = room.then(|| record.clone());
        entry
    }

    /// Up to `max` messages of a FIFO queue below `end` that may be received now, in their order.
    pub(super) fn next_of_groups(&self, max: usize, end: u64) -> Vec<u64> {
        match &self.order {
            Order::Lane(..) => Vec::new(),
            Order::Groups(groups) => groups.next(max, end),
        }
    }

    /// Groups of a FIFO queue with a message in flight.
    pub(super) fn locked_groups(&self) -> usize {
        match &self.order {
            Order::Lane(..) => 0,
            Order::Groups(groups) => groups.locked(),
        }
    }

    /// All messages of which the delay is not over, with the time at which they were sent.
    pub(super) fn delayed(&self) -> Vec<(u64, Timestamp)> {
        let sequences = self.deadlines.iter().map(|(_, sequence)| *sequence);
        let entries = sequences.filter_map(|sequence| Some((sequence, self.entries.get(&sequence)?)));
        let delayed = entries.filter(|(_, entry)| matches!(entry.state, State::Delayed(_)));
        delayed.map(|(sequence, entry)| (sequence, entry.sent_at)).collect()
    }

    /// Gives a message another end of its delay.
    pub(super) fn delay_until(&mut self, sequence: u64, until: Timestamp) {
        self.unlink(sequence);
        self.put(sequence, State::Delayed(until));
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Visible messages.
    pub(super) fn due(&self) -> usize {
        self.due
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
        counts.visible += (self.due + self.apart) as u64;
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
        self.unlink(sequence);
        let Some(entry) = self.entries.get(&sequence) else { return };
        let place = match &mut self.order {
            Order::Lane(lane, _) => lane.put(sequence, end),
            Order::Groups(groups) => {
                groups.show(entry.group, sequence, end);
                0
            }
        };
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

    /// Sets the record, or lets go of it. If it was read from the store, it says which group a message is of that was here
    /// before the start.
    pub(super) fn set_record(&mut self, sequence: u64, record: Option<Bytes>) {
        if let Some(record) = &record {
            self.learn_group(sequence, record);
        }
        if let Some(entry) = self.entries.get_mut(&sequence) {
            self.record_bytes -= entry.record.as_ref().map_or(0, Bytes::len);
            self.record_bytes += record.as_ref().map_or(0, Bytes::len);
            if entry.is_linked && matches!(entry.state, State::Due(_)) {
                self.ready -= usize::from(entry.record.is_some());
                self.ready += usize::from(record.is_some());
            }
            entry.record = record;
        }
    }

    pub(super) fn remove(&mut self, sequence: u64) -> Option<Entry> {
        self.unlink(sequence);
        let entry = self.entries.remove(&sequence)?;
        if let Order::Groups(groups) = &mut self.order {
            groups.leave(entry.group);
        }
        self.record_bytes -= entry.record.as_ref().map_or(0, Bytes::len);
        if let Order::Lane(_, tenants) = &mut self.order {
            tenants.release(entry.group, entry.sent_at, sequence);
        }
        if !self.adopted.is_empty() {
            self.adopted.remove(&(entry.sent_at, sequence));
        }
        Some(entry)
    }

    /// The head of the lane of visible messages.
    pub(super) fn first_due(&self) -> Option<(u64, &Entry)> {
        let Order::Lane(lane, _) = &self.order else { return None };
        let sequence = lane.first()?;
        self.entries.get(&sequence).map(|entry| (sequence, entry))
    }

    /// Up to `max` visible messages near the head whose records are not at hand.
    pub(super) fn due_without_record(&self, max: usize) -> Vec<u64> {
        let Order::Lane(lane, _) = &self.order else { return Vec::new() };
        if self.ready == self.due {
            return Vec::new();
        }
        self.without_record(lane.iter().take(max))
    }

    /// Those of `sequences` whose records are not at hand.
    pub(super) fn without_record(&self, sequences: impl Iterator<Item = u64>) -> Vec<u64> {
        sequences
            .filter(|sequence| self.entries.get(sequence).is_some_and(|entry| entry.record.is_none()))
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
            attempt: None,
        })
    }

    fn insert(&mut self, sequence: u64, entry: Entry) {
        self.record_bytes += entry.record.as_ref().map_or(0, Bytes::len);
        if let Order::Lane(_, tenants) = &mut self.order {
            tenants.hold(entry.group, entry.sent_at, sequence);
        }
        let replaced = self.entries.insert(sequence, entry);
        debug_assert!(replaced.is_none(), "message {sequence} was indexed already");
    }

    fn put(&mut self, sequence: u64, state: State) {
        let Some(entry) = self.entries.get_mut(&sequence) else { return };
        entry.state = state;
        entry.is_linked = true;
        match state {
            State::Delayed(until) => {
                self.delayed += 1;
                self.deadlines.insert((until, sequence));
            }
            State::InFlight(until) => {
                self.in_flight += 1;
                self.deadlines.insert((until, sequence));
            }
            State::Due(_) => {
                self.due += 1;
                self.ready += usize::from(entry.record.is_some());
            }
            State::Apart => self.apart += 1,
        }
        match (&mut self.order, state) {
            (Order::Lane(_, tenants), _) => tenants.enter(entry.group, state.standing()),
            (Order::Groups(groups), State::InFlight(_) | State::Apart) => groups.hold(entry.group, sequence),
            _ => {}
        }
    }

    /// Notes which group a message is of that was here before the start, now that its record is at hand.
    fn learn_group(&mut self, sequence: u64, record: &[u8]) {
        let entry = self.entries.get_mut(&sequence).filter(|entry| entry.group == UNKNOWN);
        if let (Order::Lane(_, tenants), Some(entry)) = (&mut self.order, entry) {
            entry.group = tenants.learn(group_of(record), sequence);
            tenants.hold(entry.group, entry.sent_at, sequence);
            tenants.exit(UNKNOWN, entry.state.standing());
            tenants.enter(entry.group, entry.state.standing());
        }
    }

    /// Takes a message out of what its state put it into. Harmless for one that was just inserted.
    fn unlink(&mut self, sequence: u64) {
        let Some(entry) = self.entries.get(&sequence).filter(|entry| entry.is_linked) else { return };
        match entry.state {
            State::Delayed(until) => {
                self.delayed -= usize::from(self.deadlines.remove(&(until, sequence)));
            }
            State::InFlight(until) => {
                self.in_flight -= usize::from(self.deadlines.remove(&(until, sequence)));
            }
            State::Due(_) => {
                self.due -= 1;
                self.ready -= usize::from(entry.record.is_some());
            }
            State::Apart => self.apart -= 1,
        }
        match (&mut self.order, entry.state) {
            (Order::Lane(lane, tenants), state) => {
                tenants.exit(entry.group, state.standing());
                if let State::Due(place) = state {
                    lane.remove(place, sequence);
                }
            }
            (Order::Groups(groups), State::Due(_)) => groups.hide(entry.group, sequence),
            (Order::Groups(groups), State::InFlight(_) | State::Apart) => {
                groups.release(entry.group, sequence);
            }
            _ => {}
        }
    }
}
