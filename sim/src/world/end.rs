//! Quiet points, and the end of a run: whatever happened, everything is accounted for and can be drained.

use std::time::Duration;

use lambfold_queue::{Error, Queue, ReceiveParams};
use lambfold_types::Clock;

use crate::calls::Call;
use crate::ledger::{Check, LINGER, Sighting};
use crate::network::GIVE_UP;
use crate::store::{LEASE, Rates};

use super::{TURNS, World};

/// How often something is asked again that a node cannot say yet.
const PATIENCE: usize = 200;

/// A client of its own.
const AUDITOR: usize = usize::MAX;

impl World {
    /// Lets everything come to rest, with nothing going wrong any more, and compares.
    pub(super) fn settle(&mut self) -> Check {
        {
            let mut state = self.disk.state();
            state.rates = Rates::default();
            state.full = false;
        }
        self.network.set_loss(0);
        self.recover_all()?;
        self.stalled.clear();
        if let Some(zombie) = &self.zombie {
            // It may still be at what it was asked; but its clients have given up.
            let process = zombie.process;
            self.forget_calls(process);
        }
        if self.is_cluster() {
            // All have leases again by then, and what was lost on its way between them is given up.
            self.live(if self.loss > 0 { GIVE_UP + LEASE } else { LEASE })?;
        }
        self.calm(true)?;
        // What nobody waits for is in the store by then, too.
        self.pass(LINGER + Duration::from_millis(1));
        self.calm(true)?;
        // Shards whose owner is gone are taken by then.
        self.compare()?;
        if self.zombie.is_none() {
            self.ledger.is_quiet(self.clock.now());
        }
        if self.dice.one_in(3) {
            self.bury();
        }
        Ok(())
    }

    /// Until nobody waits for anything.
    fn calm(&mut self, gives_up: bool) -> Check {
        for _ in 0..TURNS {
            let ready = self.executor.ready();
            if !ready.is_empty() {
                let task = self.dice.pick(&ready);
                self.turn(task)?;
                continue;
            }
            if self.calls.is_empty() {
                return Ok(());
            }
            let receives: Vec<u64> = self
                .calls
                .iter()
                .filter(|(_, call)| call.call.is_receive())
                .map(|(number, _)| *number)
                .collect();
            if gives_up && !receives.is_empty() && self.dice.one_in(2) {
                let number = self.dice.pick(&receives);
                self.drop_call(number);
                continue;
            }
            self.pass_to_next("a call is never answered")?;
        }
        Err("it never comes to rest".to_owned())
    }

    fn pass_to_next(&mut self, otherwise: &str) -> Check {
        let next = self.clock.next_deadline().ok_or(otherwise)?;
        let time = next.since(self.clock.now());
        self.pass(time);
        Ok(())
    }

    /// Looks at all that there is.
    fn compare(&mut self) -> Check {
        let mut slot = 0;
        if self.is_cluster() {
            // They know the same queues, and any answers for all.
            for slot in 0..self.slots.len() {
                self.catch_up(slot)?;
                self.find_queues(slot)?;
            }
            slot = self.dice.below(self.slots.len());
        }
        let mut sightings = Vec::new();
        for (_, queue) in self.existing(slot) {
            if let Some(sighting) = self.look_at(slot, &queue)? {
                sightings.push(sighting);
            }
        }
        self.history.note(format_args!("compared: {}", self.ledger.summary()));
        self.ledger.compare(&sightings, self.clock.now())
    }

    /// Has a node learn what the others did.
    fn catch_up(&mut self, slot: usize) -> Check {
        for _ in 0..PATIENCE {
            let handle = self.slots[slot].node.as_ref().ok_or("no process")?.handle.clone();
            if self.ask(slot, async move { handle.catch_up().await })?.is_ok() {
                return Ok(());
            }
            self.pass_to_next("a node never learns what the others did")?;
        }
        Err("a node never learns what the others did".to_owned())
    }

    /// The slot of the node that owns a queue, by what the one in `slot` says of it.
    fn find_owner(&mut self, slot: usize, queue: &Queue) -> Result<usize, String> {
        for _ in 0..PATIENCE {
            let handle = self.slots[slot].node.as_ref().ok_or("no process")?.handle.clone();
            let of = queue.clone();
            let address = match self.ask(slot, async move { handle.locate(&of).await })? {
                Ok(None) => return Ok(slot),
                Ok(Some(address)) => Some(address),
                Err(error) => {
                    self.history.note(format_args!("  where is {queue:?}? {error:?}"));
                    None
                }
            };
            let found = self.slots.iter().position(|it| Some(&*it.address) == address.as_deref());
            if let Some(found) = found
                && self.is_owner(found, queue)?
            {
                return Ok(found);
            }
            self.pass_to_next("a queue never has an owner")?;
        }
        Err(format!("{queue:?} never has an owner"))
    }

    fn is_owner(&mut self, slot: usize, queue: &Queue) -> Result<bool, String> {
        self.catch_up(slot)?;
        let Some(node) = &self.slots[slot].node else { return Ok(false) };
        let handle = node.handle.clone();
        let Ok(known) = handle.queue(queue.scope(), queue.name()) else { return Ok(false) };
        Ok(matches!(self.ask(slot, async move { handle.locate(&known).await })?, Ok(None)))
    }

    fn look_at(&mut self, slot: usize, queue: &Queue) -> Result<Option<Sighting>, String> {
        let slot = if self.is_cluster() { self.find_owner(slot, queue)? } else { slot };
        let handle = self.slots[slot].node.as_ref().ok_or("no process")?.handle.clone();
        let queue =
            &handle.queue(queue.scope(), queue.name()).map_err(|error| format!("{queue:?}: {error}"))?;
        let mut messages = Vec::new();
        let mut after = None;
        let mut patience = 10;
        loop {
            let (of, peeking) = (queue.clone(), handle.clone());
            let page = self.ask(slot, async move { peeking.peek(&of, after, 7).await })?;
            let page = match page {
                Ok(page) => page,
                Err(Error::NoSuchQueue) if self.ledger.queues[&queue.incarnation()].is_doubtful => {
                    // A deletion was thought to have failed. Who tries again is told the truth.
                    let of = queue.clone();
                    let deleted = self.ask(slot, async move { handle.delete_queue(&of).await })?;
                    deleted.map_err(|error| format!("{queue:?} cannot be got rid of: {error}"))?;
                    self.ledger.queue_is_gone(queue.incarnation());
                    return Ok(None);
                }
                // The shard was just lost; it is taken again in a moment.
                Err(Error::Store(_) | Error::Overloaded) if patience > 0 => {
                    patience -= 1;
                    self.pass_to_next("a shard is never taken again")?;
                    continue;
                }
                Err(error) => return Err(format!("{queue:?} cannot be looked at: {error}")),
            };
            messages.extend(page.messages);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let is_moving = self.is_moving_from(queue)?;
        let of = queue.clone();
        let info = self.ask(slot, async move { handle.queue_info(&of).await })?;
        let counts = info.map_err(|error| format!("{queue:?} cannot be counted: {error}"))?.counts;
        Ok(Some(Sighting { queue: queue.incarnation(), messages, counts, is_moving }))
    }

    /// Puts a question to the engine that is no client's, and has it answered without time passing.
    fn ask<T: Send + 'static>(
        &mut self,
        slot: usize,
        question: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, String> {
        let process = self.slots[slot].node.as_ref().ok_or("no process")?.process;
        let (reply, answer) = std::sync::mpsc::channel();
        let future = async move {
            // The receiver is there for as long as the question is.
            drop(reply.send(question.await));
        };
        self.executor.spawn(process, "question", Box::pin(future));
        for _ in 0..TURNS {
            if let Ok(answer) = answer.try_recv() {
                return Ok(answer);
            }
            let ready = self.executor.ready();
            if ready.is_empty() {
                self.pass_to_next("a question is never answered")?;
            } else {
                let task = self.dice.pick(&ready);
                self.turn(task)?;
            }
        }
        Err("a question is never answered".to_owned())
    }

    /// Everything that must be there can be received and deleted, and then nothing is left.
    pub(super) fn end(mut self) -> Check {
        self.history.note("the end");
        self.bury();
        if self.dice.one_in(2) {
            let slot = self.dice.below(self.slots.len());
            self.crash(slot);
            self.boot(slot)?;
            self.settle()?;
        }
        let mut patience = Duration::from_secs(1);
        for _ in 0..300 {
            let mut came = 0;
            let slot = self.dice.below(self.slots.len());
            if self.is_cluster() {
                self.catch_up(slot)?;
            }
            let queues = self.existing(slot);
            for (_, queue) in &queues {
                came += self.drain(slot, queue)?;
            }
            if self.are_empty(slot, &queues)? && !self.is_moving(slot)? {
                self.settle()?;
                let left = self.ledger.left(self.clock.now());
                return if left.is_empty() {
                    Ok(())
                } else {
                    Err(format!("{left:?} are there and do not come"))
                };
            }
            if came == 0 {
                // Some may be invisible for half a day.
                self.pass(patience);
                patience = Duration::from_hours(4).min(patience * 2);
            }
        }
        Err("messages are there and do not come, or are moved for ever".to_owned())
    }

    /// Whether messages are being moved. A move waits while its destination has no room, and so ends at last when that
    /// is drained.
    fn is_moving(&self, slot: usize) -> Result<bool, String> {
        for (_, queue) in self.existing(slot) {
            if self.is_moving_from(&queue)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a task moves messages out of a queue, or will when a node goes on with it.
    fn is_moving_from(&self, queue: &Queue) -> Result<bool, String> {
        let nodes = self.slots.iter().filter_map(|slot| slot.node.as_ref());
        let mut known = nodes.flat_map(|node| node.handle.known_moves(queue));
        if !self.is_cluster() {
            return Ok(known.any(|task| task.status.is_active()));
        }
        let stored = self.disk.active_moves().map_err(|error| error.to_string())?;
        Ok(stored.iter().any(|task| task.source == *queue.name()))
    }

    /// Receives and deletes some messages; returns how many.
    fn drain(&mut self, slot: usize, queue: &Queue) -> Result<usize, String> {
        let params = ReceiveParams {
            max_messages: 10,
            visibility_timeout: Some(Duration::from_secs(30)),
            wait_time: Some(Duration::ZERO),
            attempt_id: None,
        };
        self.held.clear();
        self.begin(AUDITOR, slot, Call::Receive { queue: queue.clone(), params });
        self.calm(false)?;
        let held = std::mem::take(&mut self.held);
        let mut came = 0;
        if !held.is_empty() {
            came = held.len();
            self.begin(AUDITOR, slot, Call::Delete { queue: queue.clone(), held });
            self.calm(false)?;
        }
        Ok(came)
    }

    fn are_empty(&mut self, slot: usize, queues: &[(usize, Queue)]) -> Result<bool, String> {
        let mut total = 0;
        for (_, queue) in queues {
            let slot = if self.is_cluster() { self.find_owner(slot, queue)? } else { slot };
            let handle = self.slots[slot].node.as_ref().ok_or("no process")?.handle.clone();
            let of = handle.queue(queue.scope(), queue.name()).map_err(|error| error.to_string())?;
            let info = self.ask(slot, async move { handle.queue_info(&of).await })?;
            let counts = info.map_err(|error| error.to_string())?.counts;
            total += counts.visible + counts.in_flight + counts.delayed;
        }
        Ok(total == 0)
    }
}
