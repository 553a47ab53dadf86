//! A store that fails when told to, for tests.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lambfold_types::{QueueName, Scope, Timestamp};

use super::{
    DeduplicationRow, DeliveryRow, Directory, DirectoryChange, DirectoryNews, Durability, FencedWrite,
    MessageRow, QueueRow, QueueStore, Result, ShardHead, ShardKey, SharedStore, StoreError,
};
use crate::move_task::MoveTask;

/// How a commit, a change of the directory, or what is about the lease, is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is applied.
    Refuse,
    /// All is applied, but the caller is told that the driver failed: the outcome is unknown to it.
    Unknown,
    /// Whatever has inserts is refused for want of room, until told otherwise.
    Full,
    /// The shard cannot be taken, either, until told otherwise.
    Broken,
    /// A renewal of the lease takes effect, and is said to have failed, until told otherwise.
    Unrenewed,
}

/// Passes everything on to `S` but what is to fail.
#[derive(Debug)]
pub struct FaultyStore<S> {
    inner: S,
    fault: Mutex<Option<Fault>>,
}

impl<S> FaultyStore<S> {
    /// A store that does not fail yet.
    pub fn new(inner: S) -> Self {
        Self { inner, fault: Mutex::new(None) }
    }

    /// From the next of them on. [`Fault::Refuse`] and [`Fault::Unknown`] happen once.
    pub fn set(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    fn get(&self) -> Option<Fault> {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure() -> StoreError {
        StoreError::Driver("a fault was asked for".into())
    }

    fn change<T>(&self, change: impl FnOnce(&S) -> Result<T>) -> Result<T> {
        match self.get() {
            None | Some(Fault::Full | Fault::Unrenewed) => change(&self.inner),
            Some(Fault::Broken) => Err(Self::failure()),
            Some(Fault::Refuse) => {
                self.set(None);
                Err(Self::failure())
            }
            Some(Fault::Unknown) => {
                self.set(None);
                change(&self.inner)?;
                Err(Self::failure())
            }
        }
    }
}

impl<S: QueueStore> QueueStore for FaultyStore<S> {
    fn blocks(&self) -> bool {
        self.inner.blocks()
    }

    fn load_directory(&self) -> Result<Directory> {
        self.inner.load_directory()
    }

    fn create_queue(&self, row: &QueueRow) -> Result<QueueRow> {
        self.change(|inner| inner.create_queue(row))
    }

    fn change_directory(&self, change: &DirectoryChange) -> Result<()> {
        self.change(|inner| inner.change_directory(change))
    }

    fn take_shard(&self, shard: ShardKey) -> Result<ShardHead> {
        if self.get() == Some(Fault::Broken) { Err(Self::failure()) } else { self.inner.take_shard(shard) }
    }

    fn apply(&self, batch: &[FencedWrite]) -> Result<()> {
        if self.get() == Some(Fault::Full) && batch.iter().any(|write| !write.write.inserts.is_empty()) {
            return Err(StoreError::Full);
        }
        self.change(|inner| inner.apply(batch))
    }

    fn durability(&self) -> Result<Durability> {
        self.inner.durability()
    }

    fn load_deliveries(&self, shard: ShardKey, from: u64, limit: usize) -> Result<Vec<DeliveryRow>> {
        self.inner.load_deliveries(shard, from, limit)
    }

    fn load_deduplications(&self, shard: ShardKey, from: u64, limit: usize) -> Result<Vec<DeduplicationRow>> {
        self.inner.load_deduplications(shard, from, limit)
    }

    fn load_page(
        &self,
        shard: ShardKey,
        range: Range<u64>,
        max_messages: usize,
        max_bytes: usize,
    ) -> Result<(Vec<MessageRow>, bool)> {
        self.inner.load_page(shard, range, max_messages, max_bytes)
    }

    fn load_messages(&self, shard: ShardKey, sequences: &[u64], max_bytes: usize) -> Result<Vec<MessageRow>> {
        self.inner.load_messages(shard, sequences, max_bytes)
    }

    fn collect(&self, limit: usize, forget_before: Timestamp) -> Result<bool> {
        self.inner.collect(limit, forget_before)
    }

    fn idle(&self) {
        self.inner.idle();
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        self.inner.shared().map(|_| self as &dyn SharedStore)
    }
}

impl<S: QueueStore> FaultyStore<S> {
    fn call<T>(&self, call: impl FnOnce(&dyn SharedStore) -> Result<T>) -> Result<T> {
        self.inner.shared().map_or(Err(StoreError::LeaseLost), call)
    }
}

impl<S: QueueStore> SharedStore for FaultyStore<S> {
    fn lease(&self) -> Duration {
        self.inner.shared().map(SharedStore::lease).unwrap_or_default()
    }

    fn join(&self, address: &str) -> Result<()> {
        self.change(|_| self.call(|shared| shared.join(address)))
    }

    fn renew(&self) -> Result<()> {
        self.call(|shared| shared.renew())?;
        if self.get() == Some(Fault::Unrenewed) { Err(Self::failure()) } else { Ok(()) }
    }

    fn leave(&self) -> Result<()> {
        self.call(|shared| shared.leave())
    }

    fn news(&self, revision: u64) -> Result<DirectoryNews> {
        self.call(|shared| shared.news(revision))
    }

    fn move_tasks(&self, scope: &Scope, source: &QueueName) -> Result<Vec<MoveTask>> {
        self.call(|shared| shared.move_tasks(scope, source))
    }

    fn active_move_tasks(&self) -> Result<Vec<MoveTask>> {
        self.call(|shared| shared.active_move_tasks())
    }
}
