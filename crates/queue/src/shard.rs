//! The state machine of a shard.

use std::time::Duration;

use bytes::Bytes;
use lambfold_types::Timestamp;

/// A message to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    /// The sealed record.
    pub(crate) record: Bytes,
    /// `None`: the queue's.
    pub(crate) delay: Option<Duration>,
}

/// A message that was taken for a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) sequence: u64,
    pub(crate) record: Bytes,
    pub(crate) sent_at: Timestamp,
    pub(crate) receive_count: u32,
    pub(crate) first_received_at: Timestamp,
    pub(crate) visible_at: Timestamp,
}
