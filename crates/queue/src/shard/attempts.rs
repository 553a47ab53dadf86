//! Receives that a client may repeat (facts, SQS §6.5): under the same `ReceiveRequestAttemptId` it gets the same
//! messages again, for as long as nothing has become of them otherwise. They are in memory, and in the store in the rows
//! of their messages, from which they are read back at a start.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use lambfold_types::Timestamp;

use crate::store::{DeliveryRow, ReceiveAttempt};

use super::Taken;

/// For how long an attempt can be repeated.
const WINDOW: Duration = Duration::from_mins(5);

/// Bytes of records that are kept for repetitions; the oldest attempts go first.
pub(super) const MOST_BYTES: usize = 4 << 20;

#[derive(Debug, Default)]
pub(super) struct Attempts {
    by_id: BTreeMap<u128, (Timestamp, Vec<Taken>)>,
    /// Each attempt once, by the time at which it was made first.
    order: VecDeque<(Timestamp, u128)>,
    bytes: usize,
}

/// What the rows of messages say of the attempt that has taken them.
pub(super) fn named_receive(id: u128, taken: &[Taken]) -> ReceiveAttempt {
    let epoch = taken.first().map_or(0, |message| message.epoch);
    ReceiveAttempt { id, messages: u8::try_from(taken.len()).unwrap_or(u8::MAX), epoch }
}

/// Whether the receive that a row tells of may be repeated at `now`.
pub(super) fn may_be_repeated(row: &DeliveryRow, now: Timestamp) -> bool {
    row.attempt.is_some() && row.visible_at > now && row.last_received_at + WINDOW > now
}

impl Attempts {
    /// As the store has them: those of whose messages none has changed. An attempt's messages become visible at the same
    /// moment, by which it is told from an earlier one of the same name.
    pub(super) fn restore(rows: &[DeliveryRow], records: &BTreeMap<u64, Bytes>, now: Timestamp) -> Self {
        let mut found: BTreeMap<(ReceiveAttempt, Timestamp), (Timestamp, Vec<Taken>)> = BTreeMap::new();
        for row in rows.iter().filter(|row| may_be_repeated(row, now)) {
            let (Some(attempt), Some(record)) = (row.attempt, records.get(&row.sequence)) else { continue };
            let (at, taken) = found.entry((attempt, row.visible_at)).or_default();
            *at = row.last_received_at;
            taken.push(Taken {
                sequence: row.sequence,
                epoch: attempt.epoch,
                record: record.clone(),
                sent_at: row.sent_at,
                receive_count: row.receive_count,
                first_received_at: row.first_received_at,
                visible_at: row.visible_at,
            });
        }
        let whole = found
            .into_iter()
            .filter(|((attempt, _), (_, taken))| usize::from(attempt.messages) == taken.len());
        let mut whole: Vec<_> = whole.map(|((attempt, _), (at, taken))| (at, attempt.id, taken)).collect();
        whole.sort_by_key(|(at, ..)| *at);
        let mut restored = Self::default();
        for (at, id, taken) in whole {
            restored.put(id, taken, at);
        }
        restored
    }

    /// What the attempt got, if it can still be known.
    pub(super) fn get(&self, id: u128) -> Option<&[Taken]> {
        self.by_id.get(&id).map(|(_, taken)| taken.as_slice())
    }

    /// Notes what an attempt gets.
    pub(super) fn put(&mut self, id: u128, taken: Vec<Taken>, now: Timestamp) {
        self.bytes += weight(&taken);
        match self.by_id.insert(id, (now, taken)) {
            Some((_, before)) => self.bytes -= weight(&before),
            None => self.order.push_back((now, id)),
        }
        while self.bytes > MOST_BYTES
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.remove(oldest);
        }
    }

    /// Lets go what is too old to be repeated.
    pub(super) fn advance(&mut self, now: Timestamp) {
        while let Some((_, id)) = self.order.pop_front_if(|(at, _)| *at + WINDOW <= now) {
            match self.by_id.get(&id) {
                // It was repeated since.
                Some((at, _)) if *at + WINDOW > now => self.order.push_back((*at, id)),
                _ => self.remove(id),
            }
        }
    }

    fn remove(&mut self, id: u128) {
        if let Some((_, taken)) = self.by_id.remove(&id) {
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
            attempts.put(1, Vec::new(), at(second));
        }
        assert_eq!((attempts.order.len(), attempts.bytes), (1, weight(&[])));
        attempts.advance(at(300));
        assert!(attempts.get(1).is_some());
        attempts.advance(at(499));
        assert!(attempts.get(1).is_none());
        assert_eq!((attempts.order.len(), attempts.bytes), (0, 0));
    }
}
