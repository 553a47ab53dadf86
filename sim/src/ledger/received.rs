//! What receivers get.

use std::time::Duration;

use lambfold_queue::Received;
use lambfold_types::Timestamp;

use crate::calls::{Held, InFlight};

use super::{Check, Ledger, Window};

/// What a receive asked for.
pub(crate) struct Asked<'a> {
    pub(crate) queue: u64,
    pub(crate) timeout: Duration,
    pub(crate) attempt: Option<&'a str>,
    /// Whether it was the process that has since been replaced, and knew nothing of it, that answered.
    pub(crate) by_zombie: bool,
}

impl Ledger {
    /// A receive is answered; returns the handles with their messages.
    pub(crate) fn received(
        &mut self,
        done: &InFlight,
        asked: &Asked<'_>,
        received: &[Received],
    ) -> Result<Vec<Held>, String> {
        if !asked.by_zombie {
            self.count_lost(asked.queue, -1);
        }
        let tick = self.tick();
        let mut held = Vec::new();
        let mut numbers = Vec::new();
        for message in received {
            numbers.push(self.known(message)?);
        }
        for (number, message) in numbers.iter().zip(received) {
            let known = Held { queue: asked.queue, message: *number, handle: message.handle };
            held.push(known);
            if !self.messages[*number].may_be_twice {
                let check = self.check(done, asked, *number, message);
                check.map_err(|error| format!("m{number} of {}: {error}", asked.queue))?;
            }
        }
        if self.queues.get(&asked.queue).is_some_and(|queue| queue.is_fifo) {
            self.check_order(asked, &numbers, received)?;
        }
        for (number, message) in numbers.iter().zip(received) {
            self.take_note(done, asked, *number, message, tick);
        }
        Ok(held)
    }

    /// The number of a message, which is in its body.
    pub(super) fn known(&self, received: &Received) -> Result<usize, String> {
        let body = String::from_utf8_lossy(&received.body);
        let number = body.split(' ').next().and_then(|name| name.strip_prefix('m')?.parse().ok());
        let number = number.filter(|number| *number < self.messages.len());
        number.ok_or_else(|| format!("a message that nobody sent: {body}"))
    }

    fn check(&self, done: &InFlight, asked: &Asked<'_>, number: usize, received: &Received) -> Check {
        let message = &self.messages[number];
        let queue = asked.queue;
        let family = self.queues.get(&queue).map(|queue| queue.family);
        if family != Some(message.family) {
            return Err("it came to a queue that it was never sent to".to_owned());
        }
        if message.sends_in_flight == 0 && !message.is_stored && !message.is_unknown {
            return Err("it was refused, and handed out all the same".to_owned());
        }
        if let Some((tick, why)) = message.gone
            && tick < done.began_tick
        {
            return Err(format!("it came back although it was gone: {why}"));
        }
        if message.not_as.get(&(queue, received.handle.sequence)).is_some_and(|tick| *tick < done.began_tick)
        {
            return Err("its delete was acknowledged".to_owned());
        }
        // It may have been seen elsewhere while this answer was on its way.
        let is_news = message.placed_tick < done.began_tick;
        let settled = self.settled_at(message).filter(|place| *place != queue && is_news);
        if let Some(place) = settled.filter(|_| !asked.by_zombie) {
            return Err(format!("it had no reason to leave {place}"));
        }
        let decided = Self::decided(asked, received);
        let is_home = message.home == queue && !self.moved[message.family];
        if is_home {
            if let Some(id) = message.stored_as.filter(|id| *id != received.message_id) {
                return Err(format!("its id was {id} and is {}", received.message_id));
            }
            let longest = self.queues.get(&queue).map(|queue| queue.longest_retention).unwrap_or_default();
            if let Some(sent_at) = message.sent_at {
                if sent_at + longest <= decided {
                    return Err("its retention period was over".to_owned());
                }
                if let Some(delay) = message.delay.filter(|delay| decided < sent_at + *delay) {
                    return Err(format!("it was delayed by {delay:?}"));
                }
            }
        }
        let is_fifo = self.queues.get(&queue).is_some_and(|queue| queue.is_fifo);
        if asked.by_zombie && !is_fifo {
            return Ok(());
        }
        // A repeated attempt is answered with the handle that it had, under whatever epoch that was given (facts, SQS §6.5).
        if let Some(since) = self.outdated(received).filter(|_| asked.attempt.is_none()) {
            if decided > since {
                return Err(format!("handed out at {decided} by who had lost the queue at {since}"));
            }
            // That the receive was cut off its successor cannot know.
            if !is_fifo {
                return Ok(());
            }
        }
        self.check_window(done, asked, number, received, decided)
    }

    /// If a receive was decided under an epoch that is over: when the one after it, or a later one, began.
    fn outdated(&self, received: &Received) -> Option<Timestamp> {
        let (epoch, since) = self.epochs.get(&received.handle.incarnation)?;
        (received.handle.epoch < *epoch).then_some(*since)
    }

    /// One receiver per visibility window.
    fn check_window(
        &self,
        done: &InFlight,
        asked: &Asked<'_>,
        number: usize,
        received: &Received,
        decided: Timestamp,
    ) -> Check {
        let message = &self.messages[number];
        let Some(window) = &message.window else { return Ok(()) };
        let repeats = asked.attempt.is_some() && window.attempt.as_deref() == asked.attempt;
        if repeats {
            return Ok(());
        }
        let is_later = decided > window.from || decided == window.from && window.tick < done.began_tick;
        if is_later && decided < window.end {
            return Err(format!(
                "handed out at {decided} while another has it from {} to {}",
                window.from, window.end
            ));
        }
        // Decided earlier, and seen later: then its own window has to be over before the other begins.
        let is_earlier = decided < window.from && window.handle.is_some();
        let is_undisturbed = message.changes_in_flight == 0 && message.last_change < done.began_tick;
        if is_earlier && is_undisturbed && !asked.by_zombie && window.from < decided + asked.timeout {
            return Err(format!("another got it at {} although it was held since {decided}", window.from));
        }
        let here = (asked.queue, received.handle.sequence);
        if is_later
            && let Some((_, before)) = message.last_count.filter(|(place, _)| *place == here)
            && received.receive_count <= before
        {
            return Err(format!("its receive count was {before} and is {}", received.receive_count));
        }
        Ok(())
    }

    /// In a group nothing is handed out while something before it is there.
    fn check_order(&self, asked: &Asked<'_>, numbers: &[usize], received: &[Received]) -> Check {
        let queue = asked.queue;
        let longest_delay = self.queues.get(&queue).map(|queue| queue.longest_delay).unwrap_or_default();
        for (place, (number, message)) in numbers.iter().zip(received).enumerate() {
            let group = message.system.message_group_id.as_deref();
            let sequence = message.handle.sequence;
            let decided = Self::decided(asked, message);
            let overtaken = received[..place].iter().any(|earlier| {
                earlier.system.message_group_id.as_deref() == group && earlier.handle.sequence > sequence
            });
            if overtaken {
                return Err(format!("m{number} came behind one that was sent after it"));
            }
            let before = self.messages.iter().enumerate().find(|(other, it)| {
                it.group.as_deref() == group
                    && it.sequence.is_some_and(|it| it < sequence)
                    && self.settled_at(it) == Some(queue)
                    && self.is_there(it, decided)
                    && !it.may_be_twice
                    && !numbers.contains(other)
                    && it.sent_at.is_some_and(|sent_at| sent_at + longest_delay <= decided)
            });
            if let Some((other, _)) = before {
                return Err(format!("m{number} was handed out before m{other} of the same group was done"));
            }
        }
        Ok(())
    }

    fn take_note(
        &mut self,
        done: &InFlight,
        asked: &Asked<'_>,
        number: usize,
        received: &Received,
        tick: u64,
    ) {
        let is_fifo = self.queues.get(&asked.queue).is_some_and(|queue| queue.is_fifo);
        let is_cut_off = self.outdated(received).is_some() && !is_fifo;
        let decided = Self::decided(asked, received);
        let message = &mut self.messages[number];
        if !message.is_stored {
            message.is_stored = true;
            message.sent_tick = tick;
        }
        if asked.by_zombie {
            return;
        }
        message.sent_at.get_or_insert(received.sent_at);
        if message.place != Some(asked.queue) && message.placed_tick >= done.began_tick {
            // Here and there, and who knows in which order.
            message.place = None;
            message.window = None;
            message.last_count = None;
            return;
        }
        message.sequence = Some(received.handle.sequence);
        if message.place != Some(asked.queue) {
            message.place = Some(asked.queue);
            message.placed_tick = tick;
        }
        message.receive_count = message.receive_count.max(received.receive_count);
        let is_latest = message.window.as_ref().is_none_or(|window| window.from <= decided);
        if !is_latest {
            return;
        }
        let is_undisturbed = message.changes_in_flight == 0 && message.last_change < done.began_tick;
        let is_certain = !is_cut_off && is_undisturbed && !message.changes_overlap;
        let here = (asked.queue, received.handle.sequence);
        message.last_count = is_certain.then_some((here, received.receive_count));
        message.window = is_certain.then(|| Window {
            from: decided,
            end: received.visible_at,
            tick,
            handle: Some(received.handle),
            attempt: asked.attempt.map(str::to_owned),
            is_durable: is_fifo,
        });
    }

    /// When a receive was decided.
    fn decided(asked: &Asked<'_>, received: &Received) -> Timestamp {
        received.visible_at - asked.timeout
    }
}
