//! Dead letters: a message that was received as often as the redrive policy allows leaves the shard when the next
//! receiver would get it (facts, SQS §8), and comes into the shard of the dead-letter queue in the same transaction.

use std::time::Duration;

use bytes::Bytes;
use lambfold_types::Timestamp;

use crate::error::Error;
use crate::message::HandleParts;
use crate::store::{DeliveryRow, NewMessageRow, ShardWrite};

use super::Shard;
use super::index::Entry;
use super::lane::End;
use super::send::{Received, Uncommitted};

/// Messages that leave together.
const AT_ONCE: usize = 100;
/// How long a message waits that could not leave.
const RETRY: Duration = Duration::from_secs(1);

/// A message on its way from one shard to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeadLetter {
    pub(crate) sequence: u64,
    pub(crate) record: Bytes,
    pub(crate) sent_at: Timestamp,
    pub(crate) receive_count: u32,
    pub(crate) first_received_at: Timestamp,
    pub(crate) last_received_at: Timestamp,
}

impl Shard {
    /// Sets the messages at the head of the visible ones apart that nobody may receive any more.
    pub(super) fn set_dead_apart(&mut self) {
        while let Some((sequence, entry)) = self.index.first_due() {
            if !self.is_dead(entry) || !self.set_apart(sequence) {
                return;
            }
        }
    }

    /// Whether a visible message was received as often as it may be.
    pub(super) fn is_dead(&self, entry: &Entry) -> bool {
        let redrive = self.settings.redrive.as_ref();
        redrive.is_some_and(|redrive| entry.receive_count >= redrive.max_receive_count)
            && !entry.is_kept
            && !self.is_over(entry.sent_at)
    }

    /// Sets a visible message apart, to be moved; false if its record is not at hand.
    pub(super) fn set_apart(&mut self, sequence: u64) -> bool {
        let Some(entry) = self.index.get(sequence) else { return false };
        let Some(record) = entry.record() else { return false };
        self.touched += 1;
        self.dead_letters.push_back(DeadLetter {
            sequence,
            record: record.clone(),
            sent_at: entry.sent_at,
            receive_count: entry.receive_count,
            first_received_at: entry.first_received_at,
            last_received_at: entry.last_received_at,
        });
        self.index.set_apart(sequence);
        true
    }

    /// Whether messages wait to be moved.
    pub(crate) fn has_dead_letters(&self) -> bool {
        !self.dead_letters.is_empty()
    }

    /// Messages to be moved now; each is answered by [`Shard::moved`], [`Shard::keep`] or [`Shard::move_later`]. To be
    /// called when all mutations of this shard have been handed over, since the last one, their removal, is left to
    /// the shard that takes them.
    pub(crate) fn take_dead_letters(&mut self) -> Vec<DeadLetter> {
        let count = self.dead_letters.len().min(AT_ONCE);
        self.dead_letters.drain(..count).collect()
    }

    /// What has to become durable here together with the arrival of `letters` there.
    pub(crate) fn departure(&self, letters: &[DeadLetter]) -> ShardWrite {
        ShardWrite {
            deletes: letters.iter().map(|letter| letter.sequence).collect(),
            next_sequence: self.next_sequence,
            clock: self.now,
            ..ShardWrite::default()
        }
    }

    /// They are in the other shard, durably.
    pub(crate) fn moved(&mut self, letters: &[DeadLetter]) {
        for letter in letters.iter().filter(|letter| self.is_apart(letter)).collect::<Vec<_>>() {
            self.forget_indexed(letter.sequence);
        }
    }

    /// There is nowhere to move them to: they are handed out again instead, since nothing may be lost.
    pub(crate) fn keep(&mut self, letters: Vec<DeadLetter>) {
        for letter in letters.into_iter().rev().filter(|letter| self.is_apart(letter)).collect::<Vec<_>>() {
            self.index.edit(letter.sequence, |entry| entry.is_kept = true);
            self.index.make_due(letter.sequence, End::Front);
            self.index.set_record(letter.sequence, Some(letter.record));
        }
    }

    /// The other shard cannot take them at the moment.
    pub(crate) fn move_later(&mut self, letters: &[DeadLetter]) {
        let until = self.now + RETRY;
        for letter in letters.iter().filter(|letter| self.is_apart(letter)).collect::<Vec<_>>() {
            self.index.make_in_flight(letter.sequence, until);
        }
    }

    /// Sets messages in flight apart, to be moved, which the receives of `handles` got; returns those that they still
    /// have. What they are to become is said by `letters`, in the same order.
    pub(crate) fn evacuate(&mut self, letters: Vec<DeadLetter>, handles: &[HandleParts]) -> Vec<DeadLetter> {
        let mut apart = Vec::with_capacity(letters.len());
        for (letter, handle) in letters.into_iter().zip(handles) {
            if self.has_in_flight(*handle) {
                self.index.set_apart(letter.sequence);
                apart.push(letter);
            }
        }
        apart
    }

    /// Messages that were set apart stay, and are visible again.
    pub(crate) fn stay(&mut self, letters: &[DeadLetter]) {
        for letter in letters.iter().rev().filter(|letter| self.is_apart(letter)).collect::<Vec<_>>() {
            self.index.make_due(letter.sequence, End::Front);
        }
    }

    /// Takes messages over from another shard. They keep how often they were received and, in a standard queue, the time
    /// at which they were sent, by which their retention counts; in a FIFO queue it counts from now on. They take their places when [`Shard::committed`] says so.
    pub(crate) fn adopt(&mut self, letters: Vec<DeadLetter>) -> Result<(), Error> {
        if self.index.len() + letters.len() > self.limits.indexed / 2 {
            return Err(Error::Overloaded);
        }
        for letter in letters {
            let sequence = self.next_sequence;
            self.next_sequence += 1;
            let DeadLetter { record, sent_at, receive_count, first_received_at, last_received_at, .. } =
                letter;
            let sent_at = if self.kind.is_fifo() { self.now } else { sent_at };
            let row = NewMessageRow { sequence, sent_at, delayed_until: None, record: record.clone() };
            self.write.inserts.push(row);
            self.write.deliveries.push(DeliveryRow {
                sequence,
                sent_at,
                visible_at: self.now,
                receive_count,
                first_received_at,
                last_received_at,
                attempt: None,
            });
            self.uncommitted.push_back(Uncommitted {
                sequence,
                sent_at,
                delayed_until: None,
                received: Some(Received { receive_count, first_received_at, last_received_at }),
                deduplication: None,
                record,
            });
        }
        Ok(())
    }

    /// Whether the message still waits for its move: a purge forgets it.
    fn is_apart(&self, letter: &DeadLetter) -> bool {
        self.index.get(letter.sequence).is_some_and(Entry::is_apart)
    }
}
