//! The queue engine's store.
//!
//! WAL with `synchronous=FULL`: a commit is one fdatasync. One connection writes, from the engine's writer thread; one
//! reads, from its reader thread; one makes checkpoints, on a thread of the store's own, so that they do not hold up
//! commits.

mod checkpoint;
mod collect;
mod directory;
mod log_room;
mod move_tasks;
mod read;
mod space;
mod write;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use lambfold_queue::QueueStore;
use lambfold_queue::store::{
    DeduplicationRow, DeliveryRow, Directory, DirectoryChange, Durability, FencedWrite, MessageRow, QueueRow,
    Result, ShardHead, ShardKey, StoreError,
};
use lambfold_types::Timestamp;
use rusqlite::Connection;

use crate::full;
use crate::lock::{DatabaseLock, LockError};
use crate::migrate::{MigrateError, migrate};

use self::checkpoint::Checkpointer;
use self::collect::Garbage;
use self::space::Space;
use self::write::Statements;

const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/sqlite/queue/0001_queues.sql"),
    include_str!("../../../migrations/sqlite/queue/0002_fifo.sql"),
    include_str!("../../../migrations/sqlite/queue/0003_move_tasks.sql"),
    include_str!("../../../migrations/sqlite/queue/0004_nodes.sql"),
    include_str!("../../../migrations/sqlite/queue/0005_receive_attempts.sql"),
];

/// Settings of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// When less than this many bytes are free on the disk, new messages are refused, while receives and deletes go
    /// on: they need room, too.
    pub reserve_bytes: u64,
}

impl Default for Options {
    /// 64 MiB.
    fn default() -> Self {
        Self { reserve_bytes: 64 << 20 }
    }
}

/// Queues in one SQLite file.
#[derive(Debug)]
pub struct SqliteQueueStore {
    path: PathBuf,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    statements: Statements,
    /// Of the shards whose queues are not deleted.
    slots: RwLock<HashMap<ShardKey, i64>>,
    garbage: Mutex<Garbage>,
    space: Space,
    checkpointer: Checkpointer,
    // Last, so that the lock is let go of when all connections are closed.
    _lock: DatabaseLock,
}

impl SqliteQueueStore {
    /// Opens `path`, creating or migrating it if need be. Refused if another process has it open, or if a later
    /// release wrote it.
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        let lock = DatabaseLock::take(path).map_err(|error| match error {
            LockError::InUse(path) => StoreError::InUse(path.display().to_string()),
            LockError::Io(error) => StoreError::Driver(error.into()),
        })?;
        let mut writer = connect(path)?;
        migrate(&mut writer, MIGRATIONS).map_err(|error| match error {
            MigrateError::FromTheFuture { found, supported } => {
                StoreError::FromTheFuture { found, supported }
            }
            MigrateError::Sqlite(error) => driver(error),
        })?;
        // A log that has become longer is cut to its room when it begins anew.
        writer
            .pragma_update(None, "journal_size_limit", log_room::ROOM_BYTES.cast_signed())
            .map_err(driver)?;
        writer.set_prepared_statement_cache_capacity(64);
        let space = Space::new(path, options.reserve_bytes);
        log_room::make(&writer, path, &space).map_err(driver)?;
        let checkpointer = Checkpointer::start(&mut writer, connect(path)?)?;
        let reader = connect(path)?;
        reader.pragma_update(None, "query_only", true).map_err(driver)?;
        let slots = read::slots(&reader)?;
        Ok(Self {
            path: path.to_owned(),
            statements: Statements::new(),
            slots: RwLock::new(slots),
            // What the last process did not get to.
            garbage: Mutex::new(Garbage::suspected()),
            space,
            checkpointer,
            writer: Mutex::new(writer),
            reader: Mutex::new(reader),
            _lock: lock,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn garbage(&self) -> MutexGuard<'_, Garbage> {
        self.garbage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the messages of a shard are kept.
    fn slot(&self, shard: ShardKey) -> Result<i64> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.get(&shard).copied().ok_or(StoreError::NoSuchShard(shard))
    }
}

fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path).map_err(driver)?;
    let open = || -> rusqlite::Result<()> {
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "temp_store", "memory")?;
        connection.pragma_update(None, "cache_size", -8_000)?;
        // Checkpoints are made by the checkpointer, and by its hook in the writer.
        connection.pragma_update(None, "wal_autocheckpoint", 0)
    };
    open().map_err(driver)?;
    Ok(connection)
}

fn driver(error: rusqlite::Error) -> StoreError {
    if full::is(&error) { StoreError::Full } else { StoreError::Driver(Box::new(error)) }
}

impl QueueStore for SqliteQueueStore {
    fn blocks(&self) -> bool {
        true
    }

    fn load_directory(&self) -> Result<Directory> {
        directory::load(&self.reader())
    }

    fn create_queue(&self, row: &QueueRow) -> Result<QueueRow> {
        let (row, slot) = directory::create(&mut self.writer(), row)?;
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.insert(ShardKey { incarnation: row.incarnation, shard: 0 }, slot);
        Ok(row)
    }

    fn change_directory(&self, change: &DirectoryChange) -> Result<()> {
        directory::change(&mut self.writer(), change)?;
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        match change {
            DirectoryChange::Delete { incarnation, .. } => {
                slots.retain(|key, _| key.incarnation != *incarnation);
                self.garbage().suspect();
            }
            DirectoryChange::SetProperties { .. }
            | DirectoryChange::AddMacKey(_)
            | DirectoryChange::PutMoveTask(_)
            | DirectoryChange::ForgetMoveTask(_) => {}
        }
        Ok(())
    }

    fn take_shard(&self, shard: ShardKey) -> Result<ShardHead> {
        let slot = self.slot(shard)?;
        read::take(&self.writer(), shard, slot)
    }

    fn apply(&self, batch: &[FencedWrite]) -> Result<()> {
        if batch.iter().any(|write| !write.write.inserts.is_empty()) {
            self.space.check()?;
        }
        let slots = batch.iter().map(|write| self.slot(write.shard)).collect::<Result<Vec<_>>>()?;
        let mut writer = self.writer();
        match self.statements.apply(&mut writer, batch, &slots) {
            // The log could not grow. Once it is in the database it begins anew, where no room has to be found.
            Err(StoreError::Full) => {
                checkpoint::make(&writer).map_err(driver)?;
                self.statements.apply(&mut writer, batch, &slots)?;
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

    fn load_deliveries(&self, shard: ShardKey, from: u64, limit: usize) -> Result<Vec<DeliveryRow>> {
        read::deliveries(&self.reader(), self.slot(shard)?, from, limit)
    }

    fn load_deduplications(&self, shard: ShardKey, from: u64, limit: usize) -> Result<Vec<DeduplicationRow>> {
        read::deduplications(&self.reader(), self.slot(shard)?, from, limit)
    }

    fn load_page(
        &self,
        shard: ShardKey,
        range: Range<u64>,
        max_messages: usize,
        max_bytes: usize,
    ) -> Result<(Vec<MessageRow>, bool)> {
        read::page(&self.reader(), self.slot(shard)?, &range, max_messages, max_bytes)
    }

    fn load_messages(&self, shard: ShardKey, sequences: &[u64], max_bytes: usize) -> Result<Vec<MessageRow>> {
        read::messages(&self.reader(), self.slot(shard)?, sequences, max_bytes)
    }

    fn collect(&self, limit: usize, forget_before: Timestamp) -> Result<bool> {
        let mut garbage = self.garbage();
        garbage.collect(&mut self.writer(), limit, forget_before)
    }

    fn durability(&self) -> Result<Durability> {
        let writer = self.writer();
        let text = |pragma| writer.pragma_query_value(None, pragma, |row| row.get::<_, String>(0));
        let level = writer.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0));
        let synchronous = match level.map_err(driver)? {
            0 => "OFF".to_owned(),
            1 => "NORMAL".to_owned(),
            2 => "FULL".to_owned(),
            3 => "EXTRA".to_owned(),
            other => other.to_string(),
        };
        let journal_mode = text("journal_mode").map_err(driver)?;
        Ok(vec![("synchronous", synchronous), ("journal_mode", journal_mode)])
    }

    fn idle(&self) {
        self.checkpointer.idle();
    }
}
