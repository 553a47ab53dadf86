//! Answers that wait for a commit.

use tokio::sync::OwnedSemaphorePermit;

use crate::engine::link::{Command, Reply, Stored};
use crate::engine::writer::Applied;
use crate::error::{ChangeVisibilityError, Error, HandleError};

/// A call whose decision is taken and not yet durable. Whoever asked may have gone; the answer is dropped then.
pub(super) enum Pending {
    Send {
        reply: Reply<Stored>,
        stored: Stored,
        _permit: OwnedSemaphorePermit,
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
    /// The commit is done.
    pub(super) fn succeed(self, applied: Applied) {
        match self {
            Self::Send { reply, stored, .. } => {
                drop(reply.send(match applied {
                    Applied::Whole => Ok(stored),
                    Applied::WithoutInserts => Err(Error::StorageFull),
                }));
            }
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
            Self::ChangeVisibility { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Adopt { reply, .. } | Self::Purge { reply } | Self::Settings { reply, .. } => {
                drop(reply.send(Err(error.clone())));
            }
            Self::Counts { reply } => drop(reply.send(Err(error.clone()))),
            Self::Deleted => {}
        }
    }
}
