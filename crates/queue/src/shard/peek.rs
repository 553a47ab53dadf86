//! Looking at messages without receiving them.

use lambfold_types::Timestamp;

use crate::message::MessageState;
use crate::store::MessageRow;

use super::index::State;
use super::{Shard, Taken};

impl Shard {
    /// From which sequence on there are messages that can be read from the store, and up to which.
    pub(crate) fn readable(&self) -> std::ops::Range<u64> {
        self.purged_before..self.committed_end
    }

    /// What is known of messages that were read from the store; nothing of those that have gone meanwhile.
    pub(crate) fn peek(&self, rows: Vec<MessageRow>) -> Vec<(Taken, MessageState)> {
        rows.into_iter().filter_map(|row| self.peek_one(row)).collect()
    }

    fn peek_one(&self, row: MessageRow) -> Option<(Taken, MessageState)> {
        let MessageRow { sequence, sent_at, record } = row;
        if sequence < self.purged_before || self.is_over(sent_at) {
            return None;
        }
        let never = Timestamp::default();
        let Some(entry) = self.index.get(sequence) else {
            let is_there = self.backlog.holds(sequence);
            let taken = Taken {
                sequence,
                epoch: self.epoch,
                record,
                sent_at,
                receive_count: 0,
                first_received_at: never,
                visible_at: never,
            };
            return is_there.then_some((taken, MessageState::Visible));
        };
        let (state, visible_at) = match entry.state() {
            State::Delayed(until) => (MessageState::Delayed, until),
            State::InFlight(until) => (MessageState::InFlight, until),
            State::Due(_) => (MessageState::Visible, never),
            State::Apart => (MessageState::Moving, never),
        };
        let taken = Taken {
            sequence,
            epoch: self.epoch,
            record,
            sent_at,
            receive_count: entry.receive_count,
            first_received_at: entry.first_received_at,
            visible_at,
        };
        Some((taken, state))
    }
}
