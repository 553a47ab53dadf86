//! The state machine of a shard: a command and the time in, decisions and mutations out. No clock, no I/O, no task.
//!
//! A message is in one of these places:
//!
//! - *uncommitted*: sent, but not durable yet; nobody sees it.
//! - *backlog*: never received nor delayed. Its head is in memory, its tail in the store ([`backlog`]).
//! - *index*: delayed, in flight, or visible again ([`index`]). What is visible again forms a second lane; receives
//!   take from both lanes in turn, so that neither a backlog nor a failing message can starve the other. In a FIFO
//!   queue the head of the backlog is here, too, and messages are taken in the order of their groups ([`fifo`]).
//! - *apart*: in the index, on its way to a dead-letter queue ([`dead_letters`]).
//!
//! Mutations gather in [`Shard::take_write`], reads of the store in [`Shard::take_load`]; the owner performs both and
//! reports back. Decisions are taken before the mutations of earlier ones are durable: if a commit fails, the shard
//! is thrown away and restored from the store.

mod attempts;
mod backlog;
mod dead_letters;
mod deduplication;
mod fifo;
mod gauges;
mod groups;
mod index;
mod lane;
mod load;
mod peek;
mod receive;
mod send;
mod tenants;
mod visibility;
mod waiters;

#[cfg(test)]
mod model;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use lambfold_types::Timestamp;
use uuid::Uuid;

use crate::error::Error;
use crate::message::group_prefix;
use crate::queue::{QueueKind, QueueSettings};
use crate::store::{
    DeduplicationRow, DeliveryRow, MessageRow, ReceiveAttempt, ShardHead, ShardKey, ShardWrite,
};

use self::attempts::Attempts;
use self::backlog::{Backlog, Fresh};
use self::deduplication::Deduplication;
use self::groups::GroupId;
use self::index::{Entry, Index};
use self::lane::End;
use self::load::Loads;
use self::send::Uncommitted;
use self::tenants::{Standing, Tenants};

pub(crate) use self::dead_letters::DeadLetter;
pub(crate) use self::gauges::{FairGauges, Gauges};
pub(crate) use self::load::{Load, Loaded};
pub(crate) use self::receive::Decision;
pub(crate) use self::waiters::{Waiter, Waiters};

/// If the clock was set back by more than this since the shard last ran, what it said before is not believed.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(1);

/// The longest that a message can be invisible from any moment on: in flight, and delayed.
const LONGEST_IN_FLIGHT: Duration = Duration::from_hours(12);
const LONGEST_DELAY: Duration = Duration::from_mins(15);

/// As many messages are let go for their age in one step; what is left is due at once again.
const EXPIRE_AT_ONCE: usize = 10_000;

/// A message to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    /// The sealed record, with the name of the message's group if it has one.
    pub(crate) record: Bytes,
    /// `None`: the queue's.
    pub(crate) delay: Option<Duration>,
    pub(crate) message_id: Uuid,
    /// A digest of the deduplication id; `None` in a standard queue.
    pub(crate) deduplication: Option<u128>,
}

/// What became of messages that were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) sequences: Vec<u64>,
    /// Of those that the queue had before, by their place among the others: the id that counts.
    pub(crate) originals: BTreeMap<usize, Uuid>,
    pub(crate) sent_at: Timestamp,
}

/// What the store has of a shard, but for the messages that were never received.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) head: ShardHead,
    pub(crate) deliveries: Vec<DeliveryRow>,
    /// In a FIFO queue: the messages of `deliveries`, without their bodies.
    messages: Vec<MessageRow>,
    /// Whole records of messages whose receives may be repeated, as far as there is room for them.
    attempted: BTreeMap<u64, Bytes>,
    attempted_bytes: usize,
    pub(crate) deduplications: Vec<DeduplicationRow>,
}

impl Contents {
    /// Of a shard with those `deliveries`, by rising sequence.
    pub(crate) fn new(head: ShardHead, deliveries: Vec<DeliveryRow>) -> Self {
        Self {
            head,
            deliveries,
            messages: Vec::new(),
            attempted: BTreeMap::new(),
            attempted_bytes: 0,
            deduplications: Vec::new(),
        }
    }

    /// Keeps what has to be known of a message of `deliveries` at `now`.
    pub(crate) fn add_message(&mut self, row: &MessageRow, now: Timestamp) {
        let place = self.deliveries.binary_search_by_key(&row.sequence, |delivery| delivery.sequence);
        let may_be_repeated =
            place.is_ok_and(|place| attempts::may_be_repeated(&self.deliveries[place], now));
        if may_be_repeated && self.attempted_bytes + row.record.len() <= attempts::MOST_BYTES {
            self.attempted_bytes += row.record.len();
            self.attempted.insert(row.sequence, row.record.clone());
        }
        self.messages.push(MessageRow { record: group_prefix(&row.record), ..*row });
    }
}

/// A message that was taken for a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) sequence: u64,
    /// Of the owner that handed it out first to this receiver.
    pub(crate) epoch: u64,
    pub(crate) record: Bytes,
    pub(crate) sent_at: Timestamp,
    pub(crate) receive_count: u32,
    pub(crate) first_received_at: Timestamp,
    pub(crate) visible_at: Timestamp,
}

/// The bounds of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Messages in flight.
    pub(crate) in_flight: usize,
    /// Messages in the index.
    pub(crate) indexed: usize,
    /// Receives that wait.
    pub(crate) waiters: usize,
}

/// The state of one shard.
#[derive(Debug)]
pub(crate) struct Shard {
    key: ShardKey,
    kind: QueueKind,
    limits: Limits,
    settings: QueueSettings,
    /// The time of the latest decision; never goes backwards.
    now: Timestamp,
    next_sequence: u64,
    /// All below it is durable or was refused.
    committed_end: u64,
    /// Of the owner.
    epoch: u64,
    purged_before: u64,
    purged_at: Option<Timestamp>,
    uncommitted: VecDeque<Uncommitted>,
    backlog: Backlog,
    index: Index,
    waiters: Waiters,
    /// Messages that wait to be moved; they are in the index, too, set apart.
    dead_letters: VecDeque<DeadLetter>,
    deduplication: Deduplication,
    attempts: Attempts,
    /// Messages that were decided upon and that the store had no room for, until nobody can rely on them any more.
    refused: BTreeSet<u64>,
    /// Whether the next message is taken from the index rather than from the backlog, if both have one.
    index_next: bool,
    loads: Loads,
    write: ShardWrite,
    /// Messages of which the latest receive may be made durable later: see [`Shard::release_held`].
    held: BTreeSet<u64>,
    /// How many bytes of records may stay in memory.
    cache_bytes: usize,
    /// Messages looked at so far: what the tests measure instead of time.
    touched: u64,
}

impl Shard {
    /// The shard as the store has it.
    pub(crate) fn restore(
        key: ShardKey,
        kind: QueueKind,
        contents: Contents,
        limits: Limits,
        settings: QueueSettings,
        now: Timestamp,
    ) -> Self {
        let Contents { head, mut deliveries, messages, attempted, deduplications, .. } = contents;
        let mut records: BTreeMap<u64, Bytes> =
            messages.into_iter().map(|row| (row.sequence, row.record)).collect();
        // Time does not go backwards, but a clock that was wrong once must not stop the queue until it is right.
        let now = if head.clock <= now + CLOCK_TOLERANCE { now.max(head.clock) } else { now };
        let unreceived = head.live.saturating_sub(deliveries.len() as u64);
        let backlog = Backlog::in_store(head.purged_before, unreceived);
        let tenants = (!kind.is_fifo()).then(|| Tenants::restored(head.next_sequence, unreceived));
        let mut index = Index::new(tenants);
        let mut adopted = Vec::new();
        let mut latest = Timestamp::default();
        deliveries.sort_by_key(|row| row.sequence);
        for row in &deliveries {
            if row.sent_at < latest {
                adopted.push(row.sequence);
            }
            latest = latest.max(row.sent_at);
        }
        deliveries.sort_by_key(|row| (row.visible_at, row.sequence));
        let attempts = Attempts::restore(&deliveries, &attempted, now);
        for row in deliveries {
            let mut entry = Entry::from(&row);
            if kind.is_fifo() {
                // Records are read again when they are needed: here they say only which group they are of.
                let record = records.remove(&row.sequence).unwrap_or_default();
                entry = index.entry(entry, &record, false);
            }
            if row.visible_at <= now {
                index.insert_due(row.sequence, entry, End::Back);
            } else if row.receive_count == 0 {
                index.insert_delayed(row.sequence, entry, row.visible_at.min(now + LONGEST_DELAY));
            } else {
                index.insert_in_flight(row.sequence, entry, row.visible_at.min(now + LONGEST_IN_FLIGHT));
            }
        }
        for sequence in adopted {
            index.mark_adopted(sequence);
        }
        let mut deduplication = Deduplication::restore(&deduplications);
        deduplication.advance(now);
        Self {
            key,
            kind,
            limits,
            settings,
            now,
            next_sequence: head.next_sequence,
            committed_end: head.next_sequence,
            epoch: head.epoch,
            purged_before: head.purged_before,
            purged_at: head.purged_at,
            uncommitted: VecDeque::new(),
            backlog,
            index,
            waiters: Waiters::default(),
            dead_letters: VecDeque::new(),
            deduplication,
            attempts,
            refused: BTreeSet::new(),
            index_next: false,
            loads: Loads::default(),
            write: ShardWrite::default(),
            held: BTreeSet::new(),
            cache_bytes: 0,
            touched: 0,
        }
    }

    /// The shard's name.
    pub(crate) fn key(&self) -> ShardKey {
        self.key
    }

    /// The sequence that the next message gets.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Bytes of records in memory.
    pub(crate) fn record_bytes(&self) -> usize {
        self.backlog.record_bytes() + self.index.record_bytes()
    }

    /// Sets how many bytes of records may stay in memory from now on.
    pub(crate) fn set_cache_bytes(&mut self, bytes: usize) {
        self.cache_bytes = bytes;
    }

    /// Settings in force from now on. A shorter retention lets go what is too old; a delay is retroactive in FIFO queues
    /// only, for what is still delayed.
    pub(crate) fn set_settings(&mut self, settings: QueueSettings) {
        let delay = settings.delay;
        if self.kind.is_fifo() && delay != self.settings.delay {
            for (sequence, sent_at) in self.index.delayed() {
                self.index.delay_until(sequence, sent_at + delay);
                self.write_delivery(sequence);
            }
        }
        self.settings = settings;
    }

    /// Lets time pass: ends delays and visibility timeouts, and lets go what is older than the retention period.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.deduplication.advance(self.now);
        self.attempts.advance(self.now);
        while self.index.pass_deadline(self.now).is_some() {
            self.touched += 1;
        }
        for _ in 0..EXPIRE_AT_ONCE {
            if !self.expire_one() {
                break;
            }
        }
    }

    /// When [`Shard::advance`] has something to do next.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        let retention = self.settings.message_retention_period;
        let oldest = |sent_at: Timestamp| sent_at + retention;
        let backlog = self.backlog.first().map(|(_, fresh)| oldest(fresh.sent_at));
        let index = self.index.oldest().filter(|(sequence, _)| !self.is_leaving_now(*sequence));
        let index = index.map(|(_, sent_at)| oldest(sent_at));
        let waiters = if self.holds_short_polls() { None } else { self.waiters.next_deadline() };
        [backlog, index, self.index.next_deadline(), waiters].into_iter().flatten().min()
    }

    /// Whether what is handed out has to be durable first, so that nobody else ever gets it meanwhile.
    pub(crate) fn hands_out_after_commit(&self) -> bool {
        self.kind.is_fifo()
    }

    /// Removes every message, unless the last time was less than `cooldown` ago.
    pub(crate) fn purge(&mut self, cooldown: Option<Duration>) -> Result<(), Error> {
        if let (Some(cooldown), Some(purged_at)) = (cooldown, self.purged_at)
            && self.now < purged_at + cooldown
        {
            return Err(Error::PurgeInProgress);
        }
        self.purged_before = self.next_sequence;
        self.purged_at = Some(self.now);
        self.backlog.clear();
        self.index.purge();
        self.loads.forget();
        self.dead_letters.clear();
        self.deduplication = Deduplication::default();
        self.attempts = Attempts::default();
        // What a purged message was about to become no longer matters.
        self.held.clear();
        self.write.deliveries.clear();
        self.write.deletes.clear();
        self.write.purge = Some((self.purged_before, self.now));
        Ok(())
    }

    /// The mutations since the last call, if there are any.
    pub(crate) fn take_write(&mut self) -> Option<ShardWrite> {
        if self.write.is_empty() {
            return None;
        }
        let mut write = std::mem::take(&mut self.write);
        write.deduplicated_before = self.deduplication.take_forgotten();
        write.next_sequence = self.next_sequence;
        write.clock = self.now;
        Some(write)
    }

    /// Whether mutations wait to be taken, and how many rows they are.
    pub(crate) fn pending_rows(&self) -> usize {
        if self.write.is_empty() { 0 } else { self.write.weight().0 }
    }

    /// Notes a message's state for the next write.
    fn write_delivery(&mut self, sequence: u64) {
        self.write_delivery_by(sequence, None);
    }

    /// The same of a message that an attempt has received.
    fn write_delivery_by(&mut self, sequence: u64, attempt: Option<ReceiveAttempt>) {
        if let Some(row) = self.index.row(sequence, self.now) {
            self.write.deliveries.push(DeliveryRow { attempt, ..row });
        }
    }

    /// Notes a receive for the next write, or for a later one if nobody waits for it: most messages are deleted soon, and
    /// their receives then never have to be written.
    fn write_receive(&mut self, sequence: u64, attempt: Option<ReceiveAttempt>) {
        if self.hands_out_after_commit() {
            self.write_delivery_by(sequence, attempt);
        } else {
            self.held.insert(sequence);
        }
    }

    /// Messages whose receives are held back from the next write.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether all that was decided has been taken for the writer.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.pending_rows() == 0 && self.held.is_empty()
    }

    /// Puts the receives that were held back into the next write, as far as the messages are still here. Before a message
    /// leaves for another queue this has to be done, as its removal is then not written by this shard.
    pub(crate) fn release_held(&mut self) {
        for sequence in std::mem::take(&mut self.held) {
            self.write_delivery(sequence);
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.record_bytes() + bytes <= self.cache_bytes
    }

    /// Lets go of the oldest message of index or backlog if its time is over. Both know which one that is.
    fn expire_one(&mut self) -> bool {
        self.touched += 1;
        if let Some((sequence, fresh)) = self.backlog.first()
            && self.is_over(fresh.sent_at)
        {
            self.forget_fresh(sequence);
            self.write.deletes.push(sequence);
            return true;
        }
        match self.index.oldest() {
            // One that is leaving is deleted by its move, which may be committed already; those behind it wait for that.
            Some((sequence, sent_at)) if self.is_over(sent_at) && !self.is_leaving_now(sequence) => {
                self.forget_indexed(sequence);
                self.write.deletes.push(sequence);
                true
            }
            _ => false,
        }
    }

    /// Whether a message is on its way to another queue.
    fn is_leaving_now(&self, sequence: u64) -> bool {
        self.index.get(sequence).is_some_and(Entry::is_apart)
    }

    /// Whether the retention period of a message is over.
    fn is_over(&self, sent_at: Timestamp) -> bool {
        sent_at + self.settings.message_retention_period <= self.now
    }

    /// Takes a message out of the index for good.
    fn forget_indexed(&mut self, sequence: u64) {
        self.index.remove(sequence);
        self.held.remove(&sequence);
        self.backlog.note_gone(sequence);
    }

    /// Takes a message out of the backlog of a standard queue, into the index or for good. `None` if it is not there, or
    /// not in memory.
    fn leave_backlog(&mut self, sequence: u64) -> Option<Fresh> {
        let fresh = self.backlog.remove(sequence)?;
        self.uncount(fresh.group);
        Some(fresh)
    }

    /// Takes a message out of the backlog for good; whether it was there.
    fn forget_fresh(&mut self, sequence: u64) -> bool {
        let Some(fresh) = self.leave_backlog(sequence) else { return false };
        if let Some(tenants) = self.index.tenants_mut() {
            tenants.release(fresh.group, fresh.sent_at, sequence);
        }
        true
    }

    /// A message of a group is no longer in the backlog.
    fn uncount(&mut self, group: GroupId) {
        if let Some(tenants) = self.index.tenants_mut() {
            tenants.exit(group, Standing::Visible);
        }
    }

    #[cfg(test)]
    pub(crate) fn touched(&self) -> u64 {
        self.touched
    }
}
