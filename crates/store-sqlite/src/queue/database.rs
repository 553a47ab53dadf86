//! The database file, as what writes to it shares it: the engine's writer thread, and the applier of the commit log.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use lambfold_queue::store::stored::{inconsistent, int, uint};
use lambfold_queue::store::{FencedWrite, Result, ShardKey, StoreError};
use rusqlite::Connection;

use super::checkpoint::{self, Checkpointer};
use super::collect::Garbage;
use super::write::Statements;
use super::{connect, driver, read};

/// See the module.
#[derive(Debug)]
pub(super) struct Database {
    writer: Mutex<Connection>,
    statements: Statements,
    /// Of the shards whose queues are not deleted.
    slots: RwLock<HashMap<ShardKey, i64>>,
    garbage: Mutex<Garbage>,
    checkpointer: Checkpointer,
}

impl Database {
    /// The database at `path`, of this release's format, over the connection `writer`.
    pub(super) fn new(path: &Path, mut writer: Connection) -> Result<Self> {
        writer.set_prepared_statement_cache_capacity(64);
        let slots = read::slots(&writer)?;
        Ok(Self {
            checkpointer: Checkpointer::start(&mut writer, connect(path)?)?,
            statements: Statements::new(),
            slots: RwLock::new(slots),
            // What the last process did not get to.
            garbage: Mutex::new(Garbage::suspected()),
            writer: Mutex::new(writer),
        })
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn garbage(&self) -> MutexGuard<'_, Garbage> {
        self.garbage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the messages of a shard are kept.
    pub(super) fn slot(&self, shard: ShardKey) -> Result<i64> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.get(&shard).copied().ok_or(StoreError::NoSuchShard(shard))
    }

    pub(super) fn add_slot(&self, shard: ShardKey, slot: i64) {
        self.slots.write().unwrap_or_else(PoisonError::into_inner).insert(shard, slot);
    }

    pub(super) fn forget_slots(&self, incarnation: u64) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|key, _| key.incarnation != incarnation);
    }

    /// How far the commit log is applied, and the identity that it has.
    pub(super) fn applied(&self) -> Result<(u64, [u8; 16])> {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?));
        let row = self.writer().query_row("SELECT applied, identity FROM commit_log", [], read);
        let (applied, identity) = row.map_err(driver)?;
        let identity =
            identity.try_into().map_err(|_| inconsistent("commit_log", "its identity is no UUID"))?;
        Ok((uint(applied), identity))
    }

    /// Applies all of `batch` in one transaction, or nothing of it; with it, that the commit log is applied up to the
    /// record `through`.
    pub(super) fn apply(&self, batch: &[FencedWrite], through: Option<u64>) -> Result<()> {
        let slots = batch.iter().map(|write| self.slot(write.shard)).collect::<Result<Vec<_>>>()?;
        let mut writer = self.writer();
        let through = through.map(int);
        match self.statements.apply(&mut writer, batch, &slots, through) {
            // The write-ahead log could not grow. Once it is in the database it begins anew, where no room has to be found.
            Err(StoreError::Full) => {
                checkpoint::make(&writer).map_err(driver)?;
                self.statements.apply(&mut writer, batch, &slots, through)?;
            }
            result => result?,
        }
        drop(writer);
        if batch.iter().any(|write| write.write.purge.is_some()) {
            self.garbage().suspect();
        }
        self.checkpointer.written();
        Ok(())
    }

    pub(super) fn idle(&self) {
        self.checkpointer.idle();
    }
}
