//! How calls reach the owners and the directory, and how messages are handed to their receivers.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use lambfold_types::{QueueName, Scope};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::error::{ChangeVisibilityError, Error, HandleError};
use crate::message::{HandleParts, MessageState, ReceiveParams};
use crate::queue::{CreateOutcome, NewQueue, Queue, QueueCounts, QueueProperties, QueueSettings};
use crate::shard::{DeadLetter, Outgoing, Stored, Taken};
use crate::store::FencedWrite;

use super::owner::Event;

/// A call to a shard's owner.
pub(crate) enum Command {
    Send {
        messages: Vec<Outgoing>,
        permit: OwnedSemaphorePermit,
        reply: Reply<Stored>,
    },
    Receive {
        params: ReceiveParams,
        reply: Reply<Handover>,
    },
    Delete {
        handles: VecDeque<HandleParts>,
        reply: Reply<Vec<Result<(), HandleError>>>,
    },
    ChangeVisibility {
        changes: VecDeque<(HandleParts, Duration)>,
        reply: Reply<Vec<Result<(), ChangeVisibilityError>>>,
    },
    /// Messages of another shard, and what becomes durable there with them.
    Adopt {
        letters: Vec<DeadLetter>,
        departure: FencedWrite,
        reply: Reply<()>,
    },
    /// Messages in flight, as they shall arrive in another shard, with the handles of the receives; answers how many of
    /// them could be moved.
    Evacuate {
        letters: Vec<DeadLetter>,
        handles: Vec<HandleParts>,
        target: Queue,
        reply: Reply<u64>,
    },
    /// Makes messages visible that the receives of `handles` still have.
    Release {
        handles: Vec<HandleParts>,
        reply: Reply<Vec<Result<(), ChangeVisibilityError>>>,
    },
    Purge {
        reply: Reply<()>,
    },
    /// Messages behind a sequence, as they are, and the sequence to go on behind.
    Peek {
        after: u64,
        max: usize,
        reply: Reply<PeekedPage>,
    },
    Counts {
        reply: Reply<QueueCounts>,
    },
    /// Answers when this node owns the shard; if another one does, that is the error.
    Locate {
        reply: Reply<()>,
    },
    Settings {
        settings: QueueSettings,
        reply: Reply<()>,
    },
    Deleted,
}

/// Messages that were looked at.
#[derive(Debug, Default)]
pub(crate) struct PeekedPage {
    pub(crate) messages: Vec<(Taken, MessageState)>,
    pub(crate) next: Option<u64>,
}

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// A call to the directory.
pub(crate) enum DirectoryCommand {
    Create {
        scope: Scope,
        name: QueueName,
        new: NewQueue,
        reply: Reply<CreateOutcome>,
    },
    /// Answers whether `change` agreed.
    Update {
        queue: Queue,
        change: Change,
        reply: Reply<bool>,
    },
    Delete {
        queue: Queue,
        reply: Reply<()>,
    },
    /// Learns what other nodes changed.
    CatchUp {
        reply: Reply<()>,
    },
}

/// Edits a queue's properties and returns true, or returns false.
pub(crate) type Change = Box<dyn FnOnce(&mut QueueProperties) -> bool + Send>;

/// Messages on the way to a receiver. If it is dropped before it was accepted, because the receiver has gone, the
/// messages return to the head of the queue as if they had not been received.
pub(crate) struct Handover {
    pub(crate) messages: Vec<Taken>,
    back: mpsc::UnboundedSender<Event>,
}

impl Handover {
    /// `back` leads to the tenure that hands the messages out; later ones have read the store.
    pub(crate) fn new(messages: Vec<Taken>, back: mpsc::UnboundedSender<Event>) -> Self {
        Self { messages, back }
    }

    /// The receiver has the messages.
    pub(crate) fn accept(mut self) {
        self.messages.clear();
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        if !self.messages.is_empty() {
            // A tenure that has ended needs nothing back.
            drop(self.back.send(Event::Returned(std::mem::take(&mut self.messages))));
        }
    }
}

/// Where a shard's owner is, as far as this node knows at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    #[default]
    Unknown,
    /// This node owns it.
    Here,
    /// The node at this address does.
    There(Arc<str>),
}

/// [`Whereabouts`], told by the owner task to those who have calls for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedWhereabouts(Arc<RwLock<Whereabouts>>);

impl SharedWhereabouts {
    pub(crate) fn get(&self) -> Whereabouts {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, whereabouts: Whereabouts) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = whereabouts;
    }
}

/// The way to a shard's owner, which starts at the first command.
pub(crate) struct OwnerLink {
    commands: mpsc::Sender<Command>,
    whereabouts: SharedWhereabouts,
    start: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    started: AtomicBool,
    deleted: Arc<AtomicBool>,
}

impl OwnerLink {
    /// `start` spawns the owner that receives the other end of `commands`.
    pub(crate) fn new(
        commands: mpsc::Sender<Command>,
        whereabouts: SharedWhereabouts,
        start: Box<dyn FnOnce() + Send>,
    ) -> Self {
        Self {
            commands,
            whereabouts,
            start: Mutex::new(Some(start)),
            started: AtomicBool::new(false),
            deleted: Arc::default(),
        }
    }

    /// Queues a command, or says at once why not.
    pub(crate) fn send(&self, command: Command) -> Result<(), Error> {
        self.ensure_started();
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => Error::Overloaded,
            TrySendError::Closed(_) => self.closed_reason(),
        })
    }

    /// As [`OwnerLink::send`], but waits for room.
    pub(crate) async fn send_waiting(&self, command: Command) -> Result<(), Error> {
        self.ensure_started();
        self.commands.send(command).await.map_err(|_| self.closed_reason())
    }

    /// Where the shard's owner is, as far as that is known without asking.
    pub(crate) fn whereabouts(&self) -> Whereabouts {
        self.whereabouts.get()
    }

    /// Finds out where the shard's owner is, taking the shard if it has none.
    pub(crate) async fn locate(&self) -> Result<Whereabouts, Error> {
        match self.whereabouts() {
            Whereabouts::Unknown => {}
            known => return Ok(known),
        }
        let (reply, answer) = oneshot::channel();
        self.send_waiting(Command::Locate { reply }).await?;
        match answer.await.unwrap_or_else(|_| Err(self.closed_reason())) {
            Ok(()) => Ok(Whereabouts::Here),
            Err(Error::OwnedElsewhere(address)) => Ok(Whereabouts::There(address)),
            Err(error) => Err(error),
        }
    }

    /// Whether an owner was started, and so has to be told of changes. If not, it will read them when it starts.
    pub(crate) fn is_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    /// From now on the reason for a closed channel is that the queue is gone.
    pub(crate) fn mark_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
    }

    /// Why the owner has ended.
    pub(crate) fn closed_reason(&self) -> Error {
        if self.deleted.load(Ordering::Acquire) { Error::NoSuchQueue } else { Error::Stopping }
    }

    fn ensure_started(&self) {
        if !self.started.load(Ordering::Acquire) {
            let start = self.start.lock().unwrap_or_else(PoisonError::into_inner).take();
            // First, since the owner reads its settings when it starts: see `is_started`.
            self.started.store(true, Ordering::Release);
            if let Some(start) = start {
                start();
            }
        }
    }
}

/// The queues by name.
pub(crate) type Names = BTreeMap<Scope, BTreeMap<QueueName, Queue>>;

/// The way to the directory: look-ups at once, changes through its task.
#[derive(Clone)]
pub(crate) struct DirectoryLink {
    commands: mpsc::Sender<DirectoryCommand>,
    names: Arc<RwLock<Names>>,
}

impl fmt::Debug for DirectoryLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirectoryLink")
    }
}

impl DirectoryLink {
    pub(crate) fn new(commands: mpsc::Sender<DirectoryCommand>, names: Arc<RwLock<Names>>) -> Self {
        Self { commands, names }
    }

    pub(crate) fn send(&self, command: DirectoryCommand) -> Result<(), Error> {
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => Error::Overloaded,
            TrySendError::Closed(_) => Error::Stopping,
        })
    }

    pub(crate) fn get(&self, scope: &Scope, name: &QueueName) -> Option<Queue> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).get(scope)?.get(name).cloned()
    }

    pub(crate) fn list(
        &self,
        scope: &Scope,
        prefix: &str,
        after: Option<&QueueName>,
        max: usize,
    ) -> Vec<Queue> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let Some(queues) = names.get(scope) else { return Vec::new() };
        // A prefix that is no name itself (such as "jobs.") still has to match: walk from its start.
        let start = match (after, prefix.parse::<QueueName>().ok()) {
            (Some(after), Some(from)) if from > *after => Bound::Included(from),
            (Some(after), _) => Bound::Excluded(after.clone()),
            (None, Some(from)) => Bound::Included(from),
            (None, None) => Bound::Unbounded,
        };
        queues
            .range((start, Bound::Unbounded))
            .map(|(_, queue)| queue)
            .filter(|queue| queue.name().as_str().starts_with(prefix))
            .take(max)
            .cloned()
            .collect()
    }
}
