//! What an owner reads of its shard.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use lambfold_queue::store::stored::{attempt_of, inconsistent, int, key, sequence, uint};
use lambfold_queue::store::{
    DeduplicationRow, DeliveryRow, MessageRow, ReceiveAttempt, Result, ShardHead, ShardKey, StoreError,
};
use lambfold_types::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior};
use uuid::Uuid;

use super::driver;

/// The slots of all shards whose queues are not deleted.
pub(super) fn slots(connection: &Connection) -> Result<HashMap<ShardKey, i64>> {
    let sql = "SELECT shards.incarnation, shards.shard, shards.slot \
               FROM shards JOIN queues USING (incarnation) WHERE queues.deleted_at IS NULL";
    let mut statement = connection.prepare(sql).map_err(driver)?;
    let rows = statement
        .query_map([], |row| {
            Ok((ShardKey { incarnation: uint(row.get(0)?), shard: row.get(1)? }, row.get(2)?))
        })
        .map_err(driver)?;
    rows.collect::<rusqlite::Result<_>>().map_err(driver)
}

/// Raises the epoch. In a transaction of its own, so that what its commit says is heard.
pub(super) fn take(connection: &mut Connection, shard: ShardKey, slot: i64) -> Result<ShardHead> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(driver)?;
    let sql = "UPDATE shards SET epoch = epoch + 1 WHERE slot = ?1 \
               RETURNING epoch, next_sequence, purged_before, purged_at, live, clock";
    let head = transaction.prepare_cached(sql).map_err(driver)?.query_row((slot,), head);
    let head = head.optional().map_err(driver)?.ok_or(StoreError::NoSuchShard(shard))?;
    transaction.commit().map_err(driver)?;
    Ok(head)
}

/// From the columns epoch, `next_sequence`, `purged_before`, `purged_at`, live, clock.
pub(super) fn head(row: &Row<'_>) -> rusqlite::Result<ShardHead> {
    Ok(ShardHead {
        epoch: uint(row.get(0)?),
        next_sequence: uint(row.get(1)?),
        purged_before: uint(row.get(2)?),
        purged_at: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_millis),
        live: uint(row.get(4)?),
        clock: Timestamp::from_millis(row.get(5)?),
    })
}

pub(super) fn deliveries(
    connection: &Connection,
    slot: i64,
    from: u64,
    limit: usize,
) -> Result<Vec<DeliveryRow>> {
    let sql = "SELECT key, sent_at, visible_at, receive_count, first_received_at, last_received_at, attempt \
               FROM deliveries WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3";
    let mut statement = connection.prepare_cached(sql).map_err(driver)?;
    let params = (key(slot, from), key(slot, u64::MAX), int(limit as u64));
    let mut rows = statement.query(params).map_err(driver)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(driver)? {
        let attempt: Option<Vec<u8>> = row.get(6).map_err(driver)?;
        found.push(delivery(row, attempt.as_deref().map(attempt_of).transpose()?).map_err(driver)?);
    }
    Ok(found)
}

fn delivery(row: &Row<'_>, attempt: Option<ReceiveAttempt>) -> rusqlite::Result<DeliveryRow> {
    let time = |index| row.get(index).map(Timestamp::from_millis);
    Ok(DeliveryRow {
        sequence: sequence(row.get(0)?),
        sent_at: time(1)?,
        visible_at: time(2)?,
        receive_count: row.get(3)?,
        first_received_at: time(4)?,
        last_received_at: time(5)?,
        attempt,
    })
}

pub(super) fn deduplications(
    connection: &Connection,
    slot: i64,
    from: u64,
    limit: usize,
) -> Result<Vec<DeduplicationRow>> {
    let sql = "SELECT key, sent_at, id, message_id FROM deduplications \
               WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3";
    let mut statement = connection.prepare_cached(sql).map_err(driver)?;
    let params = (key(slot, from), key(slot, u64::MAX), int(limit as u64));
    let rows = statement.query_map(params, |row| {
        Ok(DeduplicationRow {
            sequence: sequence(row.get(0)?),
            sent_at: row.get(1).map(Timestamp::from_millis)?,
            id: u128::from_be_bytes(row.get(2)?),
            message_id: Uuid::from_bytes(row.get(3)?),
        })
    });
    rows.map_err(driver)?.collect::<rusqlite::Result<_>>().map_err(driver)
}

pub(super) fn page(
    connection: &Connection,
    slot: i64,
    range: &Range<u64>,
    max_messages: usize,
    max_bytes: usize,
) -> Result<(Vec<MessageRow>, bool)> {
    let sql = "SELECT key, sent_at, record FROM messages WHERE key >= ?1 AND key < ?2 ORDER BY key";
    let mut statement = connection.prepare_cached(sql).map_err(driver)?;
    let mut rows = statement.query((key(slot, range.start), key(slot, range.end))).map_err(driver)?;
    let mut found: Vec<MessageRow> = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next().map_err(driver)? {
        if found.len() >= max_messages {
            return Ok((found, false));
        }
        let message = message(row)?;
        bytes += message.record.len();
        if bytes > max_bytes && !found.is_empty() {
            return Ok((found, false));
        }
        found.push(message);
    }
    Ok((found, true))
}

pub(super) fn messages(
    connection: &Connection,
    slot: i64,
    sequences: &[u64],
    max_bytes: usize,
) -> Result<Vec<MessageRow>> {
    let sql = "SELECT key, sent_at, record FROM messages WHERE key = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(driver)?;
    let mut found: Vec<MessageRow> = Vec::new();
    let mut bytes = 0;
    for sequence in sequences {
        let mut rows = statement.query((key(slot, *sequence),)).map_err(driver)?;
        let Some(row) = rows.next().map_err(driver)? else { continue };
        let message = message(row)?;
        bytes += message.record.len();
        if bytes > max_bytes && !found.is_empty() {
            break;
        }
        found.push(message);
    }
    Ok(found)
}

fn message(row: &Row<'_>) -> Result<MessageRow> {
    let key = row.get(0).map_err(driver)?;
    let sent_at = Timestamp::from_millis(row.get(1).map_err(driver)?);
    let record = row.get_ref(2).map_err(driver)?;
    let record = record.as_blob().map_err(|error| inconsistent("messages", error.to_string()))?;
    Ok(MessageRow { sequence: sequence(key), sent_at, record: Bytes::copy_from_slice(record) })
}
