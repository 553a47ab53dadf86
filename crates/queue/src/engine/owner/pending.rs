//! Answers that wait for a commit.

use tokio::sync::OwnedSemaphorePermit;

use crate::engine::link::{Command, Handover, Reply};
use crate::engine::writer::Applied;
use crate::error::{ChangeVisibilityError, Error, HandleError};
use crate::shard::Stored;

/// A call whose decision is taken and not yet durable. Whoever asked may have gone; the answer is dropped then.
pub(super) enum Pending {
    Send {
        reply: Reply<Stored>,
        stored: Stored,
        _permit: OwnedSemaphorePermit,
    },
    /// Of a FIFO queue, where nobody else may get the messages even after a crash.
    Receive {
        reply: Reply<Handover>,
        handover: Handover,
    },
    Delete {
        reply: Reply<Vec<Result<(), HandleError>>>,
        results: Vec<Result<(), HandleError>>,
    },
    Change {
        reply: Reply<Vec<Result<(), ChangeVisibilityError>>>,
        results: Vec<Result<(), ChangeVisibilityError>>,
    },
    Adopt {
        reply: Reply<()>,
    },
    Purge {
        reply: Reply<()>,
    },
}

impl Pending {
    /// Whether it tells of messages of which `any` is true.
    pub(super) fn rests_on_any(&self, any: impl FnOnce(&[u64]) -> bool) -> bool {
        matches!(self, Self::Send { stored, .. } if any(&stored.sequences))
    }

    /// The commit is done.
    pub(super) fn succeed(self, applied: Applied) {
        match self {
            Self::Send { reply, stored, .. } => {
                drop(reply.send(match applied {
                    Applied::Whole => Ok(stored),
                    Applied::WithoutInserts => Err(Error::StorageFull),
                }));
            }
            // A receiver that has gone meanwhile gives its messages back by the drop of the handover.
            Self::Receive { reply, handover } => drop(reply.send(Ok(handover))),
            Self::Delete { reply, results } => drop(reply.send(Ok(results))),
            Self::Change { reply, results } => drop(reply.send(Ok(results))),
            Self::Adopt { reply } => {
                drop(reply.send(match applied {
                    Applied::Whole => Ok(()),
                    Applied::WithoutInserts => Err(Error::StorageFull),
                }));
            }
            Self::Purge { reply } => drop(reply.send(Ok(()))),
        }
    }

    /// The commit failed, or one before it.
    pub(super) fn fail(self, error: &Error) {
        match self {
            Self::Send { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Receive { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Delete { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Change { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Adopt { reply } | Self::Purge { reply } => drop(reply.send(Err(error.clone()))),
        }
    }
}

impl Command {
    /// Answers the command with `error`.
    pub(super) fn fail(self, error: &Error) {
        match self {
            Self::Send { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Receive { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Delete { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::ChangeVisibility { reply, .. } | Self::Release { reply, .. } => {
                drop(reply.send(Err(error.clone())));
            }
            Self::Adopt { reply, .. } | Self::Purge { reply } | Self::Settings { reply, .. } => {
                drop(reply.send(Err(error.clone())));
            }
            Self::Evacuate { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Peek { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Counts { reply } => drop(reply.send(Err(error.clone()))),
            Self::Locate { reply } => drop(reply.send(Err(error.clone()))),
            Self::Deleted => {}
        }
    }
}
