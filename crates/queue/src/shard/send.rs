//! Sending: a message gets its sequence at once and its place once it is durable.

use bytes::Bytes;
use lambfold_types::Timestamp;

use crate::error::Error;
use crate::store::NewMessageRow;

use super::index::{End, Entry};
use super::{Outgoing, Shard};

/// A message whose commit is not known yet.
#[derive(Debug)]
pub(super) struct Uncommitted {
    pub(super) sequence: u64,
    pub(super) sent_at: Timestamp,
    pub(super) delayed_until: Option<Timestamp>,
    pub(super) received: Option<Received>,
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
    /// Stores messages, in order; returns their sequences and the time at which they count as sent. They take their
    /// places when [`Shard::committed`] says so.
    pub(crate) fn send(&mut self, messages: Vec<Outgoing>) -> Result<(Vec<u64>, Timestamp), Error> {
        let delay = |message: &Outgoing| message.delay.unwrap_or(self.settings.delay);
        let delayed = messages.iter().filter(|message| !delay(message).is_zero()).count();
        // Only half of the index: it must never be full of messages that are not visible.
        if delayed > 0 && self.index.len() + delayed > self.limits.indexed / 2 {
            return Err(Error::Overloaded);
        }
        let mut sequences = Vec::with_capacity(messages.len());
        for message in messages {
            let sequence = self.next_sequence;
            self.next_sequence += 1;
            let delay = message.delay.unwrap_or(self.settings.delay);
            let delayed_until = (!delay.is_zero()).then(|| self.now + delay);
            let record = message.record;
            let row = NewMessageRow { sequence, sent_at: self.now, delayed_until, record: record.clone() };
            self.write.inserts.push(row);
            self.uncommitted.push_back(Uncommitted {
                sequence,
                sent_at: self.now,
                delayed_until,
                received: None,
                record,
            });
            sequences.push(sequence);
        }
        Ok((sequences, self.now))
    }

    /// All messages below `end` are durable: they take their places.
    pub(crate) fn committed(&mut self, end: u64) {
        while let Some(message) = self.pop_uncommitted(end) {
            let Uncommitted { sequence, sent_at, delayed_until, received, record } = message;
            if sequence < self.purged_before {
                continue;
            }
            let room = self.has_room(record.len());
            if let Some(received) = received {
                let entry = Entry::adopted(sent_at, received, room.then_some(record));
                self.index.insert_adopted(sequence, entry);
                continue;
            }
            let Some(until) = delayed_until else {
                self.backlog.push(sequence, sent_at, record, room);
                continue;
            };
            let entry = Entry::unreceived(sent_at, room.then_some(record));
            if until > self.now {
                self.index.insert_delayed(sequence, entry, until);
            } else {
                self.index.insert_due(sequence, entry, End::Back);
            }
        }
        self.committed_end = self.committed_end.max(end);
    }

    /// The messages below `end` that are not durable yet never will be: the store had no room for them.
    pub(crate) fn refused(&mut self, end: u64) {
        while self.pop_uncommitted(end).is_some() {}
        self.committed_end = self.committed_end.max(end);
    }

    fn pop_uncommitted(&mut self, end: u64) -> Option<Uncommitted> {
        self.uncommitted.pop_front_if(|message| message.sequence < end)
    }
}
