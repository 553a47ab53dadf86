//! Receives that wait for a message, first come, first served.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lambfold_types::Timestamp;

/// A receive that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) max_messages: usize,
    pub(crate) visibility_timeout: Option<Duration>,
    pub(crate) attempt: Option<u128>,
    /// When it is answered with nothing.
    pub(crate) deadline: Timestamp,
}

/// By number, which rises: the order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    waiting: BTreeMap<u64, Waiter>,
    deadlines: BTreeSet<(Timestamp, u64)>,
}

impl Waiters {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn push(&mut self, number: u64, waiter: Waiter) {
        self.deadlines.insert((waiter.deadline, number));
        self.waiting.insert(number, waiter);
    }

    pub(crate) fn first(&self) -> Option<(u64, &Waiter)> {
        self.waiting.first_key_value().map(|(number, waiter)| (*number, waiter))
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<Waiter> {
        let waiter = self.waiting.remove(&number)?;
        self.deadlines.remove(&(waiter.deadline, number));
        Some(waiter)
    }

    /// Takes the next waiter whose time is over at `now`.
    pub(crate) fn pop_expired(&mut self, now: Timestamp) -> Option<u64> {
        let &(deadline, number) = self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.remove(number);
        Some(number)
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Takes all.
    pub(crate) fn drain(&mut self) -> Vec<u64> {
        self.deadlines.clear();
        std::mem::take(&mut self.waiting).into_keys().collect()
    }

    /// Drops those that `gone` names; used when there are too many, since each is checked.
    pub(crate) fn retain(&mut self, mut gone: impl FnMut(u64) -> bool) {
        let Self { waiting, deadlines } = self;
        waiting.retain(|number, waiter| {
            let keep = !gone(*number);
            if !keep {
                deadlines.remove(&(waiter.deadline, *number));
            }
            keep
        });
    }
}
