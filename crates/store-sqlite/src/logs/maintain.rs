//! Removing what is no longer wanted, a step at a time.

use std::collections::{BTreeSet, HashMap};

use lambfold_logs::record::EVENT_OVERHEAD;
use lambfold_logs::store::{EMPTY_STREAM_MS, Maintained, Result};
use lambfold_types::Timestamp;
use rusqlite::{Connection, OptionalExtension, Params, params};

use super::{driver, execute, integer};

const OF_STREAM: &str = "SELECT sequence, group_id, stream_id, octet_length(message) FROM events \
                         WHERE stream_id = ?1 ORDER BY time_ms, sequence LIMIT ?2";
const OF_GROUP: &str = "SELECT sequence, group_id, stream_id, octet_length(message) FROM events \
                        WHERE group_id = ?1 AND time_ms < ?2 ORDER BY time_ms, sequence LIMIT ?3";
const EMPTY: &str = "DELETE FROM streams WHERE id IN \
                     (SELECT id FROM streams WHERE emptied_ms <= ?1 ORDER BY emptied_ms LIMIT ?2)";
const OLDEST: &str =
    "SELECT sequence, group_id, stream_id, octet_length(message) FROM events ORDER BY sequence LIMIT ?1";

/// What a test asks the plans of. `OLDEST` walks the table in its own order.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[OF_STREAM, OF_GROUP, EMPTY];

/// Groups with a retention that one step looks at.
const GROUPS: i64 = 1000;
/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

pub(super) fn stored_bytes(connection: &Connection) -> Result<u64> {
    let bytes: i64 = connection
        .prepare_cached("SELECT stored_bytes FROM totals")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(driver)?;
    Ok(bytes.max(0).unsigned_abs())
}

pub(super) fn maintain(
    connection: &Connection,
    now: Timestamp,
    most_bytes: u64,
    budget: usize,
) -> Result<Maintained> {
    let mut step = Step { connection, now, left: budget };
    let (deleted, more_deleted) = step.deleted()?;
    let (expired, more_expired) = step.expired()?;
    let (evicted, more_evicted) = step.evicted(most_bytes)?;
    let more_emptied = step.emptied()?;
    let more = more_deleted || more_expired || more_evicted || more_emptied;
    Ok(Maintained { expired: deleted + expired, evicted, more })
}

struct Step<'a> {
    connection: &'a Connection,
    now: Timestamp,
    left: usize,
}

struct Doomed {
    sequence: i64,
    group: i64,
    stream: i64,
    bytes: i64,
}

impl Step<'_> {
    /// Events of groups and streams that are gone.
    fn deleted(&mut self) -> Result<(usize, bool)> {
        let mut total = 0;
        loop {
            let next: Option<(String, i64)> = self
                .connection
                .prepare_cached("SELECT kind, id FROM deleted LIMIT 1")
                .and_then(|mut it| it.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional())
                .map_err(driver)?;
            let Some((kind, id)) = next else { return Ok((total, false)) };
            if self.left == 0 {
                return Ok((total, true));
            }
            let is_group = kind == "group";
            let (wanted, removed) = if is_group {
                (self.left, self.remove(OF_GROUP, params![id, i64::MAX, integer(self.left)])?)
            } else {
                (self.left, self.remove(OF_STREAM, params![id, integer(self.left)])?)
            };
            total += removed;
            if removed == wanted {
                continue;
            }
            if is_group {
                // Streams are rows as well: in steps, too.
                let sql =
                    "DELETE FROM streams WHERE id IN (SELECT id FROM streams WHERE group_id = ?1 LIMIT ?2)";
                let gone = execute(self.connection, sql, params![id, integer(self.left)])?;
                if gone == self.left {
                    self.left = 0;
                    return Ok((total, true));
                }
                self.left -= gone;
            }
            execute(self.connection, "DELETE FROM deleted WHERE kind = ?1 AND id = ?2", params![kind, id])?;
        }
    }

    /// Events whose group has a retention, and whose time is over.
    fn expired(&mut self) -> Result<(usize, bool)> {
        let groups: Vec<(i64, i64)> = {
            // Those that have something to remove: one look at an index each.
            let mut statement = self
                .connection
                .prepare_cached(
                    "SELECT id, retention_days FROM groups WHERE retention_days IS NOT NULL AND EXISTS \
                     (SELECT 1 FROM events WHERE group_id = groups.id AND time_ms < ?1 - retention_days * ?2) LIMIT ?3",
                )
                .map_err(driver)?;
            let parameters = params![self.now.millis(), DAY_MS, GROUPS];
            let rows = statement
                .query_map(parameters, |row| Ok((row.get(0)?, row.get(1)?)))
                .and_then(Iterator::collect);
            rows.map_err(driver)?
        };
        let mut total = 0;
        for (group, days) in groups {
            if self.left == 0 {
                return Ok((total, true));
            }
            let wanted = self.left;
            let before = self.now.millis() - days * DAY_MS;
            let removed = self.remove(OF_GROUP, params![group, before, integer(wanted)])?;
            total += removed;
            if removed == wanted {
                return Ok((total, true));
            }
        }
        Ok((total, false))
    }

    /// The oldest events, while there is too much.
    fn evicted(&mut self, most_bytes: u64) -> Result<(usize, bool)> {
        let mut total = 0;
        loop {
            let excess = stored_bytes(self.connection)?.saturating_sub(most_bytes);
            if excess == 0 {
                return Ok((total, false));
            }
            if self.left == 0 {
                return Ok((total, true));
            }
            let mut doomed = self.find(OLDEST, params![integer(self.left.min(1000))])?;
            let mut bytes = 0;
            let enough = doomed.iter().position(|event| {
                bytes += event.bytes.max(0).unsigned_abs();
                bytes >= excess
            });
            doomed.truncate(enough.map_or(doomed.len(), |last| last + 1));
            if doomed.is_empty() {
                return Ok((total, false));
            }
            total += doomed.len();
            self.drop_all(&doomed)?;
        }
    }

    /// Streams that lost their events and got none for a while. Whether there may be more.
    fn emptied(&mut self) -> Result<bool> {
        let before = self.now.millis() - EMPTY_STREAM_MS;
        let gone = execute(self.connection, EMPTY, params![before, integer(self.left)])?;
        let more = gone == self.left;
        self.left -= gone;
        Ok(more)
    }

    fn find(&self, sql: &str, parameters: impl Params) -> Result<Vec<Doomed>> {
        let overhead = i64::try_from(EVENT_OVERHEAD).unwrap_or_default();
        let mut statement = self.connection.prepare_cached(sql).map_err(driver)?;
        let rows = statement.query_map(parameters, |row| {
            let bytes: i64 = row.get(3)?;
            Ok(Doomed {
                sequence: row.get(0)?,
                group: row.get(1)?,
                stream: row.get(2)?,
                bytes: bytes + overhead,
            })
        });
        rows.and_then(Iterator::collect).map_err(driver)
    }

    fn remove(&mut self, sql: &str, parameters: impl Params) -> Result<usize> {
        let doomed = self.find(sql, parameters)?;
        self.drop_all(&doomed)?;
        Ok(doomed.len())
    }

    fn drop_all(&mut self, doomed: &[Doomed]) -> Result<()> {
        let mut groups: HashMap<i64, i64> = HashMap::new();
        let mut streams = BTreeSet::new();
        for event in doomed {
            execute(self.connection, "DELETE FROM events WHERE sequence = ?1", params![event.sequence])?;
            *groups.entry(event.group).or_default() += event.bytes;
            streams.insert(event.stream);
        }
        for (group, bytes) in &groups {
            let sql = "UPDATE groups SET stored_bytes = stored_bytes - ?2 WHERE id = ?1";
            execute(self.connection, sql, params![group, bytes])?;
        }
        let bytes: i64 = groups.values().sum();
        execute(self.connection, "UPDATE totals SET stored_bytes = stored_bytes - ?1", params![bytes])?;
        for stream in streams {
            execute(
                self.connection,
                "UPDATE streams SET emptied_ms = ingested_ms WHERE id = ?1 \
                 AND NOT EXISTS (SELECT 1 FROM events WHERE stream_id = ?1)",
                params![stream],
            )?;
        }
        self.left -= doomed.len();
        Ok(())
    }
}
