//! Sending: a message gets its sequence at once and its place once it is durable.

use bytes::Bytes;
use lambfold_types::Timestamp;

use crate::error::Error;
use crate::message::group_of;
use crate::store::{DeduplicationRow, NewMessageRow};

use super::backlog::Fresh;
use super::index::Entry;
use super::lane::End;
use super::tenants::{Standing, UNTRACKED};
use super::{Outgoing, Shard, Stored, tenants};

/// A message whose commit is not known yet.
#[derive(Debug)]
pub(super) struct Uncommitted {
    pub(super) sequence: u64,
    pub(super) sent_at: Timestamp,
    pub(super) delayed_until: Option<Timestamp>,
    pub(super) received: Option<Received>,
    pub(super) deduplication: Option<u128>,
    pub(super) record: Bytes,
}

/// What is known of a message that came from another shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    pub(super) receive_count: u32,
    pub(super) first_received_at: Timestamp,
    pub(super) last_received_at: Timestamp,
}

impl Shard {
    /// Stores messages, in order, but for those that a FIFO queue has had lately. They take their places when
    /// [`Shard::committed`] says so.
    pub(crate) fn send(&mut self, messages: Vec<Outgoing>) -> Result<Stored, Error> {
        let delay = |message: &Outgoing| message.delay.unwrap_or(self.settings.delay);
        let delayed = messages.iter().filter(|message| !delay(message).is_zero()).count();
        // Only half of the index: it must never be full of messages that are not visible.
        if delayed > 0 && self.index.len() + delayed > self.limits.indexed / 2 {
            return Err(Error::Overloaded);
        }
        let mut stored = Stored { sent_at: self.now, ..Stored::default() };
        for (place, message) in messages.into_iter().enumerate() {
            if let Some(original) = message.deduplication.and_then(|id| self.deduplication.find(id)) {
                stored.sequences.push(original.sequence);
                stored.originals.insert(place, original.message_id);
                continue;
            }
            let sequence = self.next_sequence;
            self.next_sequence += 1;
            if let Some(id) = message.deduplication {
                let row =
                    DeduplicationRow { sequence, sent_at: self.now, id, message_id: message.message_id };
                self.deduplication.add(&row);
                self.write.deduplications.push(row);
            }
            let delay = message.delay.unwrap_or(self.settings.delay);
            let delayed_until = if delay.is_zero() {
                // Known one by one from now on, as what is delayed, and visible at once.
                self.is_put_in_front(&message.record).then_some(self.now)
            } else {
                Some(self.now + delay)
            };
            let record = message.record;
            let row = NewMessageRow { sequence, sent_at: self.now, delayed_until, record: record.clone() };
            self.write.inserts.push(row);
            self.uncommitted.push_back(Uncommitted {
                sequence,
                sent_at: self.now,
                delayed_until,
                received: None,
                deduplication: message.deduplication,
                record,
            });
            stored.sequences.push(sequence);
        }
        Ok(stored)
    }

    /// Whether a message without delay is not to wait behind the backlog: one of a quiet group, if there is one.
    fn is_put_in_front(&mut self, record: &[u8]) -> bool {
        let group = group_of(record);
        if group.is_empty() {
            return false;
        }
        let has_room = self.index.len() < self.limits.indexed / 2;
        self.index.tenants_mut().is_some_and(|tenants| tenants.note(group)) && self.has_backlog() && has_room
    }

    /// Whether so much waits that the messages of quiet groups are put in front of it.
    pub(super) fn has_backlog(&self) -> bool {
        self.backlog.len() + self.uncommitted.len() as u64 >= tenants::BACKLOG
    }

    /// All messages below `end` are durable: they take their places.
    pub(crate) fn committed(&mut self, end: u64) {
        while let Some(message) = self.pop_uncommitted(end) {
            let Uncommitted { sequence, sent_at, delayed_until, received, record, .. } = message;
            if sequence < self.purged_before {
                continue;
            }
            let room = self.has_room(record.len());
            if let Some(received) = received {
                let entry = self.index.entry(Entry::adopted(sent_at, received), &record, room);
                self.index.insert_adopted(sequence, entry);
                continue;
            }
            let Some(until) = delayed_until else {
                self.join_backlog(sequence, sent_at, record, room);
                continue;
            };
            let entry = self.index.entry(Entry::unreceived(sent_at), &record, room);
            if until > self.now {
                self.index.insert_delayed(sequence, entry, until);
            } else {
                self.index.insert_due(sequence, entry, End::Back);
            }
        }
        self.all_placed(end);
    }

    /// The messages below `end` that are not durable yet never will be: the store had no room for them.
    pub(crate) fn refused(&mut self, end: u64) {
        while let Some(message) = self.pop_uncommitted(end) {
            if let Some(id) = message.deduplication {
                self.deduplication.forget(id, message.sequence);
                self.refused.insert(message.sequence);
            }
        }
        self.all_placed(end);
    }

    fn all_placed(&mut self, end: u64) {
        self.committed_end = self.committed_end.max(end);
        if let Some(tenants) = self.index.tenants_mut() {
            tenants.placed(end);
        }
    }

    /// Whether one of the messages that an answer tells of was refused: a duplicate may have been answered with an
    /// original that was not durable yet.
    pub(crate) fn has_refused(&self, sequences: &[u64]) -> bool {
        !self.refused.is_empty() && sequences.iter().any(|sequence| self.refused.contains(sequence))
    }

    /// All that was decided is answered.
    pub(crate) fn forget_refused(&mut self) {
        self.refused.clear();
    }

    /// Puts a message behind all others. A FIFO queue knows each one near its head by its group.
    fn join_backlog(&mut self, sequence: u64, sent_at: Timestamp, record: Bytes, room: bool) {
        if let Some(tenants) = self.index.tenants_mut() {
            let group = tenants.number(group_of(&record));
            tenants.enter(group, Standing::Visible);
            if self.backlog.push(sequence, Fresh { sent_at, group, record }, room) {
                tenants.hold(group, sent_at, sequence);
            } else {
                tenants.join_tail(group, sent_at);
            }
        } else if self.backlog.is_whole() && self.window_has_room() {
            let entry = self.index.entry(Entry::unreceived(sent_at), &record, room);
            self.index.insert_due(sequence, entry, End::Back);
        } else {
            self.backlog.push(sequence, Fresh { sent_at, group: UNTRACKED, record }, false);
        }
    }

    fn pop_uncommitted(&mut self, end: u64) -> Option<Uncommitted> {
        self.uncommitted.pop_front_if(|message| message.sequence < end)
    }
}
