//! What clients ask of the engine, and what they are answered.

use std::time::Duration;

use lambfold_queue::{
    ChangeVisibilityError, CreateOutcome, Error, HandleError, HandleParts, NewMessage, NewQueue, Queue,
    QueueHandle, QueueSettings, ReceiveParams, Received, Sent,
};
use lambfold_types::{QueueName, Scope, Timestamp};
use uuid::Uuid;

/// A receipt handle and the message it is of, by its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) queue: u64,
    pub(crate) message: usize,
    pub(crate) handle: HandleParts,
}

/// A call of a client.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    /// Messages by their numbers.
    Send {
        queue: Queue,
        messages: Vec<usize>,
    },
    Receive {
        queue: Queue,
        params: ReceiveParams,
    },
    Delete {
        queue: Queue,
        held: Vec<Held>,
    },
    Change {
        queue: Queue,
        held: Vec<(Held, Duration)>,
    },
    Purge {
        queue: Queue,
    },
    Create {
        name: QueueName,
        new: NewQueue,
    },
    DeleteQueue {
        queue: Queue,
    },
    Settings {
        queue: Queue,
        settings: QueueSettings,
    },
    StartMove {
        source: Queue,
        destination: Option<QueueName>,
        per_second: Option<u32>,
    },
    CancelMove {
        source: Queue,
        id: Uuid,
    },
}

impl Call {
    /// Whether it changes queues rather than messages.
    pub(crate) fn is_of_directory(&self) -> bool {
        matches!(
            self,
            Self::Create { .. }
                | Self::DeleteQueue { .. }
                | Self::Settings { .. }
                | Self::StartMove { .. }
                | Self::CancelMove { .. }
        )
    }

    pub(crate) fn is_receive(&self) -> bool {
        matches!(self, Self::Receive { .. })
    }

    /// Whether it may be done twice: as the operations of SQS say of themselves.
    pub(crate) fn is_repeatable(&self) -> bool {
        match self {
            Self::Delete { .. }
            | Self::Change { .. }
            | Self::Create { .. }
            | Self::DeleteQueue { .. }
            | Self::Settings { .. }
            | Self::CancelMove { .. } => true,
            Self::Send { .. } | Self::Receive { .. } | Self::Purge { .. } | Self::StartMove { .. } => false,
        }
    }

    /// The queue that it is about, as the node that it was put to knows it.
    pub(crate) fn queue(&self) -> Option<&Queue> {
        match self {
            Self::Create { .. } => None,
            Self::Send { queue, .. }
            | Self::Receive { queue, .. }
            | Self::Delete { queue, .. }
            | Self::Change { queue, .. }
            | Self::Purge { queue }
            | Self::DeleteQueue { queue }
            | Self::Settings { queue, .. } => Some(queue),
            Self::StartMove { source, .. } | Self::CancelMove { source, .. } => Some(source),
        }
    }

    /// The same about the queue as another node knows it.
    pub(crate) fn about(mut self, known: Queue) -> Self {
        match &mut self {
            Self::Create { .. } => {}
            Self::Send { queue, .. }
            | Self::Receive { queue, .. }
            | Self::Delete { queue, .. }
            | Self::Change { queue, .. }
            | Self::Purge { queue }
            | Self::DeleteQueue { queue }
            | Self::Settings { queue, .. } => *queue = known,
            Self::StartMove { source, .. } | Self::CancelMove { source, .. } => *source = known,
        }
        self
    }

    /// What is answered if it fails as a whole.
    pub(crate) fn failed(&self, error: Error) -> Answer {
        match self {
            Self::Send { .. } => Answer::Sent(Err(error)),
            Self::Receive { .. } => Answer::Received(Err(error)),
            Self::Delete { .. } => Answer::Deleted(Err(error)),
            Self::Change { .. } => Answer::Changed(Err(error)),
            Self::Create { .. } => Answer::Created(Err(error)),
            Self::StartMove { .. } => Answer::Moving(Err(error)),
            Self::Purge { .. }
            | Self::DeleteQueue { .. }
            | Self::Settings { .. }
            | Self::CancelMove { .. } => Answer::Done(Err(error)),
        }
    }

    /// What it asks for, in a word.
    pub(crate) fn verb(&self) -> &'static str {
        match self {
            Self::Send { .. } => "send",
            Self::Receive { .. } => "receive",
            Self::Delete { .. } => "delete",
            Self::Change { .. } => "change",
            Self::Purge { .. } => "purge",
            Self::Create { .. } => "create",
            Self::DeleteQueue { .. } => "delete queue",
            Self::Settings { .. } => "settings",
            Self::StartMove { .. } => "start move",
            Self::CancelMove { .. } => "cancel move",
        }
    }
}

/// A call on its way.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    pub(crate) client: usize,
    pub(crate) process: u32,
    pub(crate) call: Call,
    /// When it began, by the clock and by the ledger's count of events.
    pub(crate) began: Timestamp,
    pub(crate) began_tick: u64,
    pub(crate) task: u64,
}

/// What a call was answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Sent(Result<Vec<Sent>, Error>),
    Received(Result<Vec<Received>, Error>),
    Deleted(Result<Vec<Result<(), HandleError>>, Error>),
    Changed(Result<Vec<Result<(), ChangeVisibilityError>>, Error>),
    Created(Result<CreateOutcome, Error>),
    Moving(Result<Uuid, Error>),
    Done(Result<(), Error>),
}

impl Answer {
    /// What it failed with, as a whole.
    pub(crate) fn error(&self) -> Option<&Error> {
        match self {
            Self::Sent(result) => result.as_ref().err(),
            Self::Received(result) => result.as_ref().err(),
            Self::Deleted(result) => result.as_ref().err(),
            Self::Changed(result) => result.as_ref().err(),
            Self::Created(result) => result.as_ref().err(),
            Self::Moving(result) => result.as_ref().err(),
            Self::Done(result) => result.as_ref().err(),
        }
    }
}

/// Puts a call to the engine. `messages` are those of a send.
pub(crate) async fn perform(handle: QueueHandle, call: Call, messages: Vec<NewMessage>) -> Answer {
    match call {
        Call::Send { queue, .. } => Answer::Sent(handle.send(&queue, messages).await),
        Call::Receive { queue, params } => Answer::Received(handle.receive(&queue, params).await),
        Call::Delete { queue, held } => {
            let handles = held.into_iter().map(|held| held.handle).collect();
            Answer::Deleted(handle.delete(&queue, handles).await)
        }
        Call::Change { queue, held } => {
            let changes = held.into_iter().map(|(held, timeout)| (held.handle, timeout)).collect();
            Answer::Changed(handle.change_visibility(&queue, changes).await)
        }
        Call::Purge { queue } => Answer::Done(handle.purge(&queue).await),
        Call::Create { name, new } => Answer::Created(handle.create_queue(Scope::default(), name, new).await),
        Call::DeleteQueue { queue } => Answer::Done(handle.delete_queue(&queue).await),
        Call::Settings { queue, settings } => {
            let change = move |properties: &mut lambfold_queue::QueueProperties| {
                properties.settings = settings;
                Ok::<(), ()>(())
            };
            Answer::Done(handle.update_queue(&queue, change).await.map(drop))
        }
        Call::StartMove { source, destination, per_second } => {
            Answer::Moving(handle.start_move(&source, destination, per_second).await.map(|task| task.id))
        }
        Call::CancelMove { source, id } => Answer::Done(handle.cancel_move(&source, id).await.map(drop)),
    }
}
