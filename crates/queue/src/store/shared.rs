//! What a store adds that several nodes share: who owns which shard, and what others changed (DESIGN §3, many nodes).
//!
//! A node *joins* under an id that no node ever had and gets a lease, which it renews. A shard belongs to the node that
//! took it last, for as long as that node's lease holds by the database's clock; then anybody may take it, and its epoch
//! rises. Every write is fenced by the epoch, so that a node that lost a shard cannot change it any more. A node that
//! let its lease run out cannot renew it: it joins again, as a new node that owns nothing. So a node that was stopped for
//! a while knows by its own clock, before it asks anybody, that it may hand out nothing.

use std::time::Duration;

use lambfold_types::{QueueName, Scope};

use super::{QueueRow, Result};
use crate::move_task::MoveTask;

/// Calls block, as those of [`super::QueueStore`] do. `join`, `renew` and `leave` come from one thread of their own, the
/// others from the engine's reader, at the same time as everything else.
pub trait SharedStore: Send + Sync {
    /// How long a lease holds after it was granted or renewed. Who renews counts from before the call.
    fn lease(&self) -> Duration;

    /// Becomes a new node that peers reach at `address`, and owns no shard. The lease of a node that joined from there
    /// before ends: only one process at a time listens at an address, so that it has ended, too.
    fn join(&self, address: &str) -> Result<()>;

    /// Renews this node's lease; [`super::StoreError::LeaseLost`] if it has run out.
    fn renew(&self) -> Result<()>;

    /// Gives up the lease and all shards, so that others need not wait for them.
    fn leave(&self) -> Result<()>;

    /// What has changed in the directory since `revision`, whoever changed it: all that was committed before the call.
    fn news(&self, revision: u64) -> Result<DirectoryNews>;

    /// The tasks that move, or did move, messages of the queue `source`.
    fn move_tasks(&self, scope: &Scope, source: &QueueName) -> Result<Vec<MoveTask>>;

    /// All tasks that have not ended.
    fn active_move_tasks(&self) -> Result<Vec<MoveTask>>;
}

/// Changes of the directory, by all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryNews {
    /// To be asked from the next time.
    pub revision: u64,
    /// Queues that are new or changed, as they are now.
    pub queues: Vec<QueueRow>,
    /// The incarnations of queues that are deleted.
    pub deleted: Vec<u64>,
    /// Whether `queues` is all there is, since `revision` is too long ago: what is not in it does not exist.
    pub complete: bool,
}
