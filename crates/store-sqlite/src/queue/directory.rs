//! Queues and keys: small, rare, written by themselves.

use lambfold_queue::store::{
    DeletedQueue, Directory, DirectoryChange, QueueRow, Result, ShardKey, StoreError,
};
use lambfold_queue::{DeduplicationScope, MacKey, QueueKind};
use lambfold_types::{QueueName, Scope, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior};

use super::driver;
use super::rows::{SLOT_END, inconsistent, int, uint};
use super::{move_tasks, properties};

const STANDARD: i64 = 0;
const FIFO: i64 = 1;
const FIFO_BY_GROUP: i64 = 2;

pub(super) fn load(connection: &Connection) -> Result<Directory> {
    let mut directory = Directory { move_tasks: move_tasks::load(connection)?, ..Directory::default() };
    let sql = "SELECT incarnation, account, region, name, kind, created_at, modified_at, deleted_at, properties \
               FROM queues ORDER BY incarnation";
    let mut statement = connection.prepare(sql).map_err(driver)?;
    let mut rows = statement.query([]).map_err(driver)?;
    while let Some(row) = rows.next().map_err(driver)? {
        let stored = StoredQueue::read(row).map_err(driver)?;
        let deleted_at = stored.deleted_at;
        let queue = stored.parse()?;
        match deleted_at {
            None => directory.queues.push(queue),
            Some(at) => directory.deleted.push(DeletedQueue {
                scope: queue.scope,
                name: queue.name,
                deleted_at: Timestamp::from_millis(at),
            }),
        }
    }
    let mut statement = connection.prepare("SELECT id, secret FROM mac_keys ORDER BY id").map_err(driver)?;
    let keys = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(driver)?;
    for key in keys {
        let (id, secret): (u32, Vec<u8>) = key.map_err(driver)?;
        let secret = secret
            .try_into()
            .map_err(|_| inconsistent("mac_keys", format!("key {id} is not of 32 bytes")))?;
        directory.mac_keys.push(MacKey { id, secret });
    }
    Ok(directory)
}

pub(super) fn change(connection: &mut Connection, change: &DirectoryChange) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(driver)?;
    match change {
        DirectoryChange::SetProperties { incarnation, properties, modified_at } => {
            let sql = "UPDATE queues SET properties = ?2, modified_at = ?3 \
                       WHERE incarnation = ?1 AND deleted_at IS NULL";
            let params = (int(*incarnation), properties::encode(properties), modified_at.millis());
            one(*incarnation, transaction.execute(sql, params))?;
        }
        DirectoryChange::Delete { incarnation, deleted_at } => {
            let sql = "UPDATE queues SET deleted_at = ?2 WHERE incarnation = ?1 AND deleted_at IS NULL";
            one(*incarnation, transaction.execute(sql, (int(*incarnation), deleted_at.millis())))?;
        }
        DirectoryChange::AddMacKey(key) => {
            let sql = "INSERT INTO mac_keys (id, secret) VALUES (?1, ?2)";
            transaction.execute(sql, (key.id, &key.secret[..])).map_err(driver)?;
        }
        DirectoryChange::PutMoveTask(task) => {
            move_tasks::put(&transaction, task).map_err(driver)?;
        }
        DirectoryChange::ForgetMoveTask(id) => {
            move_tasks::forget(&transaction, *id).map_err(driver)?;
        }
    }
    transaction.commit().map_err(driver)
}

/// Returns the queue as it is stored, and the slot of its shard.
pub(super) fn create(connection: &mut Connection, row: &QueueRow) -> Result<(QueueRow, i64)> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(driver)?;
    let sql = "UPDATE counters SET value = value + 1 WHERE name = 'next_incarnation' RETURNING value - 1";
    let incarnation: i64 = transaction.query_row(sql, [], |row| row.get(0)).map_err(driver)?;
    let sql = "INSERT INTO queues \
               (incarnation, account, region, name, kind, created_at, modified_at, deleted_at, properties) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL, ?8)";
    let kind = match row.kind {
        QueueKind::Standard => STANDARD,
        QueueKind::Fifo(DeduplicationScope::Queue) => FIFO,
        QueueKind::Fifo(DeduplicationScope::MessageGroup) => FIFO_BY_GROUP,
    };
    let params = (
        incarnation,
        row.scope.account.to_string(),
        row.scope.region.as_str(),
        row.name.as_str(),
        kind,
        row.created_at.millis(),
        row.modified_at.millis(),
        properties::encode(&row.properties),
    );
    transaction.execute(sql, params).map_err(|error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ConstraintViolation) => StoreError::NameTaken,
        _ => driver(error),
    })?;
    let slot = free_slot(&transaction)?;
    let sql = "INSERT INTO shards (slot, incarnation, shard, epoch, next_sequence, purged_before, collected_before, \
               purged_at, live, clock) VALUES (?1, ?2, 0, 0, 1, 0, 0, NULL, 0, 0)";
    transaction.execute(sql, (slot, incarnation)).map_err(driver)?;
    transaction.commit().map_err(driver)?;
    Ok((QueueRow { incarnation: uint(incarnation), ..row.clone() }, slot))
}

/// A slot that no shard has; one behind all others as long as there is one.
fn free_slot(transaction: &Transaction<'_>) -> Result<i64> {
    let behind = "SELECT coalesce(max(slot) + 1, 0) FROM shards";
    let slot: i64 = transaction.query_row(behind, [], |row| row.get(0)).map_err(driver)?;
    if slot < SLOT_END {
        return Ok(slot);
    }
    let gap = "SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM shards WHERE slot = 0) UNION ALL \
               SELECT slot + 1 FROM shards AS lower WHERE slot + 1 < ?1 \
               AND NOT EXISTS (SELECT 1 FROM shards WHERE slot = lower.slot + 1) LIMIT 1";
    let found = transaction.query_row(gap, (SLOT_END,), |row| row.get(0)).optional().map_err(driver)?;
    found.ok_or(StoreError::Full)
}

fn one(incarnation: u64, changed: rusqlite::Result<usize>) -> Result<()> {
    match changed.map_err(driver)? {
        0 => Err(StoreError::NoSuchShard(ShardKey { incarnation, shard: 0 })),
        _ => Ok(()),
    }
}

/// A row of `queues` as it is.
struct StoredQueue {
    incarnation: i64,
    account: String,
    region: String,
    name: String,
    kind: i64,
    created_at: i64,
    modified_at: i64,
    deleted_at: Option<i64>,
    properties: String,
}

impl StoredQueue {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            incarnation: row.get(0)?,
            account: row.get(1)?,
            region: row.get(2)?,
            name: row.get(3)?,
            kind: row.get(4)?,
            created_at: row.get(5)?,
            modified_at: row.get(6)?,
            deleted_at: row.get(7)?,
            properties: row.get(8)?,
        })
    }

    fn parse(self) -> Result<QueueRow> {
        let wrong = |detail: String| inconsistent("queues", format!("queue {}: {detail}", self.incarnation));
        let scope = Scope {
            account: self.account.parse().map_err(|error| wrong(format!("{error}")))?,
            region: self.region.parse().map_err(|error| wrong(format!("{error}")))?,
        };
        let name: QueueName = self.name.parse().map_err(|_| wrong(format!("{:?} is no name", self.name)))?;
        let kind = match self.kind {
            STANDARD => QueueKind::Standard,
            FIFO => QueueKind::Fifo(DeduplicationScope::Queue),
            FIFO_BY_GROUP => QueueKind::Fifo(DeduplicationScope::MessageGroup),
            other => return Err(wrong(format!("kind {other} is unknown"))),
        };
        let properties = properties::decode(&self.properties).map_err(wrong)?;
        Ok(QueueRow {
            scope,
            name,
            incarnation: uint(self.incarnation),
            kind,
            created_at: Timestamp::from_millis(self.created_at),
            modified_at: Timestamp::from_millis(self.modified_at),
            properties,
        })
    }
}
