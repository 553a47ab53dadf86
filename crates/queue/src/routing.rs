//! Any node answers for any queue: a call about a queue that another node owns is passed on to it, whole, and its answer
//! returned (DESIGN §3, many nodes). How it travels is for whoever routes it to say.

use std::sync::Arc;
use std::time::Duration;

use lambfold_types::{Clock, QueueName, Scope, Timestamp};

use crate::{Error, QueueHandle};

/// For how long a call looks for the owner: longer than a lease, so that callers see a slow answer where a node dies.
const PATIENCE: Duration = Duration::from_secs(8);

/// Between attempts; the owner tasks ask the store as often.
const PAUSE: Duration = Duration::from_millis(200);

/// How often a call that was passed on looks whether the node that has it still owns the queue.
const DOUBT: Duration = Duration::from_secs(1);

/// A call to be routed.
#[derive(Debug)]
pub struct Route<'a> {
    /// The account and region of the queue that it is about.
    pub scope: &'a Scope,
    /// The queue's name.
    pub name: &'a QueueName,
    /// Until when its caller waits, if that is known.
    pub deadline: Option<Timestamp>,
    /// Whether another node passed it on, so that it is answered here or not at all.
    pub passed_on: bool,
    /// Whether it does no harm if it is done twice.
    pub repeatable: bool,
}

/// What came of passing a call on, but for its answer; `E` is what the other node refuses with.
#[derive(Debug)]
pub enum NotPassedOn<E> {
    /// The node never got it.
    NotSent,
    /// The node does not own the queue any more; nothing was done.
    OwnerChanges,
    /// The node answered that.
    Refused(E),
    /// The node may have done it or not.
    Lost,
}

/// Why a call has no answer.
#[derive(Debug)]
pub enum Unrouted<E> {
    /// Its owner could not be found; nothing was done.
    Engine(Error),
    /// The owner answered that.
    Refused(E),
    /// It may have been done or not.
    Lost,
}

impl Route<'_> {
    /// Has the call answered by the node that owns its queue: `None` says that `engine`'s node does, or that there is no
    /// such queue, which is then for the operation to say. `pass_on` brings the call to the node at an address.
    pub async fn answer<T, E, F>(
        &self,
        engine: &QueueHandle,
        clock: &dyn Clock,
        pass_on: impl Fn(Arc<str>) -> F,
    ) -> Result<Option<T>, Unrouted<E>>
    where
        F: Future<Output = Result<T, NotPassedOn<E>>>,
    {
        let patience = clock.now() + PATIENCE;
        let give_up = self.deadline.map_or(patience, |deadline| deadline.min(patience));
        loop {
            match self.owner(engine).await {
                Ok(None) => return Ok(None),
                Ok(Some(_)) if self.passed_on => return Err(Unrouted::Engine(Error::OwnerChanges)),
                Ok(Some(address)) => {
                    let lost = tokio::select! {
                        biased;
                        answer = pass_on(Arc::clone(&address)) => match answer {
                            Ok(answer) => return Ok(Some(answer)),
                            Err(NotPassedOn::NotSent | NotPassedOn::OwnerChanges) => false,
                            Err(NotPassedOn::Refused(error)) => return Err(Unrouted::Refused(error)),
                            Err(NotPassedOn::Lost) => true,
                        },
                        () = self.until_lost(engine, clock, &address) => true,
                    };
                    // What may have been done is only asked for again if that does no harm.
                    if lost && !self.repeatable {
                        return Err(Unrouted::Lost);
                    }
                }
                Err(Error::OwnerChanges | Error::OwnedElsewhere(_)) => {}
                Err(error) => return Err(Unrouted::Engine(error)),
            }
            let again = clock.now() + PAUSE;
            if again >= give_up {
                return Err(Unrouted::Engine(Error::OwnerChanges));
            }
            clock.sleep_until(again).await;
        }
    }

    /// Completes when the node at `address` does not own the queue any more: it may hang, and never answer.
    async fn until_lost(&self, engine: &QueueHandle, clock: &dyn Clock, address: &str) {
        loop {
            clock.sleep_until(clock.now() + DOUBT).await;
            match self.owner(engine).await {
                Ok(Some(owner)) if &*owner == address => {}
                Ok(_) => return,
                // Nothing is known: the call may yet be answered.
                Err(_) => {}
            }
        }
    }

    /// The address of the node that owns the queue; `None` if this one does, or there is no such queue.
    async fn owner(&self, engine: &QueueHandle) -> Result<Option<Arc<str>>, Error> {
        if let Ok(known) = engine.queue(self.scope, self.name) {
            match engine.locate(&known).await {
                Err(Error::NoSuchQueue) => {}
                located => return located,
            }
        }
        // It may be new, or deleted and made again, by another node.
        engine.catch_up().await?;
        match engine.queue(self.scope, self.name) {
            Ok(queue) => engine.locate(&queue).await,
            Err(_) => Ok(None),
        }
    }
}
