//! Messages that leave for another queue: dead letters, and what a move task asks for. The other owner makes their arrival
//! durable together with their departure from here.

use tokio::sync::oneshot;

use crate::engine::link::Reply;
use crate::error::Error;
use crate::queue::Queue;
use crate::shard::DeadLetter;
use crate::store::FencedWrite;

use super::super::{Event, Owner};
use super::{Tenure, Waiting};

/// Messages that shall be moved.
pub(super) struct Evacuation {
    pub(super) letters: Vec<DeadLetter>,
    pub(super) target: Queue,
    pub(super) reply: Reply<u64>,
}

impl Tenure {
    /// Hands dead letters to the owner of their queue, who makes their arrival durable together with their departure
    /// from here.
    pub(super) fn move_dead_letters(&mut self, owner: &Owner, waiting: &mut Waiting) {
        while self.shard.has_dead_letters() {
            let letters = self.shard.take_dead_letters();
            let redrive = owner.settings.redrive.as_ref();
            let Some(target) = redrive.and_then(|it| owner.place.find(&it.dead_letter_queue)) else {
                self.shard.keep(letters);
                continue;
            };
            let addressed = letters.iter().cloned().map(|letter| owner.place.readdress(letter)).collect();
            let departure = self.departure(&letters);
            self.hand_to(target, addressed, departure, owner, |result| Event::Moved { letters, result });
        }
        let receivers = &waiting.receivers;
        let gone = |number: u64| receivers.get(&number).is_none_or(oneshot::Sender::is_closed);
        for (number, taken) in self.shard.dispatch(gone) {
            self.hand_over(number, taken, waiting);
        }
    }

    /// The same with messages that were asked to be moved.
    pub(super) fn move_evacuees(&mut self, owner: &Owner) {
        for Evacuation { letters, target, reply } in std::mem::take(&mut self.evacuations) {
            let departure = self.departure(&letters);
            let arriving = letters.clone();
            self.hand_to(target, arriving, departure, owner, |result| Event::Evacuated {
                letters,
                result,
                reply,
            });
        }
    }

    /// What has to become durable here when `letters` arrive elsewhere.
    fn departure(&self, letters: &[DeadLetter]) -> FencedWrite {
        FencedWrite { shard: self.shard.key(), epoch: self.epoch, write: self.shard.departure(letters) }
    }

    /// Hands messages to the owner of another shard, and reports how that went. All that this one decided about them is
    /// with the writer, and applied before their departure: here by the order in which the writer gets it; another node's
    /// writer must not get the departure sooner than this one has applied the rest.
    fn hand_to(
        &mut self,
        target: Queue,
        letters: Vec<DeadLetter>,
        departure: FencedWrite,
        owner: &Owner,
        report: impl FnOnce(Result<(), Error>) -> Event + Send + 'static,
    ) {
        let (notify, place) = (self.notify.clone(), owner.place.clone());
        self.moves += 1;
        let written = self.submitted.back_mut().map(|last| {
            let (follower, written) = oneshot::channel();
            last.followers.push(follower);
            written
        });
        owner.place.tasks.spawn("hand over", async move {
            let result = place.deliver(&target, letters, departure, written).await;
            // A tenure that has ended left them in the store, or they are gone from there.
            drop(notify.send(report(result)));
        });
    }

    /// Dead letters have arrived in their queue, or not.
    pub(super) fn moved(&mut self, letters: Vec<DeadLetter>, result: Result<(), Error>) -> Result<(), Error> {
        self.moves -= 1;
        match result {
            Ok(()) => self.shard.moved(&letters),
            Err(Error::NoSuchQueue) => self.shard.keep(letters),
            // Nothing was done.
            Err(
                Error::Overloaded
                | Error::StorageFull
                | Error::Stopping
                | Error::OwnedElsewhere(_)
                | Error::OwnerChanges,
            ) => self.shard.move_later(&letters),
            // It may have been done: the store knows.
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The same of messages that were asked to be moved.
    pub(super) fn evacuated(
        &mut self,
        letters: &[DeadLetter],
        result: Result<(), Error>,
        reply: Reply<u64>,
    ) -> Result<(), Error> {
        self.moves -= 1;
        let outcome = match result {
            Ok(()) => {
                self.shard.moved(letters);
                Ok(letters.len() as u64)
            }
            // It may have been done: the store knows.
            Err(error @ Error::Store(_)) => {
                drop(reply.send(Err(error.clone())));
                return Err(error);
            }
            Err(error) => {
                self.shard.stay(letters);
                Err(error)
            }
        };
        // A task that was stopped meanwhile counts anew when it goes on.
        drop(reply.send(outcome));
        Ok(())
    }
}
