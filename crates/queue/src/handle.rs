//! The only way into the engine.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use lambfold_types::{Entropy, QueueName, Scope, Sealer, uuid_v4};
use tokio::sync::{Semaphore, oneshot};
use uuid::Uuid;

use crate::engine::{Command, DirectoryCommand, DirectoryLink, Handover, Moves, PeekedPage, Whereabouts};
use crate::error::{ChangeVisibilityError, Error, HandleError};
use crate::mac::MacKeys;
use crate::message::{
    HandleParts, NewMessage, Peeked, ReceiveParams, Received, Sent, decode, deduplication_digest, seal,
    without_group,
};
use crate::metrics::QueueStatistics;
use crate::move_task::MoveTask;
use crate::queue::{CreateOutcome, NewQueue, Queue, QueueInfo, QueueProperties};
use crate::shard::{DeadLetter, Outgoing, Taken};
use crate::store::{FencedWrite, StoreError};

/// Typed access to queues and messages; cheap to clone. Every method either did the whole of what it says, durably,
/// or returns an error; where the outcome of a failed commit is unknown, the error says that the store failed.
#[derive(Clone)]
pub struct QueueHandle {
    shared: Arc<Shared>,
}

struct Shared {
    directory: DirectoryLink,
    moves: Moves,
    sealer: Arc<dyn Sealer>,
    entropy: Arc<dyn Entropy>,
    mac_keys: MacKeys,
    /// Permits are bytes of messages on their way to a commit.
    uncommitted: Arc<Semaphore>,
}

impl QueueHandle {
    pub(crate) fn new(
        directory: DirectoryLink,
        moves: Moves,
        sealer: Arc<dyn Sealer>,
        entropy: Arc<dyn Entropy>,
        mac_keys: MacKeys,
        uncommitted_bytes: usize,
    ) -> Self {
        let permits = uncommitted_bytes.min(Semaphore::MAX_PERMITS);
        let uncommitted = Arc::new(Semaphore::new(permits));
        Self { shared: Arc::new(Shared { directory, moves, sealer, entropy, mac_keys, uncommitted }) }
    }

    /// The keys for receipt handles.
    pub fn mac_keys(&self) -> &MacKeys {
        &self.shared.mac_keys
    }

    /// Creates a queue, unless one of that name exists.
    pub async fn create_queue(
        &self,
        scope: Scope,
        name: QueueName,
        new: NewQueue,
    ) -> Result<CreateOutcome, Error> {
        self.direct(|reply| DirectoryCommand::Create { scope, name, new, reply }).await
    }

    /// Finds a queue by name. Does not wait.
    pub fn queue(&self, scope: &Scope, name: &QueueName) -> Result<Queue, Error> {
        self.shared.directory.get(scope, name).ok_or(Error::NoSuchQueue)
    }

    /// Up to `max` queues whose names start with `prefix`, by name, behind `after`. Does not wait.
    pub fn list_queues(
        &self,
        scope: &Scope,
        prefix: &str,
        after: Option<&QueueName>,
        max: usize,
    ) -> Vec<Queue> {
        self.shared.directory.list(scope, prefix, after, max)
    }

    /// Deletes the queue and all its messages. Receives that wait fail with [`Error::NoSuchQueue`].
    pub async fn delete_queue(&self, queue: &Queue) -> Result<(), Error> {
        self.direct(|reply| DirectoryCommand::Delete { queue: queue.clone(), reply }).await
    }

    /// The queue's properties and exact counts.
    pub async fn queue_info(&self, queue: &Queue) -> Result<QueueInfo, Error> {
        let counts = self.ask(queue, |reply| Command::Counts { reply }).await??;
        Ok(QueueInfo {
            properties: queue.properties(),
            created_at: queue.created_at(),
            modified_at: queue.modified_at(),
            counts,
        })
    }

    /// Changes the queue's properties: `change` gets the current ones, alone, and edits them or refuses. What it
    /// leaves as it was costs no write and does not touch the time of modification. In force when this returns.
    pub async fn update_queue<F, E>(&self, queue: &Queue, change: F) -> Result<Result<(), E>, Error>
    where
        F: FnOnce(&mut QueueProperties) -> Result<(), E> + Send + 'static,
        E: Send + 'static,
    {
        let (refuse, refused) = oneshot::channel();
        let change = Box::new(move |properties: &mut QueueProperties| match change(properties) {
            Ok(()) => true,
            Err(error) => {
                // If the caller has gone, nobody needs the reason.
                drop(refuse.send(error));
                false
            }
        });
        let done =
            self.direct(|reply| DirectoryCommand::Update { queue: queue.clone(), change, reply }).await?;
        if done { Ok(Ok(())) } else { refused.await.map(Err).map_err(|_| Error::Stopping) }
    }

    /// Stores messages, all or none, and answers when they are durable; in the order given. A FIFO queue answers for a
    /// duplicate with the message that it has.
    pub async fn send(&self, queue: &Queue, messages: Vec<NewMessage>) -> Result<Vec<Sent>, Error> {
        let kind = queue.kind();
        let mut ids = Vec::with_capacity(messages.len());
        let mut outgoing = Vec::with_capacity(messages.len());
        let sent_bytes = messages.iter().map(NewMessage::size).sum();
        for message in messages {
            let message_id = uuid_v4(&*self.shared.entropy);
            let record = seal(&*self.shared.sealer, message_id, &message);
            let deduplication = deduplication_digest(kind, &message.system);
            ids.push(message_id);
            outgoing.push(Outgoing { record, delay: message.delay, message_id, deduplication });
        }
        let bytes = outgoing.iter().map(|message| message.record.len()).sum::<usize>();
        let permits = u32::try_from(bytes).map_err(|_| Error::Overloaded)?;
        let permit = Arc::clone(&self.shared.uncommitted)
            .try_acquire_many_owned(permits)
            .map_err(|_| Error::Overloaded)?;
        let stored = self.ask(queue, |reply| Command::Send { messages: outgoing, permit, reply }).await??;
        let statistics = queue.statistics();
        QueueStatistics::add(&statistics.sent, ids.len() - stored.originals.len());
        QueueStatistics::add(&statistics.deduplicated, stored.originals.len());
        QueueStatistics::add(&statistics.sent_bytes, sent_bytes);
        Ok(ids
            .into_iter()
            .zip(stored.sequences)
            .enumerate()
            .map(|(place, (message_id, sequence))| Sent {
                message_id: stored.originals.get(&place).copied().unwrap_or(message_id),
                sequence,
                is_duplicate: stored.originals.contains_key(&place),
                sent_at: stored.sent_at,
            })
            .collect())
    }

    /// Receives messages, waiting for the first one if `params` says so; never waits to fill up. Dropping the future
    /// ends the wait and takes no message.
    pub async fn receive(&self, queue: &Queue, params: ReceiveParams) -> Result<Vec<Received>, Error> {
        let handover: Handover = self.ask(queue, |reply| Command::Receive { params, reply }).await??;
        let received = self.open(queue, handover)?;
        let statistics = queue.statistics();
        match received.len() {
            0 => QueueStatistics::add(&statistics.empty_receives, 1),
            count => QueueStatistics::add(&statistics.received, count),
        }
        Ok(received)
    }

    /// Deletes messages, and answers when that is durable. A message that is already gone counts as deleted.
    pub async fn delete(
        &self,
        queue: &Queue,
        handles: Vec<HandleParts>,
    ) -> Result<Vec<Result<(), HandleError>>, Error> {
        let results =
            self.ask(queue, |reply| Command::Delete { handles: VecDeque::from(handles), reply }).await??;
        QueueStatistics::add(
            &queue.statistics().deleted,
            results.iter().filter(|result| result.is_ok()).count(),
        );
        Ok(results)
    }

    /// Changes how long messages stay invisible, from now; zero makes them visible at once. Answers when durable.
    pub async fn change_visibility(
        &self,
        queue: &Queue,
        changes: Vec<(HandleParts, Duration)>,
    ) -> Result<Vec<Result<(), ChangeVisibilityError>>, Error> {
        self.ask(queue, |reply| Command::ChangeVisibility { changes: VecDeque::from(changes), reply }).await?
    }

    /// Removes all messages, whatever their state.
    pub async fn purge(&self, queue: &Queue) -> Result<(), Error> {
        self.ask(queue, |reply| Command::Purge { reply }).await?
    }

    /// Starts to move the visible messages of `source` to `destination`, or back to where each came from;
    /// [`Error::MoveInProgress`] if that is being done already.
    pub async fn start_move(
        &self,
        source: &Queue,
        destination: Option<QueueName>,
        per_second: Option<u32>,
    ) -> Result<MoveTask, Error> {
        self.shared.moves.start(self, source, destination, per_second).await
    }

    /// The tasks that move messages of `source`, and the last ones that did, the newest first.
    pub async fn moves(&self, source: &Queue) -> Result<Vec<MoveTask>, Error> {
        self.shared.moves.list(source).await
    }

    /// The same by what this node knows, which is all where it is the only one. Does not wait.
    pub fn known_moves(&self, source: &Queue) -> Vec<MoveTask> {
        self.shared.moves.known(source)
    }

    /// Ends a task that runs; returns how many messages it has moved, or `None` if there is no such task.
    pub async fn cancel_move(&self, source: &Queue, id: Uuid) -> Result<Option<u64>, Error> {
        self.shared.moves.cancel(source, id).await
    }

    fn open(&self, queue: &Queue, handover: Handover) -> Result<Vec<Received>, Error> {
        // `collect` would make room for four.
        let mut received = Vec::with_capacity(handover.messages.len());
        for taken in &handover.messages {
            received.push(self.open_one(queue, taken)?);
        }
        handover.accept();
        Ok(received)
    }

    fn open_one(&self, queue: &Queue, taken: &Taken) -> Result<Received, Error> {
        let opened = self.shared.sealer.open(without_group(&taken.record)).map_err(|error| error.to_string());
        let record = opened.and_then(|plain| decode(plain).map_err(|error| error.to_string()));
        let record = record.map_err(|detail| StoreError::Inconsistent { table: "messages", detail })?;
        Ok(Received {
            message_id: record.message_id,
            handle: HandleParts {
                incarnation: queue.incarnation(),
                shard: 0,
                epoch: taken.epoch,
                sequence: taken.sequence,
                receive_number: taken.receive_count,
            },
            body: record.body,
            attributes: record.attributes,
            md5_of_body: record.md5_of_body,
            sent_at: record.system.first_sent_at.unwrap_or(taken.sent_at),
            system: record.system,
            receive_count: taken.receive_count,
            first_received_at: taken.first_received_at,
            visible_at: taken.visible_at,
        })
    }

    /// Looks at up to `max` messages behind the sequence `after`, in the order they were sent, whatever their state.
    /// Changes nothing.
    pub async fn peek(&self, queue: &Queue, after: Option<u64>, max: usize) -> Result<Peeked, Error> {
        let after = after.unwrap_or_default();
        let page: PeekedPage = self.ask(queue, |reply| Command::Peek { after, max, reply }).await??;
        let open = |(taken, state)| Ok((self.open_one(queue, &taken)?, state));
        let messages = page.messages.into_iter().map(open).collect::<Result<_, Error>>()?;
        Ok(Peeked { messages, next: page.next })
    }

    /// Where calls about `queue` are answered: `None` for this node, which takes the queue if nobody owns it, or the
    /// address of the node that does. [`Error::OwnerChanges`] if this node cannot tell at the moment.
    pub async fn locate(&self, queue: &Queue) -> Result<Option<Arc<str>>, Error> {
        if queue.link().whereabouts() == Whereabouts::Unknown {
            // A queue that is taken is taken with its latest settings.
            self.catch_up().await?;
        }
        match queue.link().locate().await? {
            Whereabouts::There(address) => Ok(Some(address)),
            Whereabouts::Here | Whereabouts::Unknown => Ok(None),
        }
    }

    /// Learns what other nodes on the same store have made, changed and deleted until now.
    pub async fn catch_up(&self) -> Result<(), Error> {
        self.direct(|reply| DirectoryCommand::CatchUp { reply }).await
    }

    /// Takes messages that leave a queue of another node; see [`crate::peers`]. After [`Error::Stopping`] they may be here.
    pub(crate) async fn adopt(
        &self,
        scope: &Scope,
        name: &QueueName,
        incarnation: u64,
        letters: Vec<DeadLetter>,
        departure: FencedWrite,
    ) -> Result<(), Error> {
        let find = || self.queue(scope, name).ok().filter(|queue| queue.incarnation() == incarnation);
        let target = if let Some(target) = find() {
            target
        } else {
            self.catch_up().await?;
            find().ok_or(Error::NoSuchQueue)?
        };
        let (reply, answer) = oneshot::channel();
        // Who stops takes nothing any more, which is not the same as to have taken it and not to say what came of it.
        target.link().send(Command::Adopt { letters, departure, reply }).map_err(|error| match error {
            Error::Stopping => Error::OwnerChanges,
            error => error,
        })?;
        answer.await.unwrap_or_else(|_| Err(target.link().closed_reason()))
    }

    /// Puts a command to the queue's owner and waits for its answer.
    async fn ask<T>(
        &self,
        queue: &Queue,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        queue.link().send(command(reply))?;
        answer.await.map_err(|_| queue.link().closed_reason())
    }

    async fn direct<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> DirectoryCommand,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.shared.directory.send(command(reply))?;
        answer.await.map_err(|_| Error::Stopping)?
    }
}
