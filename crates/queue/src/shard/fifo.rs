//! What a FIFO queue does otherwise: it hands out in the order of the groups, and looks for groups that are free among
//! the first messages only, as AWS does ("the first 120,000 messages", developer guide, FIFO queue quotas).

#[cfg(test)]
mod tests;

use std::time::Duration;

use lambfold_types::Timestamp;

use super::attempts::named_receive;
use super::index::{Entry, State};
use super::lane::End;
use super::{Shard, Taken};

/// Visible messages that are known one by one; what is behind them waits in the store.
const WINDOW: usize = 120_000;

/// While fewer than this many messages can be received, the window is filled up.
const LOW: usize = 128;

impl Shard {
    /// Up to `max` messages that may be received now, in their order.
    pub(super) fn next_in_order(&self, max: usize) -> Vec<u64> {
        self.index.next_of_groups(max, self.backlog.known_below())
    }

    /// Whether one more visible message can be known.
    pub(super) fn window_has_room(&self) -> bool {
        self.index.due() + self.index.apart() < WINDOW
    }

    /// Whether more of the backlog should be read.
    pub(super) fn window_is_low(&self) -> bool {
        self.backlog.has_unread() && self.window_has_room() && self.next_in_order(LOW).len() < LOW
    }

    /// Takes the messages of a page into the window.
    pub(super) fn fill_window(&mut self) {
        while let Some((sequence, _)) = self.backlog.first()
            && let Some(fresh) = self.backlog.remove(sequence)
        {
            // The first ones are kept in any case: they are wanted next.
            let room = self.has_room(fresh.record.len()) || self.index.ready() < LOW;
            let entry = self.index.entry(Entry::unreceived(fresh.sent_at), &fresh.record, room);
            self.index.insert_due(sequence, entry, End::Back);
        }
    }

    /// Whether a receive of `max` would get fewer than it could, because the rest is not in memory.
    pub(super) fn order_is_short_of(&self, max: usize) -> bool {
        let wanted = max.min(self.limits.in_flight.saturating_sub(self.index.in_flight()));
        let next = self.next_in_order(wanted);
        let lacks_record = |sequence: &u64| self.index.get(*sequence).is_some_and(|it| it.record().is_none());
        let could_be_more = !self.backlog.is_whole() && self.window_has_room();
        next.iter().any(lacks_record) || next.len() < wanted && could_be_more
    }

    /// Takes up to `max` messages as far as their records are at hand.
    pub(super) fn take_in_order(&mut self, max: usize, visible_at: Timestamp) -> Vec<Taken> {
        let mut taken = Vec::new();
        for sequence in self.retire_and_list(max) {
            let record = self.index.get(sequence).and_then(|entry| entry.record().cloned());
            // Those behind it would overtake it.
            let Some(record) = record else { break };
            self.index.make_in_flight(sequence, visible_at);
            taken.push(self.count_receive(sequence, record, visible_at));
        }
        taken
    }

    /// As [`Shard::next_in_order`], after what is too old has been let go and what was received too often is on its way
    /// to the dead-letter queue.
    fn retire_and_list(&mut self, max: usize) -> Vec<u64> {
        loop {
            let next = self.next_in_order(max);
            let mut all_good = true;
            for sequence in &next {
                let Some(entry) = self.index.get(*sequence) else { continue };
                if self.is_over(entry.sent_at) {
                    self.forget_indexed(*sequence);
                    self.write.deletes.push(*sequence);
                    all_good = false;
                } else if self.is_dead(entry) && self.set_apart(*sequence) {
                    all_good = false;
                }
            }
            if all_good {
                return next;
            }
        }
    }

    /// What the attempt `id` got, with a new visibility timeout, if none of it was deleted, changed or received again.
    pub(super) fn repeat(&mut self, id: u128, timeout: Option<Duration>) -> Option<Vec<Taken>> {
        let before = self.attempts.get(id)?;
        let unchanged = |taken: &Taken| {
            self.index.get(taken.sequence).is_some_and(|entry| {
                entry.state() == State::InFlight(taken.visible_at)
                    && entry.receive_count == taken.receive_count
            })
        };
        if !before.iter().all(unchanged) {
            return None;
        }
        let visible_at = self.now + timeout.unwrap_or(self.settings.visibility_timeout);
        let renew = |taken: &Taken| {
            // Another moment in any case: by it the repetition is told from what it repeats.
            let is_same = taken.visible_at == visible_at;
            let visible_at = visible_at + Duration::from_millis(u64::from(is_same));
            Taken { visible_at, ..taken.clone() }
        };
        let again: Vec<Taken> = before.iter().map(renew).collect();
        let receive = Some(named_receive(id, &again));
        for taken in &again {
            self.index.make_in_flight(taken.sequence, taken.visible_at);
            self.write_delivery_by(taken.sequence, receive);
        }
        self.attempts.put(id, again.clone(), self.now);
        Some(again)
    }
}
