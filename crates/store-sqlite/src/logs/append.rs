//! Events coming in.

use std::collections::HashMap;

use lambfold_logs::record::{Batch, GroupSettings};
use lambfold_logs::store::{Found, Result};
use lambfold_types::Timestamp;
use rusqlite::{Connection, params};

use super::{create_group, create_stream, driver, execute, group_id, integer, stream_id};

pub(super) fn append(connection: &Connection, batches: &[Batch], now: Timestamp) -> Result<Vec<Found<u64>>> {
    let mut next: i64 = connection
        .prepare_cached("SELECT next_sequence FROM totals")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(driver)?;
    let mut groups: HashMap<i64, usize> = HashMap::new();
    let mut insert = connection
        .prepare_cached(
            "INSERT INTO events (sequence, group_id, stream_id, time_ms, ingested_ms, message) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .map_err(driver)?;
    let mut outcomes = Vec::with_capacity(batches.len());
    for batch in batches {
        let (group, stream) = match place(connection, batch, now)? {
            Found::Here(place) => place,
            Found::NoGroup => {
                outcomes.push(Found::NoGroup);
                continue;
            }
            Found::NoStream => {
                outcomes.push(Found::NoStream);
                continue;
            }
        };
        outcomes.push(Found::Here(u64::try_from(next).unwrap_or_default()));
        for event in &batch.events {
            insert
                .execute(params![next, group, stream, event.time.millis(), now.millis(), event.message])
                .map_err(driver)?;
            next += 1;
        }
        let times = batch.events.iter().map(|event| event.time.millis());
        if let (Some(first), Some(last)) = (times.clone().min(), times.max()) {
            execute(
                connection,
                "UPDATE streams SET first_ms = min(coalesce(first_ms, ?2), ?2), last_ms = max(last_ms, ?3), \
                 ingested_ms = ?4, emptied_ms = NULL WHERE id = ?1",
                params![stream, first, last, now.millis()],
            )?;
        }
        *groups.entry(group).or_default() += batch.bytes();
    }
    for (group, bytes) in &groups {
        let sql = "UPDATE groups SET stored_bytes = stored_bytes + ?2 WHERE id = ?1";
        execute(connection, sql, params![group, integer(*bytes)])?;
    }
    let sql = "UPDATE totals SET next_sequence = ?1, stored_bytes = stored_bytes + ?2";
    execute(connection, sql, params![next, integer(groups.values().sum())])?;
    Ok(outcomes)
}

/// The ids of group and stream.
fn place(connection: &Connection, batch: &Batch, now: Timestamp) -> Result<Found<(i64, i64)>> {
    let group = match group_id(connection, &batch.scope, &batch.group)? {
        Some(group) => group,
        None if !batch.create => return Ok(Found::NoGroup),
        None => {
            let settings = GroupSettings::default();
            match create_group(connection, &batch.scope, &batch.group, &settings, now)? {
                Some(group) => group,
                None => return Ok(Found::NoGroup),
            }
        }
    };
    if let Some(stream) = stream_id(connection, group, &batch.stream)? {
        return Ok(Found::Here((group, stream)));
    }
    if !batch.create {
        return Ok(Found::NoStream);
    }
    let stream = create_stream(connection, group, &batch.stream, now)?;
    Ok(stream.map_or(Found::NoStream, |stream| Found::Here((group, stream))))
}
