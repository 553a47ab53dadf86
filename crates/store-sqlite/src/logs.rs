//! CloudWatch Logs' groups, streams and events in SQLite.
//!
//! `synchronous=NORMAL`: a commit is written and not waited for, so that a crash of the process loses nothing and a crash
//! of the machine the last moments at most; the database is whole either way. Logs are worth no more than that.

mod append;
mod maintain;
mod read;

use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lambfold_logs::record::{Batch, Event, Group, GroupSettings, Position, Stream};
use lambfold_logs::store::{
    Created, Edit, Found, From, GroupFilter, LogStore, Maintained, Page, Result, Scanned, StoreError,
    StreamFilter, StreamQuery,
};
use lambfold_types::{Scope, Timestamp};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::full;
use crate::lock::{DatabaseLock, LockError};
use crate::migrate::{MigrateError, migrate};

const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/sqlite/logs/0001_logs.sql"),
    include_str!("../../../migrations/sqlite/logs/0002_emptied_streams.sql"),
];

/// Logs in one SQLite file. One connection writes, one reads, so that who searches does not hold up what comes in.
#[derive(Debug)]
pub struct SqliteLogStore {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    // Last, so that the lock is let go of when the connections are closed.
    _lock: DatabaseLock,
}

impl SqliteLogStore {
    /// Opens `path`, creating or migrating it if need be. Refused if another process has it open, or if a later
    /// release wrote it.
    pub fn open(path: &Path) -> Result<Self> {
        let lock = DatabaseLock::take(path).map_err(|error| match error {
            LockError::InUse(path) => StoreError::InUse(path.display().to_string()),
            LockError::Io(error) => StoreError::Driver(error.into()),
        })?;
        let mut writer = Connection::open(path).map_err(driver)?;
        configure(&writer).map_err(driver)?;
        migrate(&mut writer, MIGRATIONS).map_err(|error| match error {
            MigrateError::FromTheFuture { .. } => StoreError::FromTheFuture(path.display().to_string()),
            MigrateError::Sqlite(error) => driver(error),
        })?;
        let reader = Connection::open(path).map_err(driver)?;
        configure(&reader).map_err(driver)?;
        reader.pragma_update(None, "query_only", true).map_err(driver)?;
        Ok(Self { writer: Mutex::new(writer), reader: Mutex::new(reader), _lock: lock })
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in a transaction that nobody else writes beside.
    fn change<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let mut connection = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(driver)?;
        let outcome = work(&transaction)?;
        transaction.commit().map_err(driver)?;
        Ok(outcome)
    }
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn driver(error: rusqlite::Error) -> StoreError {
    StoreError::Driver(full::told(error))
}

fn group_id(connection: &Connection, scope: &Scope, name: &str) -> Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM groups WHERE account = ?1 AND region = ?2 AND name = ?3")
        .and_then(|mut statement| {
            let key = params![scope.account.to_string(), scope.region.as_str(), name];
            statement.query_row(key, |row| row.get(0)).optional()
        })
        .map_err(driver)
}

fn stream_id(connection: &Connection, group: i64, name: &str) -> Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM streams WHERE group_id = ?1 AND name = ?2")
        .and_then(|mut statement| statement.query_row(params![group, name], |row| row.get(0)).optional())
        .map_err(driver)
}

/// A count or a size as SQLite has it.
fn integer(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn execute(connection: &Connection, sql: &str, parameters: impl rusqlite::Params) -> Result<usize> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute(parameters)).map_err(driver)
}

fn create_group(
    connection: &Connection,
    scope: &Scope,
    name: &str,
    settings: &GroupSettings,
    now: Timestamp,
) -> Result<Option<i64>> {
    let document = serde_json::to_string(settings).map_err(|error| StoreError::Driver(Box::new(error)))?;
    let made = execute(
        connection,
        "INSERT INTO groups (account, region, name, created_ms, settings, retention_days, stored_bytes) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0) ON CONFLICT DO NOTHING",
        params![
            scope.account.to_string(),
            scope.region.as_str(),
            name,
            now.millis(),
            document,
            settings.retention_days
        ],
    )?;
    Ok((made > 0).then(|| connection.last_insert_rowid()))
}

fn create_stream(connection: &Connection, group: i64, name: &str, now: Timestamp) -> Result<Option<i64>> {
    let made = execute(
        connection,
        "INSERT INTO streams (group_id, name, created_ms, last_ms) VALUES (?1, ?2, ?3, 0) \
         ON CONFLICT DO NOTHING",
        params![group, name, now.millis()],
    )?;
    Ok((made > 0).then(|| connection.last_insert_rowid()))
}

impl LogStore for SqliteLogStore {
    fn create_group(
        &self,
        scope: &Scope,
        name: &str,
        settings: &GroupSettings,
        now: Timestamp,
    ) -> Result<bool> {
        self.change(|connection| Ok(create_group(connection, scope, name, settings, now)?.is_some()))
    }

    fn group(&self, scope: &Scope, name: &str) -> Result<Option<Group>> {
        read::group(&self.reader(), scope, name)
    }

    fn groups(&self, scope: &Scope, filter: &GroupFilter, after: &str, max: usize) -> Result<Vec<Group>> {
        read::groups(&self.reader(), scope, filter, after, max)
    }

    fn edit_group(&self, scope: &Scope, name: &str, edit: Edit<'_>) -> Result<bool> {
        self.change(|connection| {
            let Some(group) = read::group(connection, scope, name)? else { return Ok(false) };
            let mut settings = group.settings;
            if edit(&mut settings) {
                let document =
                    serde_json::to_string(&settings).map_err(|error| StoreError::Driver(Box::new(error)))?;
                execute(
                    connection,
                    "UPDATE groups SET settings = ?4, retention_days = ?5 \
                     WHERE account = ?1 AND region = ?2 AND name = ?3",
                    params![
                        scope.account.to_string(),
                        scope.region.as_str(),
                        name,
                        document,
                        settings.retention_days
                    ],
                )?;
            }
            Ok(true)
        })
    }

    fn delete_group(&self, scope: &Scope, name: &str) -> Result<bool> {
        self.change(|connection| {
            let Some(group) = group_id(connection, scope, name)? else { return Ok(false) };
            execute(connection, "DELETE FROM groups WHERE id = ?1", params![group])?;
            execute(connection, "INSERT INTO deleted VALUES ('group', ?1)", params![group])?;
            Ok(true)
        })
    }

    fn create_stream(&self, scope: &Scope, group: &str, stream: &str, now: Timestamp) -> Result<Created> {
        self.change(|connection| {
            let Some(group) = group_id(connection, scope, group)? else { return Ok(Created::NoGroup) };
            Ok(match create_stream(connection, group, stream, now)? {
                Some(_) => Created::Made,
                None => Created::Exists,
            })
        })
    }

    fn streams(&self, scope: &Scope, group: &str, query: &StreamQuery) -> Result<Found<Vec<Stream>>> {
        let connection = self.reader();
        let Some(group) = group_id(&connection, scope, group)? else { return Ok(Found::NoGroup) };
        read::streams(&connection, group, query).map(Found::Here)
    }

    fn delete_stream(&self, scope: &Scope, group: &str, stream: &str) -> Result<Found<()>> {
        self.change(|connection| {
            let Some(group) = group_id(connection, scope, group)? else { return Ok(Found::NoGroup) };
            let Some(stream) = stream_id(connection, group, stream)? else { return Ok(Found::NoStream) };
            execute(connection, "DELETE FROM streams WHERE id = ?1", params![stream])?;
            execute(connection, "INSERT INTO deleted VALUES ('stream', ?1)", params![stream])?;
            Ok(Found::Here(()))
        })
    }

    fn append(&self, batches: &[Batch], now: Timestamp) -> Result<Vec<Found<u64>>> {
        self.change(|connection| append::append(connection, batches, now))
    }

    fn read(
        &self,
        scope: &Scope,
        group: &str,
        stream: &str,
        times: Range<i64>,
        from: From,
        page: Page,
    ) -> Result<Found<Vec<Event>>> {
        let connection = self.reader();
        let Some(group) = group_id(&connection, scope, group)? else { return Ok(Found::NoGroup) };
        let Some(id) = stream_id(&connection, group, stream)? else { return Ok(Found::NoStream) };
        read::events(&connection, id, stream, times, from, page).map(Found::Here)
    }

    fn scan(
        &self,
        scope: &Scope,
        group: &str,
        streams: &StreamFilter,
        times: Range<i64>,
        after: Option<Position>,
        page: Page,
    ) -> Result<Found<Scanned>> {
        let connection = self.reader();
        let Some(group) = group_id(&connection, scope, group)? else { return Ok(Found::NoGroup) };
        read::scan(&connection, group, streams, times, after, page).map(Found::Here)
    }

    fn maintain(&self, now: Timestamp, most_bytes: u64, budget: usize) -> Result<Maintained> {
        self.change(|connection| maintain::maintain(connection, now, most_bytes, budget))
    }

    fn stored_bytes(&self) -> Result<u64> {
        maintain::stored_bytes(&self.reader())
    }
}

#[cfg(test)]
mod tests {
    use lambfold_logs::record::NewEvent;

    use super::*;

    #[test]
    fn conforms() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteLogStore::open(&directory.path().join("logs.db")).unwrap();
        lambfold_logs::store::conformance::run(&store);
    }

    #[test]
    fn sequences_go_on_after_a_restart_and_two_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logs.db");
        let batch = Batch {
            scope: Scope::default(),
            group: "g".into(),
            stream: "s".into(),
            events: vec![NewEvent { time: Timestamp::from_millis(1), message: "m".into() }],
            create: true,
        };
        let store = SqliteLogStore::open(&path).unwrap();
        assert!(matches!(SqliteLogStore::open(&path), Err(StoreError::InUse(_))));
        let append =
            |store: &SqliteLogStore| store.append(std::slice::from_ref(&batch), Timestamp::from_millis(2));
        assert_eq!(append(&store).unwrap(), [Found::Here(1)]);
        // Nothing is left, and still no sequence is given again.
        assert!(store.maintain(Timestamp::from_millis(2), 0, 10).unwrap().evicted == 1);
        drop(store);
        let store = SqliteLogStore::open(&path).unwrap();
        assert_eq!(append(&store).unwrap(), [Found::Here(2)]);
    }

    /// What is removed is found by an index: the steps of a large store cost what those of a small one do.
    #[test]
    fn no_step_looks_at_everything() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteLogStore::open(&directory.path().join("logs.db")).unwrap();
        let connection = store.reader();
        let page = [(false, false), (false, true), (true, false), (true, true)]
            .map(|(by_last_event, descending)| read::streams_page(by_last_event, descending));
        let pages = page.iter().map(String::as_str);
        for sql in maintain::STATEMENTS.iter().chain(read::STATEMENTS).copied().chain(pages) {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let parameters = statement.parameter_count();
            let plan: Vec<String> = statement
                .query_map(rusqlite::params_from_iter(vec![1; parameters]), |row| row.get(3))
                .unwrap()
                .collect::<std::result::Result<_, _>>()
                .unwrap();
            assert!(
                !plan.iter().any(|step| step.contains("SCAN") && !step.contains("INDEX")),
                "{sql}: {plan:?}"
            );
            // Where a page begins is found, not looked for.
            assert!(
                !sql.contains("FROM streams WHERE group_id") || plan[0].contains("(group_id=? AND "),
                "{sql}: {plan:?}"
            );
            assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{sql}: {plan:?}");
        }
    }
}
