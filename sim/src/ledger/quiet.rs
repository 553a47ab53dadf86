//! Quiet points: nobody asks anything, and the ledger sees all that there is.

use std::collections::BTreeMap;

use lambfold_queue::{MessageState, QueueCounts, Received};
use lambfold_types::Timestamp;

use super::{Check, Ledger};

/// All that is in a queue.
#[derive(Debug)]
pub(crate) struct Sighting {
    pub(crate) queue: u64,
    pub(crate) messages: Vec<(Received, MessageState)>,
    pub(crate) counts: QueueCounts,
    /// Whether a task moves messages out of it.
    pub(crate) is_moving: bool,
}

impl Ledger {
    /// Compares with all queues that exist. Every doubt ends here.
    pub(crate) fn compare(&mut self, sightings: &[Sighting], now: Timestamp) -> Check {
        let mut found: BTreeMap<usize, (u64, &Received)> = BTreeMap::new();
        for sighting in sightings {
            check_counts(sighting)?;
            for (message, _) in &sighting.messages {
                let number = self.known(message)?;
                let before = found.insert(number, (sighting.queue, message));
                if let Some((place, _)) = before.filter(|_| !self.messages[number].may_be_twice) {
                    return Err(format!("m{number} is in {place} and again in {}", sighting.queue));
                }
            }
        }
        self.check_batches(&found, now)?;
        let tick = self.tick();
        for number in 0..self.messages.len() {
            if self.messages[number].may_be_twice {
                continue;
            }
            match found.get(&number) {
                Some((queue, received)) => self.is_found(number, *queue, received)?,
                None => self.is_not_found(number, tick, now)?,
            }
        }
        for sighting in sightings {
            if let Some(known) = self.queues.get_mut(&sighting.queue) {
                known.lost_receives = 0;
                known.open_purges = 0;
                known.is_doubtful = false;
                known.is_moving = sighting.is_moving;
            }
        }
        Ok(())
    }

    fn is_found(&mut self, number: usize, queue: u64, received: &Received) -> Check {
        let message = &self.messages[number];
        if let Some((_, why)) = message.gone {
            return Err(format!("m{number} is in {queue} although it was gone: {why}"));
        }
        if message.not_as.contains_key(&(queue, received.handle.sequence)) {
            return Err(format!("m{number} is in {queue} although its delete was acknowledged"));
        }
        if !message.is_stored && !message.is_unknown {
            return Err(format!("m{number} is in {queue} although it was refused"));
        }
        if let Some(place) = self.settled_at(message).filter(|place| *place != queue) {
            return Err(format!("m{number} is in {queue} and had no reason to leave {place}"));
        }
        let tick = self.tick;
        let message = &mut self.messages[number];
        if !message.is_stored {
            message.is_stored = true;
            message.sent_tick = tick;
        }
        message.is_unknown = false;
        message.batch = None;
        message.is_deleting = false;
        message.is_doubtful = false;
        message.changes_overlap = false;
        if message.place != Some(queue) {
            message.place = Some(queue);
            message.placed_tick = tick;
        }
        message.sequence = Some(received.handle.sequence);
        message.sent_at = Some(received.sent_at);
        message.receive_count = received.receive_count;
        Ok(())
    }

    fn is_not_found(&mut self, number: usize, tick: u64, now: Timestamp) -> Check {
        let message = &self.messages[number];
        if self.is_there(message, now) {
            return Err(format!("m{number} was acknowledged and is lost"));
        }
        let may_be_over = self.may_be_over(message, now);
        let message = &mut self.messages[number];
        message.batch = None;
        if may_be_over {
            // A longer retention period that nobody knows to be in force may bring it back.
            message.is_doubtful = true;
            return Ok(());
        }
        message.is_unknown = false;
        if message.gone.is_none() {
            let why = if message.is_deleting { "deleted" } else { "not there at a quiet point" };
            message.gone = Some((tick, why));
        }
        Ok(())
    }

    /// Of a send with an unknown outcome all messages are there, or none.
    fn check_batches(&self, found: &BTreeMap<usize, (u64, &Received)>, now: Timestamp) -> Check {
        let mut batches: BTreeMap<u64, (bool, bool)> = BTreeMap::new();
        for (number, message) in self.messages.iter().enumerate() {
            let Some(batch) = message.batch.filter(|_| message.is_unknown) else { continue };
            let was_seen = message.is_stored || found.contains_key(&number);
            let may_be_gone = message.is_doubtful || message.gone.is_some() || self.may_be_over(message, now);
            let (some, none) = batches.entry(batch).or_default();
            *some |= was_seen;
            *none |= !was_seen && !may_be_gone;
        }
        match batches.into_iter().find(|(_, (some, none))| *some && *none) {
            Some((batch, _)) => Err(format!("of the messages of call {batch} some were stored and some not")),
            None => Ok(()),
        }
    }

    /// All that must still be somewhere.
    pub(crate) fn left(&self, now: Timestamp) -> Vec<usize> {
        let left = self
            .messages
            .iter()
            .enumerate()
            .filter(|(_, message)| self.is_there(message, now) && !message.may_be_twice);
        left.map(|(number, _)| number).collect()
    }
}

/// Counts are exact.
fn check_counts(sighting: &Sighting) -> Check {
    let of = |states: &[MessageState]| {
        sighting.messages.iter().filter(|(_, state)| states.contains(state)).count() as u64
    };
    let seen = QueueCounts {
        visible: of(&[MessageState::Visible, MessageState::Moving]),
        in_flight: of(&[MessageState::InFlight]),
        delayed: of(&[MessageState::Delayed]),
    };
    if seen == sighting.counts {
        Ok(())
    } else {
        Err(format!("queue {} counts {:?} and holds {seen:?}", sighting.queue, sighting.counts))
    }
}
