//! The queue engine's store.
//!
//! A commit of the engine's is a record in the commit log, on the disk when it returns; the log's own thread brings it into
//! the database. That is in WAL mode with `synchronous=FULL`: what is there does not hang on the log. One connection writes;
//! one reads, from the engine's reader thread; one makes checkpoints, on a thread of the store's own.

mod checkpoint;
mod collect;
mod commit_log;
mod database;
mod directory;
mod move_tasks;
mod read;
mod space;
mod write;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

use self::commit_log::CommitLog;
use self::database::Database;
use self::space::Space;

const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/sqlite/queue/0001_queues.sql"),
    include_str!("../../../migrations/sqlite/queue/0002_fifo.sql"),
    include_str!("../../../migrations/sqlite/queue/0003_move_tasks.sql"),
    include_str!("../../../migrations/sqlite/queue/0004_nodes.sql"),
    include_str!("../../../migrations/sqlite/queue/0005_receive_attempts.sql"),
    include_str!("../../../migrations/sqlite/queue/0006_commit_log.sql"),
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

/// Queues in one SQLite file, with a log of commits in front of it.
#[derive(Debug)]
pub struct SqliteQueueStore {
    path: PathBuf,
    // Ahead of the database: what it has still to apply is applied when it is dropped.
    log: Option<CommitLog>,
    database: Arc<Database>,
    reader: Mutex<Connection>,
    space: Space,
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
        // A log that has become longer is cut to this when it begins anew.
        writer
            .pragma_update(None, "journal_size_limit", checkpoint::LOG_BYTES.cast_signed())
            .map_err(driver)?;
        let database = Arc::new(Database::new(path, writer)?);
        let space = Space::new(path, options.reserve_bytes);
        let reader = connect(path)?;
        reader.pragma_update(None, "query_only", true).map_err(driver)?;
        Ok(Self {
            path: path.to_owned(),
            log: CommitLog::open(path, &database, &space)?,
            database,
            reader: Mutex::new(reader),
            space,
            _lock: lock,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the database have what was committed, if it has not something that `concerns` the caller.
    fn settle(&self, concerns: impl Fn(&FencedWrite) -> bool) -> Result<()> {
        self.log.as_ref().map_or(Ok(()), |log| log.settle(concerns))
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
        let (row, slot) = directory::create(&mut self.database.writer(), row)?;
        self.database.add_slot(ShardKey { incarnation: row.incarnation, shard: 0 }, slot);
        Ok(row)
    }

    fn change_directory(&self, change: &DirectoryChange) -> Result<()> {
        if let DirectoryChange::Delete { incarnation, .. } = change {
            self.settle(|it| it.shard.incarnation == *incarnation)?;
            if let Some(log) = &self.log {
                log.given_up(|owned| owned.incarnation == *incarnation);
            }
        }
        directory::change(&mut self.database.writer(), change)?;
        match change {
            DirectoryChange::Delete { incarnation, .. } => {
                self.database.forget_slots(*incarnation);
                self.database.garbage().suspect();
            }
            DirectoryChange::SetProperties { .. }
            | DirectoryChange::AddMacKey(_)
            | DirectoryChange::PutMoveTask(_)
            | DirectoryChange::ForgetMoveTask(_) => {}
        }
        Ok(())
    }

    fn take_shard(&self, shard: ShardKey) -> Result<ShardHead> {
        let slot = self.database.slot(shard)?;
        self.settle(|it| it.shard == shard)?;
        if let Some(log) = &self.log {
            // Whatever becomes of this: what was decided before is void.
            log.given_up(|owned| owned == shard);
        }
        let head = read::take(&mut self.database.writer(), shard, slot)?;
        if let Some(log) = &self.log {
            log.taken(shard, head.epoch);
        }
        Ok(head)
    }

    fn apply(&self, batch: &[FencedWrite]) -> Result<()> {
        if batch.iter().any(|write| !write.write.inserts.is_empty()) {
            self.space.check()?;
        }
        for write in batch {
            self.database.slot(write.shard)?;
        }
        match &self.log {
            Some(log) => log.commit(batch),
            None => self.database.apply(batch, None),
        }
    }

    fn load_deliveries(&self, shard: ShardKey, from: u64, limit: usize) -> Result<Vec<DeliveryRow>> {
        self.settle(|it| it.shard == shard)?;
        read::deliveries(&self.reader(), self.database.slot(shard)?, from, limit)
    }

    fn load_deduplications(&self, shard: ShardKey, from: u64, limit: usize) -> Result<Vec<DeduplicationRow>> {
        self.settle(|it| it.shard == shard)?;
        read::deduplications(&self.reader(), self.database.slot(shard)?, from, limit)
    }

    fn load_page(
        &self,
        shard: ShardKey,
        range: Range<u64>,
        max_messages: usize,
        max_bytes: usize,
    ) -> Result<(Vec<MessageRow>, bool)> {
        let (database, from) =
            (&self.database, self.log.as_ref().and_then(|log| log.first_in(shard, &range)));
        let read = || read::page(&self.reader(), database.slot(shard)?, &range, max_messages, max_bytes);
        let (rows, exhausted) = read()?;
        // A range mostly goes on to the queue's end, and a page ends long before.
        if from.is_none_or(|from| !exhausted && rows.last().is_some_and(|row| row.sequence < from)) {
            return Ok((rows, exhausted));
        }
        self.settle(|it| it.shard == shard)?;
        read()
    }

    fn load_messages(&self, shard: ShardKey, sequences: &[u64], max_bytes: usize) -> Result<Vec<MessageRow>> {
        let asked: HashSet<u64> = sequences.iter().copied().collect();
        self.settle(|it| {
            it.shard == shard && commit_log::sequences(&it.write).any(|sequence| asked.contains(&sequence))
        })?;
        read::messages(&self.reader(), self.database.slot(shard)?, sequences, max_bytes)
    }

    fn collect(&self, limit: usize, forget_before: Timestamp) -> Result<bool> {
        self.settle(|it| it.write.purge.is_some())?;
        let mut garbage = self.database.garbage();
        garbage.collect(&mut self.database.writer(), limit, forget_before)
    }

    fn durability(&self) -> Result<Durability> {
        let log = self.log.as_ref().map_or(Ok("none"), CommitLog::durability)?.to_owned();
        let writer = self.database.writer();
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
        Ok(vec![("synchronous", synchronous), ("journal_mode", journal_mode), ("commit_log", log)])
    }

    fn idle(&self) {
        if let Some(log) = &self.log {
            log.idle();
        }
        self.database.idle();
    }
}
