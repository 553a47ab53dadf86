//! Calls that begin, and answers to them, but for receives.

use std::time::Duration;

use lambfold_queue::{ChangeVisibilityError, CreateOutcome, Error, HandleError, Sent};
use lambfold_types::Timestamp;

use crate::calls::{Answer, Call, Held, InFlight};

use super::{Check, DEDUPLICATION, Ledger, Window};

impl Ledger {
    /// A call is put to the engine.
    pub(crate) fn begins(&mut self, call: &Call, now: Timestamp) {
        match call {
            Call::Send { queue, messages } => {
                let known = self.queues.get(&queue.incarnation());
                let is_purged = known.is_some_and(|known| known.open_purges > 0);
                for number in messages {
                    self.messages[*number].is_forgotten |= is_purged;
                    self.messages[*number].sends_in_flight += 1;
                    self.messages[*number].sends += 1;
                    if self.messages[*number].sends > 1 {
                        self.messages[*number].batch = None;
                    }
                }
            }
            Call::Receive { queue, .. } => self.count_lost(queue.incarnation(), 1),
            Call::Delete { held, .. } => {
                for held in held {
                    self.messages[held.message].is_deleting = true;
                }
            }
            Call::Change { held, .. } => {
                let tick = self.tick();
                for (held, timeout) in held {
                    let message = &mut self.messages[held.message];
                    message.changes_overlap |= message.changes_in_flight > 0;
                    message.changes_in_flight += 1;
                    message.last_change = tick;
                    // The handle proves a receive that a crash may have cut off, and so counts.
                    message.receive_count = message.receive_count.max(held.handle.receive_number);
                    if let Some(window) = &mut message.window {
                        window.end = window.end.min(now + *timeout);
                    }
                }
            }
            Call::Purge { queue } => {
                self.doubt(queue.incarnation());
                if let Some(known) = self.queues.get_mut(&queue.incarnation()) {
                    known.open_purges += 1;
                }
            }
            Call::DeleteQueue { queue } => {
                self.doubt(queue.incarnation());
                if let Some(known) = self.queues.get_mut(&queue.incarnation()) {
                    known.is_doubtful = true;
                }
            }
            Call::Settings { queue, settings } => self.widen(queue.incarnation(), settings),
            Call::StartMove { source, .. } => self.start_moving(source.incarnation()),
            Call::Create { .. } | Call::CancelMove { .. } => {}
        }
    }

    /// A call ends without an answer: the client has gone, or the process.
    pub(crate) fn is_lost(&mut self, lost: &InFlight) {
        match &lost.call {
            Call::Send { messages, .. } => {
                for number in messages {
                    self.messages[*number].sends_in_flight -= 1;
                    self.messages[*number].is_unknown = true;
                }
            }
            Call::Change { held, .. } => {
                for (held, _) in held {
                    self.messages[held.message].changes_in_flight -= 1;
                    self.messages[held.message].changes_overlap = true;
                }
            }
            _ => {}
        }
    }

    /// A call is answered. Receives are for [`Ledger::received`].
    pub(crate) fn answered(&mut self, done: &InFlight, answer: &Answer, now: Timestamp) -> Check {
        match (&done.call, answer) {
            (Call::Send { queue, messages }, Answer::Sent(result)) => {
                self.sent(done, queue.incarnation(), messages, result)
            }
            (Call::Delete { queue, held }, Answer::Deleted(Ok(results))) => {
                for (held, result) in held.iter().zip(results) {
                    self.deleted(queue.incarnation(), held, *result, now)?;
                }
                Ok(())
            }
            (Call::Change { queue, held }, Answer::Changed(result)) => {
                for (held, _) in held {
                    self.messages[held.message].changes_in_flight -= 1;
                    self.messages[held.message].changes_overlap |= result.is_err();
                }
                let Ok(results) = result else { return Ok(()) };
                for ((held, timeout), result) in held.iter().zip(results) {
                    self.changed(done, queue.incarnation(), held, *timeout, *result, now)?;
                }
                let tick = self.tick();
                for (held, _) in held {
                    self.messages[held.message].last_change = tick;
                }
                Ok(())
            }
            (Call::Purge { queue }, Answer::Done(Ok(()))) => {
                self.emptied(queue.incarnation(), done.began_tick, "purged");
                if let Some(known) = self.queues.get_mut(&queue.incarnation()) {
                    known.open_purges -= 1;
                }
                Ok(())
            }
            (Call::DeleteQueue { queue }, Answer::Done(Ok(()))) => {
                self.queue_is_gone(queue.incarnation());
                Ok(())
            }
            (Call::Create { .. }, Answer::Created(Ok(CreateOutcome::Created(queue)))) => {
                match self.queues.get(&queue.incarnation()) {
                    Some(known) if known.name != queue.name().as_str() => {
                        Err(format!("the incarnation {} was given twice", queue.incarnation()))
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// A queue does not exist any more.
    pub(crate) fn queue_is_gone(&mut self, queue: u64) {
        if let Some(known) = self.queues.get_mut(&queue) {
            known.is_gone = true;
        }
        let tick = self.tick();
        for number in self.possibly_in(queue) {
            let settled = self.settled_at(&self.messages[number]) == Some(queue);
            let message = &mut self.messages[number];
            message.is_doubtful = true;
            if settled {
                message.gone = Some((tick, "its queue was deleted"));
            }
        }
    }

    /// The messages of a queue may be gone.
    fn doubt(&mut self, queue: u64) {
        for number in self.possibly_in(queue) {
            self.messages[number].is_doubtful = true;
        }
        for message in self.messages.iter_mut().filter(|message| message.home == queue) {
            // The queue forgets its history: what was sent again meanwhile is new to it.
            message.is_forgotten = true;
            message.may_be_twice |= message.sends > 1 && (message.sends_in_flight > 0 || message.is_unknown);
        }
    }

    /// All messages of a queue are gone that were there before the event `began`.
    fn emptied(&mut self, queue: u64, began: u64, why: &'static str) {
        let tick = self.tick();
        for number in self.possibly_in(queue) {
            let message = &self.messages[number];
            let settled = self.settled_at(message) == Some(queue);
            // What was being sent meanwhile, or may be still, can have come before or after.
            let is_known = message.is_stored && !message.is_unknown && message.sent_tick < began;
            if settled && is_known && message.placed_tick < began {
                self.messages[number].gone = Some((tick, why));
            }
        }
        self.doubt(queue);
    }

    fn sent(
        &mut self,
        done: &InFlight,
        queue: u64,
        messages: &[usize],
        result: &Result<Vec<Sent>, Error>,
    ) -> Check {
        for number in messages {
            self.messages[*number].sends_in_flight -= 1;
        }
        let sent = match result {
            Ok(sent) => sent,
            // Nothing was stored.
            Err(Error::StorageFull | Error::Overloaded | Error::OwnerChanges | Error::OwnedElsewhere(_)) => {
                return Ok(());
            }
            Err(_) => {
                for number in messages {
                    self.messages[*number].is_unknown = true;
                }
                return Ok(());
            }
        };
        if sent.len() != messages.len() {
            return Err(format!("{} messages were sent, {} answered", messages.len(), sent.len()));
        }
        let tick = self.tick();
        for (number, sent) in messages.iter().zip(sent) {
            let message = &self.messages[*number];
            if sent.is_duplicate && message.deduplication_id.is_none() {
                return Err(format!("m{number} counts as a duplicate"));
            }
            if let (Some(id), Some(sent_at)) = (message.stored_as, message.sent_at)
                && id != sent.message_id
                && sent.sent_at < sent_at + DEDUPLICATION
                && !message.is_doubtful
                && !message.may_be_twice
                && message.gone.is_none_or(|(_, why)| why != "purged")
            {
                return Err(format!("m{number} was stored twice, as {id} and {}", sent.message_id));
            }
            let clash = self.messages.iter().enumerate().find(|(other, message)| {
                other != number && message.home == queue && message.stored_as == Some(sent.message_id)
            });
            if let Some((other, _)) = clash {
                return Err(format!("m{number} got the id of m{other}"));
            }
            let message = &mut self.messages[*number];
            message.is_stored = true;
            message.batch = None;
            message.sent_tick = tick;
            message.stored_as.get_or_insert(sent.message_id);
            if !sent.is_duplicate {
                message.sent_at.get_or_insert(sent.sent_at);
            }
            message.first_asked = message.first_asked.min(done.began);
            if message.place == Some(queue) && !self.moved[message.family] {
                message.sequence.get_or_insert(sent.sequence);
            }
        }
        Ok(())
    }

    fn deleted(&mut self, queue: u64, held: &Held, result: Result<(), HandleError>, now: Timestamp) -> Check {
        let number = held.message;
        let message = &self.messages[number];
        let settled = self.settled_at(message) == Some(queue);
        let is_fifo = self.queues.get(&queue).is_some_and(|queue| queue.is_fifo);
        match result {
            Ok(()) => {
                let tick = self.tick();
                let message = &mut self.messages[number];
                message.not_as.insert((queue, held.handle.sequence), tick);
                if settled && message.sequence == Some(held.handle.sequence) {
                    message.gone = Some((tick, "deleted"));
                }
                Ok(())
            }
            Err(HandleError::Expired) if is_fifo && !message.is_held(held, now) => Ok(()),
            Err(error) => Err(format!("m{number} cannot be deleted with a good handle: {error}")),
        }
    }

    fn changed(
        &mut self,
        done: &InFlight,
        queue: u64,
        held: &Held,
        timeout: Duration,
        result: Result<(), ChangeVisibilityError>,
        now: Timestamp,
    ) -> Check {
        let number = held.message;
        let tick = self.tick();
        let message = &self.messages[number];
        let is_fifo = self.queues.get(&queue).is_some_and(|queue| queue.is_fifo);
        match result {
            Ok(()) => {
                // Alone, and by the latest receive that is known, it says until when nobody gets the message.
                let latest = message.receive_count == held.handle.receive_number
                    && message.sequence == Some(held.handle.sequence);
                let is_alone = !message.changes_overlap && message.last_change < done.began_tick + 2;
                if !timeout.is_zero() && latest && is_alone && self.settled_at(message) == Some(queue) {
                    let attempt = None;
                    let handle = Some(held.handle).filter(|_| message.window.is_some());
                    let (from, end) = (now, done.began + timeout);
                    self.messages[number].window =
                        Some(Window { from, end, tick, handle, attempt, is_durable: true });
                }
                Ok(())
            }
            Err(ChangeVisibilityError::TotalExceeded) => Ok(()),
            Err(ChangeVisibilityError::NotAvailable) => {
                let must_be = self.is_there(message, now)
                    && self.settled_at(message) == Some(queue)
                    && message.sequence == Some(held.handle.sequence)
                    && (!is_fifo || message.is_held(held, now));
                if must_be {
                    Err(format!("m{number} is there, and its visibility cannot be changed"))
                } else {
                    Ok(())
                }
            }
            Err(error) => Err(format!("m{number}: {error}")),
        }
    }
}
