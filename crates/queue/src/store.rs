//! What the engine needs of a database: one transaction per batch of decisions, and reads by range.
//!
//! A shard's rows are of two kinds. A *message* row is written once and holds the sealed record. A *delivery* row
//! exists only for a message that is delayed or was received, is small, and is replaced whenever that changes. So
//! a receive never rewrites a body, and after a restart the state is the delivery rows plus a count: whatever has no
//! delivery row is simply available, and is read page by page as it nears the head.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
#[cfg(any(test, feature = "testing"))]
pub mod differential;
#[cfg(any(test, feature = "testing"))]
mod faulty;
mod memory;
mod shared;
pub mod stored;

#[cfg(any(test, feature = "testing"))]
pub use faulty::{Fault, FaultyStore};
pub use memory::{MemoryCluster, MemoryNode, MemoryStore};
pub use shared::{DirectoryNews, SharedStore};

use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use lambfold_types::{QueueName, Scope, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::mac::MacKey;
use crate::move_task::MoveTask;
use crate::queue::{QueueKind, QueueProperties};

/// Names a shard: an incarnation of a queue and the number of the shard within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardKey {
    /// The queue's incarnation.
    pub incarnation: u64,
    /// 0 while queues have one shard.
    pub shard: u16,
}

impl fmt::Display for ShardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.shard)
    }
}

/// A stored queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRow {
    /// Account and region.
    pub scope: Scope,
    /// Unique within the scope among queues that are not deleted.
    pub name: QueueName,
    /// Never reused.
    pub incarnation: u64,
    /// Fixed at creation.
    pub kind: QueueKind,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its properties were last changed.
    pub modified_at: Timestamp,
    /// Settings, attributes, tags.
    pub properties: QueueProperties,
}

/// A queue that was deleted; remembered for as long as its name may be blocked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedQueue {
    /// Account and region.
    pub scope: Scope,
    /// Its name, which may be in use again.
    pub name: QueueName,
    /// When it was deleted.
    pub deleted_at: Timestamp,
}

/// All that is stored but messages; read once at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// Every queue that is not deleted.
    pub queues: Vec<QueueRow>,
    /// Queues whose remains are not collected yet.
    pub deleted: Vec<DeletedQueue>,
    /// The keys of receipt handles.
    pub mac_keys: Vec<MacKey>,
    /// Tasks that move messages.
    pub move_tasks: Vec<MoveTask>,
    /// What [`SharedStore::news`] goes on from; 0 in a store that has one user.
    pub revision: u64,
}

/// A change of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryChange {
    /// Replaces a queue's properties.
    SetProperties {
        /// The queue.
        incarnation: u64,
        /// The new properties.
        properties: QueueProperties,
        /// The time of the change.
        modified_at: Timestamp,
    },
    /// Deletes a queue with its shards. Their messages are unreachable at once and removed by and by.
    Delete {
        /// The queue.
        incarnation: u64,
        /// The time of deletion.
        deleted_at: Timestamp,
    },
    /// Adds a key for receipt handles.
    AddMacKey(MacKey),
    /// Adds a move task, or changes it as far as [`MoveTask::changed_to`] says.
    PutMoveTask(MoveTask),
    /// Forgets a move task.
    ForgetMoveTask(Uuid),
}

/// What an owner finds when it takes a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardHead {
    /// The owner's epoch: higher than any before.
    pub epoch: u64,
    /// The sequence of the next message.
    pub next_sequence: u64,
    /// Messages below it are purged.
    pub purged_before: u64,
    /// When the shard was last purged.
    pub purged_at: Option<Timestamp>,
    /// The number of messages stored and not purged.
    pub live: u64,
    /// The time of the last decision that was committed.
    pub clock: Timestamp,
}

/// A stored message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRow {
    /// Its key within the shard.
    pub sequence: u64,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// The sealed record.
    pub record: Bytes,
}

/// A message to be stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewMessageRow {
    /// Its key within the shard.
    pub sequence: u64,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// If it is delayed, until when: the store then adds a delivery row with a receive count of zero.
    pub delayed_until: Option<Timestamp>,
    /// The sealed record.
    pub record: Bytes,
}

impl NewMessageRow {
    /// The delivery row of a message that is delayed.
    pub fn delivery(&self) -> Option<DeliveryRow> {
        self.delayed_until.map(|visible_at| DeliveryRow {
            sequence: self.sequence,
            sent_at: self.sent_at,
            visible_at,
            receive_count: 0,
            first_received_at: Timestamp::default(),
            last_received_at: Timestamp::default(),
            attempt: None,
        })
    }
}

/// The state of a message that is delayed or was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRow {
    /// Its key within the shard.
    pub sequence: u64,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// Until then it is delayed (if never received) or in flight.
    pub visible_at: Timestamp,
    /// How often it was received.
    pub receive_count: u32,
    /// When it was first received; the epoch if it never was.
    pub first_received_at: Timestamp,
    /// When it was last received; the epoch if it never was.
    pub last_received_at: Timestamp,
    /// The receive that it is in flight by, if that can be repeated and the message has not changed since.
    pub attempt: Option<ReceiveAttempt>,
}

/// A receive that its caller named (`ReceiveRequestAttemptId`), so that it can be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReceiveAttempt {
    /// A digest of the name.
    pub id: u128,
    /// How many messages it got: it can be repeated while all of them are as they were.
    pub messages: u8,
    /// The epoch of the owner that handed them out, which stands in their receipt handles.
    pub epoch: u64,
}

/// A message that a FIFO queue has taken, by its deduplication id; also when it is not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeduplicationRow {
    /// The message's key within the shard.
    pub sequence: u64,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// A digest of the deduplication id, and of the group if that is its scope.
    pub id: u128,
    /// The message's `MessageId`.
    pub message_id: Uuid,
}

/// The decisions of a shard's owner that are to become durable together. Applied in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardWrite {
    /// New messages, by rising sequence.
    pub inserts: Vec<NewMessageRow>,
    /// New or replacing delivery rows; of several for one message the last counts.
    pub deliveries: Vec<DeliveryRow>,
    /// Messages (with their delivery rows) to remove. Each exists and is removed once.
    pub deletes: Vec<u64>,
    /// New messages of a FIFO queue, by their deduplication ids.
    pub deduplications: Vec<DeduplicationRow>,
    /// Below this sequence deduplication rows may be dropped.
    pub deduplicated_before: Option<u64>,
    /// Purge: all messages below `.0` are gone as of `.1`, and so is what is known of their deduplication.
    pub purge: Option<(u64, Timestamp)>,
    /// The sequence of the next message; a store keeps the highest.
    pub next_sequence: u64,
    /// The time of the last of these decisions.
    pub clock: Timestamp,
}

impl ShardWrite {
    /// Whether there is nothing to make durable.
    pub fn is_empty(&self) -> bool {
        self.inserts.is_empty()
            && self.deliveries.is_empty()
            && self.deletes.is_empty()
            && self.purge.is_none()
    }

    /// Rows and bytes: what the write weighs in a batch.
    pub fn weight(&self) -> (usize, usize) {
        let rows =
            self.inserts.len() + self.deliveries.len() + self.deletes.len() + self.deduplications.len() + 1;
        (rows, self.inserts.iter().map(|row| row.record.len() + 32).sum::<usize>() + 40 * rows)
    }

    /// How the number of live messages changes in a shard that was purged up to `purged_before`. Below that, or below
    /// the write's own purge, nothing counts: a dead letter may leave when its queue was just purged.
    pub fn live_change(&self, purged_before: u64) -> LiveChange {
        let floor = self.purge.map_or(purged_before, |(before, _)| before);
        let added = self.inserts.iter().filter(|row| row.sequence >= floor).count() as u64;
        let removed = self.deletes.iter().filter(|&&sequence| sequence >= floor).count() as u64;
        LiveChange { from_zero: self.purge.is_some(), added, removed }
    }
}

/// See [`ShardWrite::live_change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveChange {
    /// The count before no longer matters.
    pub from_zero: bool,
    /// Messages added.
    pub added: u64,
    /// Messages removed.
    pub removed: u64,
}

impl LiveChange {
    /// The number of live messages after the change.
    pub fn apply(self, live: u64) -> u64 {
        (if self.from_zero { 0 } else { live } + self.added).saturating_sub(self.removed)
    }
}

/// One shard's part of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FencedWrite {
    /// The shard.
    pub shard: ShardKey,
    /// The epoch of the owner that decided.
    pub epoch: u64,
    /// Its decisions.
    pub write: ShardWrite,
}

/// Settings of a database that decide what a commit outlasts, by name, as the database itself tells them.
pub type Durability = Vec<(&'static str, String)>;

/// What a store can fail with.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another owner has taken the shard. Nothing of the batch was applied.
    #[error("shard {0} has a newer owner")]
    Fenced(ShardKey),
    /// The shard's queue is deleted. Nothing of the batch was applied.
    #[error("shard {0} does not exist")]
    NoSuchShard(ShardKey),
    /// An earlier commit of the same owner failed, and with it all that was decided since.
    #[error("an earlier commit failed")]
    Void,
    /// There is no room for new messages. Nothing of the batch was applied; without its inserts it may be.
    #[error("no room is left in the store")]
    Full,
    /// The data were written by a later release.
    #[error(
        "the store has format {found}, but this release knows formats up to {supported} only: it was written by a later release"
    )]
    FromTheFuture {
        /// The format found.
        found: i64,
        /// The latest format known.
        supported: i64,
    },
    /// Another process has the store open.
    #[error("{0} is in use by another process")]
    InUse(String),
    /// The account has a queue of that name in that region: another node made it.
    #[error("there is a queue of this name already")]
    NameTaken,
    /// Another node owns the shard, and its lease holds. Only of a store that nodes share.
    #[error("shard {shard} is owned by the node at {address}")]
    OwnedElsewhere {
        /// The shard.
        shard: ShardKey,
        /// Where that node serves its peers.
        address: String,
    },
    /// This node's lease has run out: it owns nothing until it joins again.
    #[error("the lease of this node has run out")]
    LeaseLost,
    /// What is stored contradicts itself.
    #[error("inconsistent data in {table}: {detail}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// The driver failed. Nothing of the batch was applied, or it is not known.
    #[error("the database driver failed")]
    Driver(#[source] Box<dyn StdError + Send + Sync>),
}

/// The result of a call to the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A database that holds queues. Calls block; the engine makes them on threads of its own, or inline if the store
/// says that they do not ([`QueueStore::blocks`]). `apply`, `create_queue`, `change_directory`, `take_shard` and `collect`
/// come from one thread, the loads from another, at the same time.
pub trait QueueStore: Send + Sync + 'static {
    /// Whether calls wait for a device. A simulation's store does not, and is then called inline, in a fixed order.
    fn blocks(&self) -> bool;

    /// Reads all that is not a message.
    fn load_directory(&self) -> Result<Directory>;

    /// Stores a new queue with its shard 0, as `row` says but under an incarnation that no queue ever had, and returns
    /// it so. [`StoreError::NameTaken`] if the scope has a queue of that name.
    fn create_queue(&self, row: &QueueRow) -> Result<QueueRow>;

    /// Makes a change durable. [`StoreError::NoSuchShard`] if the queue does not exist (any more).
    fn change_directory(&self, change: &DirectoryChange) -> Result<()>;

    /// Raises the shard's epoch, durably, and returns what its owner has to know. In a shared store this node becomes
    /// the owner: [`StoreError::OwnedElsewhere`] while another one is and its lease holds.
    fn take_shard(&self, shard: ShardKey) -> Result<ShardHead>;

    /// Applies all of `batch` in one transaction, durably, or nothing of it. Every write must come from the current
    /// epoch of its shard.
    fn apply(&self, batch: &[FencedWrite]) -> Result<()>;

    /// Up to `limit` delivery rows from sequence `from` on, by rising sequence.
    fn load_deliveries(&self, shard: ShardKey, from: u64, limit: usize) -> Result<Vec<DeliveryRow>>;

    /// Up to `limit` deduplication rows from sequence `from` on, by rising sequence.
    fn load_deduplications(&self, shard: ShardKey, from: u64, limit: usize) -> Result<Vec<DeduplicationRow>>;

    /// Messages with a sequence in `range`, by rising sequence; as many as fit into `max_messages` and `max_bytes`,
    /// but at least one if there is any. The second value says whether the range is exhausted.
    fn load_page(
        &self,
        shard: ShardKey,
        range: Range<u64>,
        max_messages: usize,
        max_bytes: usize,
    ) -> Result<(Vec<MessageRow>, bool)>;

    /// The messages of `sequences` that exist, in that order; as many as fit into `max_bytes`, but at least one.
    fn load_messages(&self, shard: ShardKey, sequences: &[u64], max_bytes: usize) -> Result<Vec<MessageRow>>;

    /// Removes up to `limit` rows of purged messages and deleted queues. Returns whether there may be more.
    /// Deleted queues are forgotten when their rows are gone and they were deleted before `forget_before`.
    fn collect(&self, limit: usize, forget_before: Timestamp) -> Result<bool>;

    /// What a commit outlasts, read back from the database rather than from what it was told; shown on `/metrics`, so
    /// that whoever measures the engine sees what the figures rest on. Asked once, at the start.
    fn durability(&self) -> Result<Durability> {
        Ok(Durability::new())
    }

    /// Nothing waits to be written: a moment for upkeep such as a checkpoint, which must not delay the next write.
    fn idle(&self);

    /// What the store adds if several nodes share it.
    fn shared(&self) -> Option<&dyn SharedStore> {
        None
    }
}
