//! Where a queue stands among the others: what it takes to send its dead letters on.

use std::sync::{Arc, PoisonError, RwLock};

use lambfold_types::{Arn, QueueName, Scope, Sealer};
use tokio::sync::oneshot;

use crate::engine::link::{Command, Names, Whereabouts};
use crate::engine::tasks::Tasks;
use crate::error::Error;
use crate::message::{group_of, set_dead_letter_source, with_group, without_group};
use crate::peers::{self, Carrier};
use crate::queue::Queue;
use crate::shard::DeadLetter;
use crate::store::FencedWrite;

/// A queue's name, and the way to the others.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) scope: Scope,
    pub(crate) name: QueueName,
    pub(crate) names: Arc<RwLock<Names>>,
    pub(crate) sealer: Arc<dyn Sealer>,
    pub(crate) tasks: Tasks,
    /// Where nodes share the store.
    pub(crate) carrier: Option<Arc<dyn Carrier>>,
}

impl Place {
    /// Another queue of the same account and region; a queue is no dead-letter queue of its own.
    pub(super) fn find(&self, name: &QueueName) -> Option<Queue> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.get(&self.scope)?.get(name).filter(|queue| *queue.name() != self.name).cloned()
    }

    /// Has the owner of `target`, wherever that is, make the arrival of `letters` durable together with `departure`; on
    /// another node when what was `written` here before is durable.
    pub(super) async fn deliver(
        &self,
        target: &Queue,
        letters: Vec<DeadLetter>,
        departure: FencedWrite,
        written: Option<oneshot::Receiver<()>>,
    ) -> Result<(), Error> {
        let link = target.link();
        if let Some(carrier) = &self.carrier
            && let Whereabouts::There(address) = link.locate().await?
        {
            if let Some(written) = written {
                // If it never is, the shard is read anew, and nothing has left it.
                written.await.map_err(|_| Error::OwnerChanges)?;
            }
            return peers::adopt(&**carrier, &address, target, letters, departure).await;
        }
        let (reply, done) = oneshot::channel();
        link.send_waiting(Command::Adopt { letters, departure, reply }).await?;
        done.await.unwrap_or_else(|_| Err(link.closed_reason()))
    }

    /// The letter as it arrives: with this queue as its source. One that cannot be read travels as it is.
    pub(super) fn readdress(&self, letter: DeadLetter) -> DeadLetter {
        let source = Arn::queue(&self.scope, self.name.as_str()).to_string();
        // A FIFO queue counts retention from the arrival, so that the time of the first send has to be kept apart.
        let sent_at = self.name.is_fifo().then_some(letter.sent_at);
        let record = match self.sealer.open(without_group(&letter.record)) {
            Ok(plain) => {
                set_dead_letter_source(plain, &source, sent_at).map(|record| self.sealer.seal(&record))
            }
            Err(_) => None,
        };
        match (record, std::str::from_utf8(group_of(&letter.record)).unwrap_or_default()) {
            (Some(record), "") => DeadLetter { record, ..letter },
            (Some(record), group) => DeadLetter { record: with_group(&record, group), ..letter },
            (None, _) => letter,
        }
    }
}
