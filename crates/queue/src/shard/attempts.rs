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
    /// Each attempt once, by the time at which it was made first.
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
        self.bytes += weight(&taken);
        match self.by_id.insert(id.clone(), (now, taken)) {
            Some((_, before)) => self.bytes -= weight(&before),
            None => self.order.push_back((now, id)),
        }
        while self.bytes > MOST_BYTES
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.remove(&oldest);
        }
    }

    /// Lets go what is too old to be repeated.
    pub(super) fn advance(&mut self, now: Timestamp) {
        while let Some((_, id)) = self.order.pop_front_if(|(at, _)| *at + WINDOW <= now) {
            match self.by_id.get(&id) {
                // It was repeated since.
                Some((at, _)) if *at + WINDOW > now => self.order.push_back((*at, id)),
                _ => self.remove(&id),
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    #[test]
    fn an_attempt_that_is_repeated_takes_one_place_and_lives_from_its_last_time() {
        let mut attempts = Attempts::default();
        for second in 0..200 {
            attempts.put("a".to_owned(), Vec::new(), at(second));
        }
        assert_eq!((attempts.order.len(), attempts.bytes), (1, weight(&[])));
        attempts.advance(at(300));
        assert!(attempts.get("a").is_some());
        attempts.advance(at(499));
        assert!(attempts.get("a").is_none());
        assert_eq!((attempts.order.len(), attempts.bytes), (0, 0));
    }
}
