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
    sequence: u64,
    sent_at: Timestamp,
    delayed_until: Option<Timestamp>,
    record: Bytes,
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
            self.uncommitted.push_back(Uncommitted { sequence, sent_at: self.now, delayed_until, record });
            sequences.push(sequence);
        }
        Ok((sequences, self.now))
    }

    /// All messages below `end` are durable: they take their places.
    pub(crate) fn committed(&mut self, end: u64) {
        while let Some(message) = self.pop_uncommitted(end) {
            let Uncommitted { sequence, sent_at, delayed_until, record } = message;
            if sequence < self.purged_before {
                continue;
            }
            let room = self.has_room(record.len());
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
