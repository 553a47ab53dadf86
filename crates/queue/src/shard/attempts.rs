//! Receives that a client may repeat (facts, SQS §6.5): under the same `ReceiveRequestAttemptId` it gets the same
//! messages again, for as long as nothing has become of them otherwise.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use lambfold_types::Timestamp;

use super::Taken;

/// For how long an attempt can be repeated.
const WINDOW: Duration = Duration::from_mins(5);

/// Bytes of records that are kept for repetitions; the oldest attempts go first.
const MOST_BYTES: usize = 4 << 20;

#[derive(Debug, Default)]
pub(super) struct Attempts {
    by_id: BTreeMap<String, (Timestamp, Vec<Taken>)>,
    order: VecDeque<(Timestamp, String)>,
    bytes: usize,
}

impl Attempts {
    /// What the attempt got, if it can still be known.
    pub(super) fn get(&self, id: &str) -> Option<&[Taken]> {
        self.by_id.get(id).map(|(_, taken)| taken.as_slice())
    }

    /// Notes what an attempt gets.
    pub(super) fn put(&mut self, id: String, taken: Vec<Taken>, now: Timestamp) {
        self.remove(&id);
        self.bytes += weight(&taken);
        self.by_id.insert(id.clone(), (now, taken));
        self.order.push_back((now, id));
        while self.bytes > MOST_BYTES
            && let Some((at, oldest)) = self.order.pop_front()
        {
            self.remove_as_of(&oldest, at);
        }
    }

    /// Lets go what is too old to be repeated.
    pub(super) fn advance(&mut self, now: Timestamp) {
        while let Some((at, id)) = self.order.pop_front_if(|(at, _)| *at + WINDOW <= now) {
            self.remove_as_of(&id, at);
        }
    }

    /// One that was repeated since stands further behind, too, and stays.
    fn remove_as_of(&mut self, id: &str, at: Timestamp) {
        if self.by_id.get(id).is_some_and(|(since, _)| *since == at) {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: &str) {
        if let Some((_, taken)) = self.by_id.remove(id) {
            self.bytes -= weight(&taken);
        }
    }
}

fn weight(taken: &[Taken]) -> usize {
    taken.iter().map(|message| message.record.len() + 64).sum::<usize>() + 64
}
