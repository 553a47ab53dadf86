//! Queues and keys: small, rare, written by themselves.

use lambfold_queue::store::stored::{QueueColumns, SLOT_END, int, mac_key, uint};
use lambfold_queue::store::{Directory, DirectoryChange, QueueRow, Result, ShardKey, StoreError};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior};

use super::driver;
use super::move_tasks;

pub(super) fn load(connection: &Connection) -> Result<Directory> {
    let mut directory = Directory { move_tasks: move_tasks::load(connection)?, ..Directory::default() };
    let sql = "SELECT incarnation, account, region, name, kind, created_at, modified_at, deleted_at, properties \
               FROM queues ORDER BY incarnation";
    let mut statement = connection.prepare(sql).map_err(driver)?;
    let mut rows = statement.query([]).map_err(driver)?;
    while let Some(row) = rows.next().map_err(driver)? {
        read(row).map_err(driver)?.add_to(&mut directory)?;
    }
    let mut statement = connection.prepare("SELECT id, secret FROM mac_keys ORDER BY id").map_err(driver)?;
    let keys = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(driver)?;
    for key in keys {
        let (id, secret) = key.map_err(driver)?;
        directory.mac_keys.push(mac_key(id, secret)?);
    }
    Ok(directory)
}

pub(super) fn change(connection: &mut Connection, change: &DirectoryChange) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(driver)?;
    match change {
        DirectoryChange::SetProperties { incarnation, properties, modified_at } => {
            let sql = "UPDATE queues SET properties = ?2, modified_at = ?3 \
                       WHERE incarnation = ?1 AND deleted_at IS NULL";
            let params = (int(*incarnation), QueueColumns::properties(properties), modified_at.millis());
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
            move_tasks::put(&transaction, task)?;
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
    let columns = QueueColumns::of(row, incarnation);
    let params = (
        columns.incarnation,
        columns.account,
        columns.region,
        columns.name,
        columns.kind,
        columns.created_at,
        columns.modified_at,
        columns.properties,
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

fn read(row: &Row<'_>) -> rusqlite::Result<QueueColumns> {
    Ok(QueueColumns {
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
