//! What an operation of the engine can fail with.

use std::sync::Arc;

use crate::store::StoreError;

/// Why the engine did not do what was asked. The adapter gives each its AWS code and text.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The queue does not exist, or ceased to while the call waited.
    #[error("the queue does not exist")]
    NoSuchQueue,
    /// A queue of that name was deleted too short a time ago ([`crate::Options::recreate_cooldown`]).
    #[error("a queue of this name was deleted recently")]
    QueueDeletedRecently,
    /// The queue was purged too short a time ago ([`crate::Options::purge_cooldown`]).
    #[error("the queue was purged recently")]
    PurgeInProgress,
    /// A task that moves messages out of the queue runs already.
    #[error("messages of this queue are being moved already")]
    MoveInProgress,
    /// As many messages are in flight as the queue may have; only for receives that do not wait.
    #[error("too many messages are in flight")]
    OverLimit,
    /// A bounded queue inside the engine is full. Nothing was done; the caller may try again later.
    #[error("the queue service is overloaded")]
    Overloaded,
    /// The disk is (almost) full: nothing new is stored, receives and deletes go on.
    #[error("the queue store is full")]
    StorageFull,
    /// The commit failed or its outcome is unknown; the caller may try again.
    #[error("the queue store failed")]
    Store(#[source] Arc<StoreError>),
    /// Another node owns the queue's shard: this is where it serves its peers.
    #[error("the queue is owned by the node at {0}")]
    OwnedElsewhere(Arc<str>),
    /// Another node takes the queue's shard over, or this one cannot tell whether one does. Nothing was done.
    #[error("the queue is changing its owner")]
    OwnerChanges,
    /// The service is shutting down, or has.
    #[error("the queue service is stopping")]
    Stopping,
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::StorageFull,
            StoreError::NoSuchShard(_) => Self::NoSuchQueue,
            StoreError::OwnedElsewhere { address, .. } => Self::OwnedElsewhere(address.into()),
            StoreError::LeaseLost => Self::OwnerChanges,
            other => Self::Store(Arc::new(other)),
        }
    }
}

/// A receipt handle that does not fit the queue it is used on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// The handle is of another queue, or of an earlier queue of the same name.
    #[error("the receipt handle is not valid for this queue")]
    OtherQueue,
    /// The visibility timeout of that receive is over; of FIFO queues only.
    #[error("the receipt handle has expired")]
    Expired,
}

/// Why a message's visibility could not be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeVisibilityError {
    /// As [`HandleError::OtherQueue`].
    #[error("the receipt handle is not valid for this queue")]
    OtherQueue,
    /// The message is deleted or expired, or the handle of a FIFO queue is.
    #[error("the message does not exist or is not available for visibility timeout change")]
    NotAvailable,
    /// The message would stay invisible for more than twelve hours since it was received.
    #[error("the total visibility timeout would exceed twelve hours")]
    TotalExceeded,
}
