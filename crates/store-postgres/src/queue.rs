//! The queue engine's store, which several nodes may share.
//!
//! A commit is one call of a function in the database, and so one round trip. One connection writes, from the engine's
//! writer thread; one reads, from its reader thread; one holds the node's lease, so that neither can delay it.

mod batch;
mod collect;
mod directory;
mod known;
mod move_tasks;
mod nodes;
mod read;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lambfold_queue::store::{
    DeduplicationRow, DeliveryRow, Directory, DirectoryChange, DirectoryNews, Durability, FencedWrite,
    MessageRow, QueueRow, Result, ShardHead, ShardKey, SharedStore, StoreError,
};
use lambfold_queue::{MoveTask, QueueStore};
use lambfold_types::{QueueName, Scope, Timestamp};

use crate::connection::{Connection, Target, failed, has_state};
use crate::migrate::migrate;

use self::batch::Batch;
use self::known::Known;
use self::nodes::Membership;

const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/postgres/queue/0001_queues.sql"),
    include_str!("../../../migrations/postgres/queue/0002_fifo.sql"),
    include_str!("../../../migrations/postgres/queue/0003_move_tasks.sql"),
    include_str!("../../../migrations/postgres/queue/0004_nodes.sql"),
    include_str!("../../../migrations/postgres/queue/0005_receive_attempts.sql"),
    include_str!("../../../migrations/postgres/queue/0006_commit_log.sql"),
];

/// No call takes longer, but for migrations.
const PATIENCE: Duration = Duration::from_secs(30);

/// Others may be at it, one after the other.
const MIGRATION_PATIENCE: Duration = Duration::from_mins(10);

/// Settings of the store.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// `postgresql://user:password@host:port/database`. TLS if it says `sslmode=require` or `sslmode=verify-full`: the
    /// certificate is checked in both cases, against the file `sslrootcert` or else the system's roots.
    pub url: String,
    /// How long a node's lease holds after it was granted or renewed.
    pub lease: Duration,
    /// Where the tables are; made if it is not there.
    pub schema: String,
}

impl Options {
    /// The defaults, for the database at `url`: a lease of 5 s, in the schema `lambfold_queue`.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), lease: Duration::from_secs(5), schema: "lambfold_queue".to_owned() }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        let Self { url: _, lease, schema } = self;
        f.debug_struct("Options").field("lease", lease).field("schema", schema).finish_non_exhaustive()
    }
}

/// Queues in one schema of a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresQueueStore {
    lease: Duration,
    writer: Connection,
    reader: Connection,
    leases: Connection,
    known: Mutex<Known>,
    membership: Mutex<Membership>,
}

impl PostgresQueueStore {
    /// Connects, creating or migrating the tables if need be. Refused if a later release wrote them.
    pub fn open(options: &Options) -> Result<Self> {
        let target = Target::parse(&options.url, &options.schema).map_err(failed)?;
        let schema = target.schema();
        let migrations = Connection::new(target.clone(), MIGRATION_PATIENCE)?;
        migrations.call(async |session| migrate(session, &schema, MIGRATIONS).await)?;
        Ok(Self {
            lease: options.lease,
            writer: Connection::new(target.clone(), PATIENCE)?,
            reader: Connection::new(target.clone(), PATIENCE)?,
            // What takes longer than the lease comes too late.
            leases: Connection::new(target, options.lease)?,
            known: Mutex::default(),
            membership: Mutex::default(),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn membership(&self) -> Membership {
        *self.membership.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_membership(&self, membership: Membership) {
        *self.membership.lock().unwrap_or_else(PoisonError::into_inner) = membership;
    }
}

impl QueueStore for PostgresQueueStore {
    fn blocks(&self) -> bool {
        true
    }

    fn load_directory(&self) -> Result<Directory> {
        self.reader.read(async |session| directory::load(session).await)
    }

    fn create_queue(&self, row: &QueueRow) -> Result<QueueRow> {
        self.writer.call(async |session| directory::create(session, row).await)
    }

    fn change_directory(&self, change: &DirectoryChange) -> Result<()> {
        self.writer.call(async |session| directory::change(session, change).await)?;
        if let DirectoryChange::Delete { incarnation, .. } = change {
            self.known().forget_queue(*incarnation);
        }
        Ok(())
    }

    fn take_shard(&self, shard: ShardKey) -> Result<ShardHead> {
        let membership = self.membership();
        self.known().forget(shard);
        let (slot, head) = self.writer.call(async |session| nodes::take(session, shard, membership).await)?;
        self.known().learn(shard, slot, head.epoch, head.purged_before);
        Ok(head)
    }

    fn apply(&self, batch: &[FencedWrite]) -> Result<()> {
        let mut known = self.known();
        for write in batch.iter().filter(|write| !known.has(write.shard, write.epoch)).collect::<Vec<_>>() {
            // No owner comes here, but one that was fenced or whose last commit failed.
            let shard = write.shard;
            let owned = self.writer.read(async |session| batch::owned(session, shard, write.epoch).await)?;
            known.learn(shard, owned.slot, write.epoch, owned.purged_before);
        }
        let rows = Batch::of(batch, &known);
        let applied = self.writer.call(async |session| rows.apply(session).await);
        match applied {
            Ok(()) => known.applied(batch),
            // What was known may not be so any more.
            Err(_) => batch.iter().for_each(|write| known.forget(write.shard)),
        }
        match applied {
            Err(error) if has_state(&error, batch::FENCED) => {
                for write in batch {
                    self.writer
                        .read(async |session| batch::owned(session, write.shard, write.epoch).await)?;
                }
                Err(error)
            }
            applied => applied,
        }
    }

    fn load_deliveries(&self, shard: ShardKey, from: u64, limit: usize) -> Result<Vec<DeliveryRow>> {
        self.reader.read(async |session| read::deliveries(session, shard, from, limit).await)
    }

    fn load_deduplications(&self, shard: ShardKey, from: u64, limit: usize) -> Result<Vec<DeduplicationRow>> {
        self.reader.read(async |session| read::deduplications(session, shard, from, limit).await)
    }

    fn load_page(
        &self,
        shard: ShardKey,
        range: Range<u64>,
        max_messages: usize,
        max_bytes: usize,
    ) -> Result<(Vec<MessageRow>, bool)> {
        self.reader.read(async |session| read::page(session, shard, &range, max_messages, max_bytes).await)
    }

    fn load_messages(&self, shard: ShardKey, sequences: &[u64], max_bytes: usize) -> Result<Vec<MessageRow>> {
        self.reader.read(async |session| read::messages(session, shard, sequences, max_bytes).await)
    }

    fn collect(&self, limit: usize, forget_before: Timestamp) -> Result<bool> {
        self.writer.call(async |session| collect::collect(session, limit, forget_before).await)
    }

    fn durability(&self) -> Result<Durability> {
        self.reader.read(async |session| read::durability(session).await)
    }

    fn idle(&self) {}

    fn shared(&self) -> Option<&dyn SharedStore> {
        Some(self)
    }
}

impl SharedStore for PostgresQueueStore {
    fn lease(&self) -> Duration {
        self.lease
    }

    fn join(&self, address: &str) -> Result<()> {
        let lease = self.lease;
        let id = self.leases.call(async |session| nodes::join(session, address, lease).await)?;
        self.set_membership(Membership::Node(id));
        Ok(())
    }

    fn renew(&self) -> Result<()> {
        let Membership::Node(id) = self.membership() else { return Err(StoreError::LeaseLost) };
        let lease = self.lease;
        self.leases.call(async |session| nodes::renew(session, id, lease).await)
    }

    fn leave(&self) -> Result<()> {
        let Membership::Node(id) = self.membership() else { return Ok(()) };
        self.set_membership(Membership::Left);
        self.leases.call(async |session| nodes::leave(session, id).await)
    }

    fn news(&self, revision: u64) -> Result<DirectoryNews> {
        self.reader.read(async |session| directory::news(session, revision).await)
    }

    fn move_tasks(&self, scope: &Scope, source: &QueueName) -> Result<Vec<MoveTask>> {
        self.reader.read(async |session| move_tasks::of(session, scope, source).await)
    }

    fn active_move_tasks(&self) -> Result<Vec<MoveTask>> {
        self.reader.read(async |session| move_tasks::active(session).await)
    }
}
