//! Receiving: taking messages, waiting for them, and taking them back from a receiver that has gone.

use std::time::Duration;

use bytes::Bytes;
use lambfold_types::Timestamp;

use crate::error::Error;
use crate::message::{ReceiveParams, attempt_digest};

use super::attempts::named_receive;
use super::index::{Entry, State};
use super::lane::End;
use super::{Shard, Taken, Waiter, Waiters};

/// What came of a receive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Messages, or none if it does not wait.
    Taken(Vec<Taken>),
    /// It waits under its number and is answered by [`Shard::dispatch`] or [`Shard::expired_waiters`].
    Waits,
}

/// From which lane a message comes.
#[derive(Clone, Copy)]
enum Lane {
    Backlog(u64),
    Index(u64),
}

impl Shard {
    /// Receives messages, or waits under `number`, which must rise from call to call. What is visible and not in
    /// memory is waited for, too, even by a receive that does not wait otherwise.
    pub(crate) fn receive(&mut self, number: u64, params: &ReceiveParams) -> Result<Decision, Error> {
        let wait = params.wait_time.unwrap_or(self.settings.receive_message_wait_time);
        if wait.is_zero() && self.index.in_flight() >= self.limits.in_flight && !self.kind.is_fifo() {
            return Err(Error::OverLimit);
        }
        let attempt = params.attempt_id.as_deref().map(attempt_digest);
        if let Some(taken) = attempt.and_then(|id| self.repeat(id, params.visibility_timeout)) {
            return Ok(Decision::Taken(taken));
        }
        let more_by_load = self.is_short_of(params.max_messages) && (self.awaits_load() || self.could_load());
        if self.waiters.is_empty() && !more_by_load {
            let taken = self.take(params.max_messages, params.visibility_timeout, attempt);
            // While dead letters are on their way, what is left here for want of a place there is waited for.
            if !taken.is_empty() || wait.is_zero() && self.index.apart() == 0 {
                return Ok(Decision::Taken(taken));
            }
        }
        if self.waiters.len() >= self.limits.waiters {
            return Err(Error::Overloaded);
        }
        let waiter = Waiter {
            max_messages: params.max_messages,
            visibility_timeout: params.visibility_timeout,
            attempt,
            deadline: self.now + wait,
        };
        self.waiters.push(number, waiter);
        Ok(Decision::Waits)
    }

    /// Gives messages to those that wait, in the order they came. Waiters that `gone` names get none. To be called
    /// when the reads that are wanted have been started, so that nobody gets less than those will bring.
    pub(crate) fn dispatch(&mut self, mut gone: impl FnMut(u64) -> bool) -> Vec<(u64, Vec<Taken>)> {
        let mut answers = Vec::new();
        while let Some((number, waiter)) = self.waiters.first() {
            if gone(number) {
                self.waiters.remove(number);
                continue;
            }
            let waiter = waiter.clone();
            self.set_dead_apart();
            if !self.can_take() {
                break;
            }
            if self.awaits_load() && self.is_short_of(waiter.max_messages) {
                break;
            }
            let taken = self.take(waiter.max_messages, waiter.visibility_timeout, waiter.attempt);
            if taken.is_empty() {
                break;
            }
            self.waiters.remove(number);
            answers.push((number, taken));
        }
        answers
    }

    /// The waiters whose time is over; they get nothing. While a read of the store is under way that will bring
    /// messages, nobody is sent away: a poll that does not wait must not miss what is there.
    pub(crate) fn expired_waiters(&mut self) -> Vec<u64> {
        let mut expired = Vec::new();
        if !self.holds_short_polls() {
            while let Some(number) = self.waiters.pop_expired(self.now) {
                expired.push(number);
            }
        }
        expired
    }

    /// The waiters, to be answered otherwise or to be carried over to a restored shard.
    pub(crate) fn waiters(&mut self) -> &mut Waiters {
        &mut self.waiters
    }

    /// Messages come back whose receiver has gone before it got them: as if they had not been received.
    pub(crate) fn give_back(&mut self, messages: Vec<Taken>) {
        for taken in messages.into_iter().rev() {
            let sequence = taken.sequence;
            if !self.is_still_with(&taken) {
                continue;
            }
            self.index.edit(sequence, |entry| {
                entry.receive_count -= 1;
                if entry.receive_count == 0 {
                    entry.first_received_at = Timestamp::default();
                    entry.last_received_at = Timestamp::default();
                }
            });
            self.index.make_due(sequence, End::Front);
            self.index.set_record(sequence, Some(taken.record));
            self.write_delivery(sequence);
        }
    }

    /// Whether nothing has become of a message since that receive. What has left for another queue is not called back,
    /// and what an attempt got is with whoever repeated the attempt.
    fn is_still_with(&self, taken: &Taken) -> bool {
        let Some(entry) = self.index.get(taken.sequence) else { return false };
        entry.receive_count == taken.receive_count
            && match entry.state() {
                State::Apart => false,
                // Otherwise somebody has changed its visibility, and was told so.
                State::InFlight(until) => until == taken.visible_at,
                // Received with a visibility timeout of zero, if nobody may have repeated it.
                State::Due(_) => !self.kind.is_fifo() || entry.last_received_at == taken.visible_at,
                State::Delayed(_) => true,
            }
    }

    /// Whether waiters are kept beyond their time because messages are being read, or moved.
    pub(super) fn holds_short_polls(&self) -> bool {
        self.awaits_load() && self.counts().visible > 0 || self.index.apart() > 0
    }

    /// Whether a receive of `max` would get fewer than are visible, because the rest is not in memory.
    fn is_short_of(&self, max: usize) -> bool {
        if self.kind.is_fifo() {
            return self.order_is_short_of(max);
        }
        let backlog = if self.index_is_full() { (0, 0) } else { (self.backlog.ready(), self.backlog.len()) };
        let ready = self.index.ready() + backlog.0;
        let visible = self.index.due() as u64 + backlog.1;
        let room = self.limits.in_flight.saturating_sub(self.index.in_flight());
        let wanted = max.min(room) as u64;
        // The lane is not overtaken by those behind its head.
        let head_is_missing = self.index.first_due().is_some_and(|(_, entry)| entry.record().is_none());
        head_is_missing && wanted > 0 || (ready as u64) < wanted.min(visible)
    }

    fn index_is_full(&self) -> bool {
        self.index.len() >= self.limits.indexed
    }

    fn can_take(&self) -> bool {
        if self.kind.is_fifo() { !self.next_in_order(1).is_empty() } else { self.candidate().is_some() }
    }

    /// The message that is next: from the lanes in turn, as far as their heads are in memory. When the index is full
    /// only from the index, which is never empty then: not all of it can be in flight.
    fn candidate(&self) -> Option<Lane> {
        // What is too old and was not let go yet, since there is much of it, is not handed out either.
        let again = self
            .index
            .first_due()
            .filter(|(_, entry)| entry.record().is_some() && !self.is_over(entry.sent_at));
        let again = again.map(|(sequence, _)| Lane::Index(sequence));
        let index_is_full = self.index_is_full();
        let fresh = self.backlog.first().filter(|(_, fresh)| !index_is_full && !self.is_over(fresh.sent_at));
        let fresh = fresh.map(|(sequence, _)| Lane::Backlog(sequence));
        if self.index_next { again.or(fresh) } else { fresh.or(again) }
    }

    fn take(&mut self, max: usize, timeout: Option<Duration>, attempt: Option<u128>) -> Vec<Taken> {
        let timeout = timeout.unwrap_or(self.settings.visibility_timeout);
        let max = max.min(self.limits.in_flight.saturating_sub(self.index.in_flight()));
        let visible_at = self.now + timeout;
        // In flight for now even with a timeout of zero, so that one receive gets a message only once.
        let taken = if self.kind.is_fifo() {
            self.take_in_order(max, visible_at)
        } else {
            self.take_from_lanes(max, visible_at)
        };
        let receive = attempt.map(|id| named_receive(id, &taken));
        for message in &taken {
            if timeout.is_zero() {
                self.index.make_due(message.sequence, End::Back);
                if self.has_room(message.record.len()) {
                    self.index.set_record(message.sequence, Some(message.record.clone()));
                }
            }
            self.write_receive(message.sequence, receive);
        }
        if let Some(id) = attempt.filter(|_| !taken.is_empty()) {
            self.attempts.put(id, taken.clone(), self.now);
        }
        taken
    }

    fn take_from_lanes(&mut self, max: usize, visible_at: Timestamp) -> Vec<Taken> {
        let mut taken = Vec::new();
        while taken.len() < max {
            self.set_dead_apart();
            let Some(lane) = self.candidate() else { break };
            let (sequence, record) = match lane {
                Lane::Index(sequence) => {
                    let record = self.index.get(sequence).and_then(|entry| entry.record().cloned());
                    self.index.make_in_flight(sequence, visible_at);
                    (sequence, record.expect("a candidate has a record"))
                }
                Lane::Backlog(sequence) => {
                    let fresh = self.leave_backlog(sequence).expect("a candidate is there");
                    let entry = Entry::fresh(&fresh);
                    self.index.insert_in_flight(sequence, entry, visible_at);
                    (sequence, fresh.record)
                }
            };
            self.index_next = matches!(lane, Lane::Backlog(_));
            taken.push(self.count_receive(sequence, record, visible_at));
        }
        taken
    }

    /// A message that was just put in flight, as its receiver gets it.
    pub(super) fn count_receive(&mut self, sequence: u64, record: Bytes, visible_at: Timestamp) -> Taken {
        self.touched += 1;
        let now = self.now;
        self.index.edit(sequence, |entry| entry.count_receive(now));
        let entry = self.index.get(sequence).expect("it was just put there");
        Taken {
            sequence,
            epoch: self.epoch,
            record,
            sent_at: entry.sent_at,
            receive_count: entry.receive_count,
            first_received_at: entry.first_received_at,
            visible_at,
        }
    }
}
