//! A store in memory that several nodes share, each through a handle of its own: for tests and the simulation.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lambfold_types::{Clock, QueueName, Scope, Timestamp};

use crate::move_task::MoveTask;
use crate::store::{
    DeduplicationRow, DeliveryRow, Directory, DirectoryChange, DirectoryNews, FencedWrite, MessageRow,
    QueueRow, QueueStore, Result, ShardHead, ShardKey, SharedStore, StoreError,
};

use super::MemoryStore;

/// What the nodes share: hand out a [`MemoryNode`] to each.
#[derive(Clone)]
pub struct MemoryCluster {
    store: Arc<MemoryStore>,
    members: Arc<Mutex<Members>>,
    /// The one by which leases are judged.
    clock: Arc<dyn Clock>,
    lease: Duration,
}

#[derive(Debug, Default)]
struct Members {
    last: u64,
    nodes: BTreeMap<u64, Member>,
    owners: BTreeMap<ShardKey, u64>,
    /// The revision of each queue's last change, its deletion included.
    revisions: BTreeMap<u64, u64>,
    revision: u64,
}

#[derive(Debug)]
struct Member {
    address: String,
    expires_at: Timestamp,
}

/// One node's way to the store.
pub struct MemoryNode {
    cluster: MemoryCluster,
    me: Mutex<Option<u64>>,
}

impl MemoryCluster {
    /// An empty store whose leases hold for `lease` by `clock`.
    pub fn new(clock: Arc<dyn Clock>, lease: Duration) -> Self {
        Self { store: Arc::new(MemoryStore::new()), members: Arc::default(), clock, lease }
    }

    /// A way in for another node.
    pub fn node(&self) -> MemoryNode {
        MemoryNode { cluster: self.clone(), me: Mutex::default() }
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Members {
    fn holds(&self, node: u64, now: Timestamp) -> Option<&Member> {
        self.nodes.get(&node).filter(|member| now < member.expires_at)
    }

    fn note(&mut self, incarnation: u64) {
        self.revision += 1;
        self.revisions.insert(incarnation, self.revision);
    }
}

impl MemoryNode {
    fn me(&self) -> MutexGuard<'_, Option<u64>> {
        self.me.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueStore for MemoryNode {
    fn blocks(&self) -> bool {
        false
    }

    fn load_directory(&self) -> Result<Directory> {
        let members = self.cluster.members();
        Ok(Directory { revision: members.revision, ..self.cluster.store.load_directory()? })
    }

    fn create_queue(&self, row: &QueueRow) -> Result<QueueRow> {
        let mut members = self.cluster.members();
        let row = self.cluster.store.create_queue(row)?;
        members.note(row.incarnation);
        Ok(row)
    }

    fn change_directory(&self, change: &DirectoryChange) -> Result<()> {
        let mut members = self.cluster.members();
        self.cluster.store.change_directory(change)?;
        match change {
            DirectoryChange::SetProperties { incarnation, .. }
            | DirectoryChange::Delete { incarnation, .. } => members.note(*incarnation),
            DirectoryChange::AddMacKey(_)
            | DirectoryChange::PutMoveTask(_)
            | DirectoryChange::ForgetMoveTask(_) => {}
        }
        Ok(())
    }

    fn take_shard(&self, shard: ShardKey) -> Result<ShardHead> {
        let now = self.cluster.clock.now();
        let mut members = self.cluster.members();
        let Some(me) = *self.me() else { return self.cluster.store.take_shard(shard) };
        let owner = members.owners.get(&shard).copied().filter(|owner| *owner != me);
        if let Some(member) = owner.and_then(|owner| members.holds(owner, now)) {
            return Err(StoreError::OwnedElsewhere { shard, address: member.address.clone() });
        }
        members.holds(me, now).ok_or(StoreError::LeaseLost)?;
        let head = self.cluster.store.take_shard(shard)?;
        members.owners.insert(shard, me);
        Ok(head)
    }

    fn apply(&self, batch: &[FencedWrite]) -> Result<()> {
        self.cluster.store.apply(batch)
    }

    fn load_deliveries(&self, shard: ShardKey, from: u64, limit: usize) -> Result<Vec<DeliveryRow>> {
        self.cluster.store.load_deliveries(shard, from, limit)
    }

    fn load_deduplications(&self, shard: ShardKey, from: u64, limit: usize) -> Result<Vec<DeduplicationRow>> {
        self.cluster.store.load_deduplications(shard, from, limit)
    }

    fn load_page(
        &self,
        shard: ShardKey,
        range: Range<u64>,
        max_messages: usize,
        max_bytes: usize,
    ) -> Result<(Vec<MessageRow>, bool)> {
        self.cluster.store.load_page(shard, range, max_messages, max_bytes)
    }

    fn load_messages(&self, shard: ShardKey, sequences: &[u64], max_bytes: usize) -> Result<Vec<MessageRow>> {
        self.cluster.store.load_messages(shard, sequences, max_bytes)
    }

    fn collect(&self, limit: usize, forget_before: Timestamp) -> Result<bool> {
        self.cluster.store.collect(limit, forget_before)
    }

    fn idle(&self) {}

    fn shared(&self) -> Option<&dyn SharedStore> {
        Some(self)
    }
}

impl SharedStore for MemoryNode {
    fn lease(&self) -> Duration {
        self.cluster.lease
    }

    fn join(&self, address: &str) -> Result<()> {
        let expires_at = self.cluster.clock.now() + self.cluster.lease;
        let mut members = self.cluster.members();
        members.nodes.retain(|_, member| member.address != address);
        members.last += 1;
        let id = members.last;
        members.nodes.insert(id, Member { address: address.to_owned(), expires_at });
        *self.me() = Some(id);
        Ok(())
    }

    fn renew(&self) -> Result<()> {
        let now = self.cluster.clock.now();
        let me = self.me().ok_or(StoreError::LeaseLost)?;
        let mut members = self.cluster.members();
        let member = members.nodes.get_mut(&me).filter(|member| now < member.expires_at);
        member.ok_or(StoreError::LeaseLost)?.expires_at = now + self.cluster.lease;
        Ok(())
    }

    fn leave(&self) -> Result<()> {
        let Some(me) = self.me().take() else { return Ok(()) };
        let mut members = self.cluster.members();
        members.nodes.remove(&me);
        members.owners.retain(|_, owner| *owner != me);
        Ok(())
    }

    fn news(&self, revision: u64) -> Result<DirectoryNews> {
        let members = self.cluster.members();
        let mut queues = self.cluster.store.load_directory()?.queues;
        let changed =
            |incarnation: &u64| members.revisions.get(incarnation).is_some_and(|changed| *changed > revision);
        let there: Vec<u64> = queues.iter().map(|row| row.incarnation).collect();
        let is_gone = |incarnation: &&u64| changed(incarnation) && !there.contains(incarnation);
        let deleted = members.revisions.keys().filter(is_gone).copied().collect();
        queues.retain(|row| changed(&row.incarnation));
        Ok(DirectoryNews { revision: members.revision, queues, deleted, complete: false })
    }

    fn move_tasks(&self, scope: &Scope, source: &QueueName) -> Result<Vec<MoveTask>> {
        let mut tasks = self.cluster.store.load_directory()?.move_tasks;
        tasks.retain(|task| task.scope == *scope && task.source == *source);
        Ok(tasks)
    }

    fn active_move_tasks(&self) -> Result<Vec<MoveTask>> {
        let mut tasks = self.cluster.store.load_directory()?.move_tasks;
        tasks.retain(|task| task.status.is_active());
        Ok(tasks)
    }
}
