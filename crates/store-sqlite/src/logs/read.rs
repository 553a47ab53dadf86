//! Looking at what is kept.

use std::ops::Range;

use lambfold_logs::record::{EVENT_OVERHEAD, Event, Group, Position, Stream};
use lambfold_logs::store::{From, GroupFilter, Page, Result, Scanned, StoreError, StreamFilter, StreamQuery};
use lambfold_types::{Scope, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{driver, integer};

const GROUP: &str = "SELECT name, created_ms, settings, stored_bytes FROM groups \
                     WHERE account = ?1 AND region = ?2 AND name = ?3";
// One bound, where reading begins: of two SQLite takes the first and looks at all between them. Where it ends is seen.
const FORWARDS: &str = "SELECT time_ms, sequence, ingested_ms, message FROM events WHERE stream_id = ?1 \
                        AND (time_ms, sequence) > (?2, ?3) ORDER BY time_ms, sequence";
const BACKWARDS: &str = "SELECT time_ms, sequence, ingested_ms, message FROM events WHERE stream_id = ?1 \
                         AND (time_ms, sequence) < (?2, ?3) ORDER BY time_ms DESC, sequence DESC";
const SCAN: &str = "SELECT events.time_ms, events.sequence, events.ingested_ms, events.message, streams.name \
                    FROM events LEFT JOIN streams ON streams.id = events.stream_id WHERE events.group_id = ?1 \
                    AND (events.time_ms, events.sequence) > (?2, ?3) ORDER BY events.time_ms, events.sequence";

/// What a test asks the plans of.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[FORWARDS, BACKWARDS, SCAN];

pub(super) fn group(connection: &Connection, scope: &Scope, name: &str) -> Result<Option<Group>> {
    let key = params![scope.account.to_string(), scope.region.as_str(), name];
    let mut statement = connection.prepare_cached(GROUP).map_err(driver)?;
    let found = statement.query_row(key, |row| Ok(read_group(row))).optional().map_err(driver)?;
    found.transpose()
}

pub(super) fn groups(
    connection: &Connection,
    scope: &Scope,
    filter: &GroupFilter,
    after: &str,
    max: usize,
) -> Result<Vec<Group>> {
    let mut statement = connection
        .prepare_cached(
            "SELECT name, created_ms, settings, stored_bytes FROM groups \
             WHERE account = ?1 AND region = ?2 AND name >= ?3 AND name < ?8 \
             AND substr(name, 1, length(?4)) = ?4 AND (?5 = '' OR instr(name, ?5) > 0) \
             AND (?6 IS NULL OR settings ->> 'class' = ?6) ORDER BY name LIMIT ?7",
        )
        .map_err(driver)?;
    let (from, to) = names_between(&filter.prefix, Some(after), None);
    let parameters = params![
        scope.account.to_string(),
        scope.region.as_str(),
        from,
        filter.prefix,
        filter.contains,
        filter.class,
        integer(max),
        to
    ];
    let mut rows = statement.query(parameters).map_err(driver)?;
    let mut groups = Vec::new();
    while let Some(row) = rows.next().map_err(driver)? {
        groups.push(read_group(row)?);
    }
    Ok(groups)
}

fn read_group(row: &Row<'_>) -> Result<Group> {
    let settings: String = row.get(2).map_err(driver)?;
    Ok(Group {
        name: row.get(0).map_err(driver)?,
        created: Timestamp::from_millis(row.get(1).map_err(driver)?),
        settings: serde_json::from_str(&settings).map_err(|_| StoreError::Inconsistent("log group"))?,
        stored_bytes: row.get::<_, i64>(3).map_err(driver)?.max(0).unsigned_abs(),
    })
}

/// A page of streams, by last event or by name, descending or not: between two places of an index, wherever it is.
pub(super) fn streams_page(by_last_event: bool, descending: bool) -> String {
    let (range, order) = match (by_last_event, descending) {
        (false, false) => ("name >= ?2 AND name < ?3", "name"),
        (false, true) => ("name >= ?2 AND name < ?3", "name DESC"),
        (true, false) => ("(last_ms, name) > (?2, ?3)", "last_ms, name"),
        (true, true) => ("(last_ms, name) < (?2, ?3)", "last_ms DESC, name DESC"),
    };
    format!(
        "SELECT name, created_ms, first_ms, last_ms, ingested_ms FROM streams \
         WHERE group_id = ?1 AND {range} AND substr(name, 1, length(?4)) = ?4 ORDER BY {order} LIMIT ?5"
    )
}

/// What stands for the second and the third parameter of that.
fn streams_range(query: &StreamQuery) -> (Value, Value) {
    let after = query.after.as_ref();
    if query.by_last_event {
        let begin = if query.descending { i64::MAX } else { i64::MIN };
        let (last, name) = after.cloned().unwrap_or_else(|| (begin, String::new()));
        return (last.into(), name.into());
    }
    let after = after.map(|(_, name)| name.as_str());
    if query.descending {
        names_between(&query.prefix, None, after)
    } else {
        names_between(&query.prefix, after, None)
    }
}

/// From where (that included) to where (not included) names begin with `prefix` and are between two others.
fn names_between(prefix: &str, after: Option<&str>, before: Option<&str>) -> (Value, Value) {
    // The first name after another is that one and a NUL.
    let from = after.map_or_else(String::new, |name| format!("{name}\0")).max(prefix.to_owned());
    let end = end_of_prefix(prefix);
    let to = match (end, before) {
        (Some(end), Some(before)) => Value::Text(end.min(before.to_owned())),
        (Some(end), None) => Value::Text(end),
        (None, Some(before)) => Value::Text(before.to_owned()),
        // Every text comes before every blob.
        (None, None) => Value::Blob(Vec::new()),
    };
    (from.into(), to)
}

/// What comes after all texts that begin with `prefix`, in the order of their bytes; `None`: nothing does.
fn end_of_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // Surrogates are left out.
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

pub(super) fn streams(connection: &Connection, group: i64, query: &StreamQuery) -> Result<Vec<Stream>> {
    let (from, to) = streams_range(query);
    let sql = streams_page(query.by_last_event, query.descending);
    let mut statement = connection.prepare_cached(&sql).map_err(driver)?;
    let rows = statement
        .query_map(params![group, from, to, query.prefix, integer(query.max)], |row| {
            let ingested: Option<i64> = row.get(4)?;
            let last: i64 = row.get(3)?;
            Ok(Stream {
                name: row.get(0)?,
                created: Timestamp::from_millis(row.get(1)?),
                first_event: row.get::<_, Option<i64>>(2)?.map(Timestamp::from_millis),
                last_event: ingested.map(|_| Timestamp::from_millis(last)),
                last_ingestion: ingested.map(Timestamp::from_millis),
            })
        })
        .map_err(driver)?;
    rows.collect::<rusqlite::Result<_>>().map_err(driver)
}

pub(super) fn events(
    connection: &Connection,
    id: i64,
    stream: &str,
    times: Range<i64>,
    from: From,
    page: Page,
) -> Result<Vec<Event>> {
    let (sql, start) = match from {
        From::Head => (FORWARDS, (i64::MIN, 0)),
        From::After(position) => (FORWARDS, key(position)),
        From::Tail => (BACKWARDS, (i64::MAX, i64::MAX)),
        From::Before(position) => (BACKWARDS, key(position)),
    };
    let mut statement = connection.prepare_cached(sql).map_err(driver)?;
    let start = if sql == BACKWARDS { start.min((times.end, -1)) } else { start.max((times.start, -1)) };
    let mut rows = statement.query(params![id, start.0, start.1]).map_err(driver)?;
    let mut filled = Filled::new(page);
    while let Some(row) = rows.next().map_err(driver)? {
        let event = read_event(row, stream.to_owned()).map_err(driver)?;
        if !times.contains(&event.position.time_ms) || !filled.add(&event) {
            break;
        }
        filled.events.push(event);
    }
    if sql == BACKWARDS {
        filled.events.reverse();
    }
    Ok(filled.events)
}

pub(super) fn scan(
    connection: &Connection,
    group: i64,
    streams: &StreamFilter,
    times: Range<i64>,
    after: Option<Position>,
    page: Page,
) -> Result<Scanned> {
    let start = after.map_or((i64::MIN, 0), key).max((times.start, -1));
    let mut statement = connection.prepare_cached(SCAN).map_err(driver)?;
    let mut rows = statement.query(params![group, start.0, start.1]).map_err(driver)?;
    let mut filled = Filled::new(page);
    let mut last = None;
    while let Some(row) = rows.next().map_err(driver)? {
        let stream: Option<String> = row.get(4).map_err(driver)?;
        let here = stream.is_some();
        let event = read_event(row, stream.unwrap_or_default()).map_err(driver)?;
        if event.position.time_ms >= times.end {
            break;
        }
        if !filled.add(&event) {
            return Ok(Scanned { events: filled.events, resume: last });
        }
        last = Some(event.position);
        // The stream may have been deleted.
        if here && streams.admits(&event.stream) {
            filled.events.push(event);
        }
    }
    Ok(Scanned { events: filled.events, resume: None })
}

/// A page that is being filled.
struct Filled {
    events: Vec<Event>,
    page: Page,
    count: usize,
    bytes: usize,
}

impl Filled {
    fn new(page: Page) -> Self {
        Self { events: Vec::new(), page, count: 0, bytes: 0 }
    }

    /// Counts `event`. False if it has no room.
    fn add(&mut self, event: &Event) -> bool {
        let bytes = event.message.len() + EVENT_OVERHEAD;
        let fits =
            self.count < self.page.events && (self.count == 0 || self.bytes + bytes <= self.page.bytes);
        self.count += 1;
        self.bytes += bytes;
        fits
    }
}

fn read_event(row: &Row<'_>, stream: String) -> rusqlite::Result<Event> {
    let sequence: i64 = row.get(1)?;
    Ok(Event {
        position: Position { time_ms: row.get(0)?, sequence: sequence.unsigned_abs() },
        stream,
        ingested: Timestamp::from_millis(row.get(2)?),
        message: row.get(3)?,
    })
}

fn key(position: Position) -> (i64, i64) {
    (position.time_ms, i64::try_from(position.sequence).unwrap_or(i64::MAX))
}
