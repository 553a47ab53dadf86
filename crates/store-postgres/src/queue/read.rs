//! What an owner reads of its shard.
//!
//! Each statement looks for the shard itself, so that none shows what another shard keeps in a slot that it took over:
//! no row says that there is no such shard, a row of NULL that nothing was found.

use std::ops::Range;

use bytes::Bytes;
use lambfold_queue::store::stored::{attempt_of, int, key, sequence, uint};
use lambfold_queue::store::{
    DeduplicationRow, DeliveryRow, Durability, MessageRow, Result, ShardKey, StoreError,
};
use lambfold_types::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::connection::{Param, Session};

const DELIVERIES: &str = "SELECT found.* FROM (SELECT slot << 43 AS first FROM shards JOIN queues USING (incarnation) \
        WHERE incarnation = $1 AND shard = $2 AND deleted_at IS NULL) AS mine \
    LEFT JOIN LATERAL (SELECT key, sent_at, visible_at, receive_count, first_received_at, last_received_at, attempt \
        FROM deliveries WHERE key >= first + $3 AND key <= first + $4 ORDER BY key LIMIT $5) AS found ON true \
    ORDER BY key";

const DEDUPLICATIONS: &str = "SELECT found.* FROM (SELECT slot << 43 AS first FROM shards JOIN queues USING (incarnation) \
        WHERE incarnation = $1 AND shard = $2 AND deleted_at IS NULL) AS mine \
    LEFT JOIN LATERAL (SELECT key, sent_at, id, message_id \
        FROM deduplications WHERE key >= first + $3 AND key <= first + $4 ORDER BY key LIMIT $5) AS found ON true \
    ORDER BY key";

/// Of what does not fit ($6 messages, $7 bytes), only the first row comes, without its record: it says that there is more.
const PAGE: &str = "SELECT key, sent_at, CASE WHEN number = 1 OR (number <= $6 AND bytes <= $7) THEN record END \
    FROM (SELECT slot << 43 AS first FROM shards JOIN queues USING (incarnation) \
        WHERE incarnation = $1 AND shard = $2 AND deleted_at IS NULL) AS mine \
    LEFT JOIN LATERAL (SELECT *, row_number() OVER ordered AS number, sum(length(record)) OVER ordered AS bytes \
        FROM (SELECT key, sent_at, record FROM messages WHERE key >= first + $3 AND key <= first + $4 \
            ORDER BY key LIMIT $5) AS taken \
        WINDOW ordered AS (ORDER BY key)) AS found ON number <= 2 OR bytes - length(record) <= $7 \
    ORDER BY key";

const MESSAGES: &str = "SELECT key, sent_at, CASE WHEN number = 1 OR bytes <= $4 THEN record END \
    FROM (SELECT slot << 43 AS first FROM shards JOIN queues USING (incarnation) \
        WHERE incarnation = $1 AND shard = $2 AND deleted_at IS NULL) AS mine \
    LEFT JOIN LATERAL (SELECT *, row_number() OVER ordered AS number, sum(length(record)) OVER ordered AS bytes \
        FROM (SELECT key, sent_at, record, place FROM unnest($3::bigint[]) WITH ORDINALITY AS wanted (sequence, place) \
            JOIN messages ON key = first + sequence) AS taken \
        WINDOW ordered AS (ORDER BY place)) AS found ON number = 1 OR bytes - length(record) <= $4 \
    ORDER BY place";

/// A number that a sequence may be.
fn place(sequence: u64) -> i64 {
    key(0, sequence)
}

/// The last place before `end`.
fn last_before(end: u64) -> i64 {
    place(end) - 1
}

/// What was found, if there is such a shard.
fn found(shard: ShardKey, rows: &[Row]) -> Result<impl Iterator<Item = (u64, Timestamp, &Row)>> {
    if rows.is_empty() {
        return Err(StoreError::NoSuchShard(shard));
    }
    Ok(rows.iter().filter_map(|row| {
        let key: i64 = row.get::<_, Option<i64>>(0)?;
        Some((sequence(key), Timestamp::from_millis(row.get(1)), row))
    }))
}

pub(super) async fn deliveries(
    session: &mut Session,
    shard: ShardKey,
    from: u64,
    limit: usize,
) -> Result<Vec<DeliveryRow>> {
    let rows = range(session, DELIVERIES, shard, from, limit).await?;
    let found = found(shard, &rows)?;
    let rows = found.map(|(sequence, sent_at, row)| {
        let time = |index| Timestamp::from_millis(row.get(index));
        let attempt: Option<&[u8]> = row.get(6);
        Ok(DeliveryRow {
            sequence,
            sent_at,
            visible_at: time(2),
            receive_count: u32::try_from(row.get::<_, i64>(3)).unwrap_or(u32::MAX),
            first_received_at: time(4),
            last_received_at: time(5),
            attempt: attempt.map(attempt_of).transpose()?,
        })
    });
    rows.collect()
}

pub(super) async fn deduplications(
    session: &mut Session,
    shard: ShardKey,
    from: u64,
    limit: usize,
) -> Result<Vec<DeduplicationRow>> {
    let rows = range(session, DEDUPLICATIONS, shard, from, limit).await?;
    let found = found(shard, &rows)?;
    let rows = found.map(|(sequence, sent_at, row)| DeduplicationRow {
        sequence,
        sent_at,
        id: row.get::<_, Uuid>(2).as_u128(),
        message_id: row.get(3),
    });
    Ok(rows.collect())
}

/// The rows of a shard from a sequence on.
async fn range(
    session: &mut Session,
    sql: &'static str,
    shard: ShardKey,
    from: u64,
    limit: usize,
) -> Result<Vec<Row>> {
    let (incarnation, number) = (int(shard.incarnation), i32::from(shard.shard));
    let params: [Param<'_>; 5] =
        [&incarnation, &number, &place(from), &last_before(u64::MAX), &int(limit as u64)];
    session.rows(sql, &params).await
}

pub(super) async fn page(
    session: &mut Session,
    shard: ShardKey,
    range: &Range<u64>,
    max_messages: usize,
    max_bytes: usize,
) -> Result<(Vec<MessageRow>, bool)> {
    let (incarnation, number) = (int(shard.incarnation), i32::from(shard.shard));
    let (messages, bytes) = (int(max_messages as u64), int(max_bytes as u64));
    let (first, last) = (place(range.start), last_before(range.end));
    let params: [Param<'_>; 7] =
        [&incarnation, &number, &first, &last, &messages.saturating_add(1), &messages, &bytes];
    let rows = session.rows(PAGE, &params).await?;
    Ok(messages_of(found(shard, &rows)?))
}

pub(super) async fn messages(
    session: &mut Session,
    shard: ShardKey,
    sequences: &[u64],
    max_bytes: usize,
) -> Result<Vec<MessageRow>> {
    let wanted: Vec<i64> = sequences.iter().map(|sequence| int(*sequence)).collect();
    let (incarnation, number) = (int(shard.incarnation), i32::from(shard.shard));
    let params: [Param<'_>; 4] = [&incarnation, &number, &wanted, &int(max_bytes as u64)];
    let rows = session.rows(MESSAGES, &params).await?;
    Ok(messages_of(found(shard, &rows)?).0)
}

/// Those that fit, and whether these are all.
fn messages_of<'a>(found: impl Iterator<Item = (u64, Timestamp, &'a Row)>) -> (Vec<MessageRow>, bool) {
    let mut messages = Vec::new();
    for (sequence, sent_at, row) in found {
        let Some(record) = row.get::<_, Option<&[u8]>>(2) else { return (messages, false) };
        messages.push(MessageRow { sequence, sent_at, record: Bytes::copy_from_slice(record) });
    }
    (messages, true)
}

/// What an owner has to know, of the columns from `epoch` on.
pub(super) fn head(row: &Row) -> lambfold_queue::store::ShardHead {
    lambfold_queue::store::ShardHead {
        epoch: uint(row.get(0)),
        next_sequence: uint(row.get(1)),
        purged_before: uint(row.get(2)),
        purged_at: row.get::<_, Option<i64>>(3).map(Timestamp::from_millis),
        live: uint(row.get(4)),
        clock: Timestamp::from_millis(row.get(5)),
    }
}

/// What the server says of its commits.
pub(super) async fn durability(session: &mut Session) -> Result<Durability> {
    let sql = "SELECT current_setting('synchronous_commit'), current_setting('fsync')";
    let row = session.row(sql, &[]).await?;
    Ok(row.map(|row| vec![("synchronous_commit", row.get(0)), ("fsync", row.get(1))]).unwrap_or_default())
}
