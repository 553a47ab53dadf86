//! The control plane's records in SQLite.

mod layers;
mod rows;
mod versions;
mod write;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lambfold_control::record::{
    Function, FunctionRecord, LayerVersion, LayerVersionRecord, Mapping, MappingRecord, Version,
    VersionRecord,
};
use lambfold_control::store::{
    Change, ControlStore, Decision, Edit, EditVersion, Event, LOG_LENGTH, LayerFilter, MappingFilter,
    Publish, Snapshot, StoreError,
};
use lambfold_types::{FunctionName, LayerName, Scope};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::full;
use crate::lock::{DatabaseLock, LockError};
use crate::migrate::{MigrateError, migrate};

type Result<T> = std::result::Result<T, StoreError>;

const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/sqlite/control/0001_control.sql"),
    include_str!("../../../migrations/sqlite/control/0002_layers.sql"),
    include_str!("../../../migrations/sqlite/control/0003_versions.sql"),
];

/// Functions, mappings and layers in one SQLite file. Control-plane calls are rare: one connection serves them all, one at a
/// time, each change in a transaction that is on disk when the call returns.
#[derive(Debug)]
pub struct SqliteControlStore {
    connection: Mutex<Connection>,
    // Last, so that the lock is let go of when the connection is closed.
    _lock: DatabaseLock,
}

impl SqliteControlStore {
    /// Opens `path`, creating or migrating it if need be. Refused if another process has it open, or if a later
    /// release wrote it.
    pub fn open(path: &Path) -> Result<Self> {
        let lock = DatabaseLock::take(path).map_err(|error| match error {
            LockError::InUse(path) => StoreError::InUse(path.display().to_string()),
            LockError::Io(error) => StoreError::Driver(error.into()),
        })?;
        let mut connection = Connection::open(path).map_err(driver)?;
        let configure = || {
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.pragma_update(None, "synchronous", "full")
        };
        configure().map_err(driver)?;
        migrate(&mut connection, MIGRATIONS).map_err(|error| match error {
            MigrateError::FromTheFuture { .. } => StoreError::FromTheFuture(path.display().to_string()),
            MigrateError::Sqlite(error) => driver(error),
        })?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(Self { connection: Mutex::new(connection), _lock: lock })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in a transaction that nobody else writes beside.
    fn change<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let mut connection = self.connection();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(driver)?;
        let outcome = work(&transaction)?;
        transaction.commit().map_err(driver)?;
        Ok(outcome)
    }
}

fn driver(error: rusqlite::Error) -> StoreError {
    StoreError::Driver(full::told(error))
}

impl ControlStore for SqliteControlStore {
    fn create_function(&self, function: &Function) -> Result<bool> {
        self.change(|connection| {
            if rows::function(connection, &function.scope, &function.name)?.is_some() {
                return Ok(false);
            }
            write::function(connection, function)?;
            Ok(true)
        })
    }

    fn function(&self, scope: &Scope, name: &FunctionName) -> Result<Option<FunctionRecord>> {
        rows::function(&self.connection(), scope, name)
    }

    fn functions(&self, scope: &Scope, after: Option<&FunctionName>, max: usize) -> Result<Vec<Function>> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT account, region, name, document FROM functions \
                 WHERE account = ?1 AND region = ?2 AND name > ?3 ORDER BY name LIMIT ?4",
            )
            .map_err(driver)?;
        let after = after.map_or("", FunctionName::as_str);
        let limit = i64::try_from(max).unwrap_or(i64::MAX);
        let parameters = params![scope.account.to_string(), scope.region.as_str(), after, limit];
        rows::collect(statement.query(parameters).map_err(driver)?, rows::read_function)
    }

    fn edit_function(
        &self,
        scope: &Scope,
        name: &FunctionName,
        edit: Edit<'_, FunctionRecord>,
    ) -> Result<bool> {
        self.change(|connection| {
            let Some(mut record) = rows::function(connection, scope, name)? else { return Ok(false) };
            match edit(&mut record) {
                Decision::Leave => {}
                Decision::Remove => {
                    versions::remove_all(connection, scope, name)?;
                    write::function_removed(connection, scope, name, &record.incarnation)?;
                }
                Decision::Keep => {
                    write::function(
                        connection,
                        &Function { scope: scope.clone(), name: name.clone(), record },
                    )?;
                }
            }
            Ok(true)
        })
    }

    fn publish_version(&self, scope: &Scope, name: &FunctionName, publish: Publish<'_>) -> Result<bool> {
        self.change(|connection| versions::publish(connection, scope, name, publish))
    }

    fn function_version(
        &self,
        scope: &Scope,
        name: &FunctionName,
        number: u64,
    ) -> Result<Option<VersionRecord>> {
        versions::one(&self.connection(), scope, name, number)
    }

    fn function_versions(
        &self,
        scope: &Scope,
        name: &FunctionName,
        after: u64,
        max: usize,
    ) -> Result<Vec<Version>> {
        versions::page(&self.connection(), scope, name, after, max)
    }

    fn edit_version(
        &self,
        scope: &Scope,
        name: &FunctionName,
        number: u64,
        edit: EditVersion<'_>,
    ) -> Result<bool> {
        self.change(|connection| versions::edit(connection, scope, name, number, edit))
    }

    fn create_mapping(&self, mapping: &Mapping) -> Result<Option<String>> {
        self.change(|connection| {
            let record = &mapping.record;
            let twin = connection
                .prepare_cached(
                    "SELECT uuid FROM event_source_mappings WHERE account = ?1 AND region = ?2 \
                     AND event_source_arn = ?3 AND function_name = ?4 AND qualifier = ?5",
                )
                .and_then(|mut statement| {
                    let qualifier = record.qualifier.as_deref().unwrap_or_default();
                    let scope = &mapping.scope;
                    let key = params![
                        scope.account.to_string(),
                        scope.region.as_str(),
                        record.event_source_arn,
                        record.function_name,
                        qualifier
                    ];
                    statement.query_row(key, |row| row.get(0)).optional()
                });
            let twin: Option<String> = twin.map_err(driver)?;
            if twin.is_none() {
                write::mapping(connection, mapping)?;
            }
            Ok(twin)
        })
    }

    fn mapping(&self, scope: &Scope, uuid: &str) -> Result<Option<MappingRecord>> {
        rows::mapping(&self.connection(), scope, uuid)
    }

    fn mappings(
        &self,
        scope: &Scope,
        filter: &MappingFilter,
        after: Option<&str>,
        max: usize,
    ) -> Result<Vec<Mapping>> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT account, region, uuid, document FROM event_source_mappings \
                 WHERE account = ?1 AND region = ?2 AND uuid > ?3 AND (?4 IS NULL OR event_source_arn = ?4) \
                 AND (?5 IS NULL OR function_name = ?5) ORDER BY uuid LIMIT ?6",
            )
            .map_err(driver)?;
        let limit = i64::try_from(max).unwrap_or(i64::MAX);
        let (account, region) = (scope.account.to_string(), scope.region.as_str());
        let after = after.unwrap_or_default();
        let parameters =
            params![account, region, after, filter.event_source_arn, filter.function_name, limit];
        rows::collect(statement.query(parameters).map_err(driver)?, rows::read_mapping)
    }

    fn edit_mapping(&self, scope: &Scope, uuid: &str, edit: Edit<'_, MappingRecord>) -> Result<bool> {
        self.change(|connection| {
            let Some(mut record) = rows::mapping(connection, scope, uuid)? else { return Ok(false) };
            match edit(&mut record) {
                Decision::Leave => {}
                Decision::Remove => write::mapping_removed(connection, scope, uuid)?,
                Decision::Keep => {
                    write::mapping(
                        connection,
                        &Mapping { scope: scope.clone(), uuid: uuid.to_owned(), record },
                    )?;
                }
            }
            Ok(true)
        })
    }

    fn publish_layer_version(
        &self,
        scope: &Scope,
        layer: &LayerName,
        record: &LayerVersionRecord,
    ) -> Result<u64> {
        self.change(|connection| layers::publish(connection, scope, layer, record))
    }

    fn layer_version(
        &self,
        scope: &Scope,
        layer: &LayerName,
        version: u64,
    ) -> Result<Option<LayerVersionRecord>> {
        layers::version(&self.connection(), scope, layer, version)
    }

    fn layer_versions(
        &self,
        scope: &Scope,
        layer: &LayerName,
        filter: &LayerFilter,
        before: Option<u64>,
        max: usize,
    ) -> Result<Vec<LayerVersion>> {
        layers::versions(&self.connection(), scope, layer, filter, before, max)
    }

    fn layers(
        &self,
        scope: &Scope,
        filter: &LayerFilter,
        after: Option<&LayerName>,
        max: usize,
    ) -> Result<Vec<LayerVersion>> {
        layers::latest(&self.connection(), scope, filter, after, max)
    }

    fn layer_packages(&self) -> Result<Vec<String>> {
        layers::packages(&self.connection())
    }

    fn edit_layer_version(
        &self,
        scope: &Scope,
        layer: &LayerName,
        version: u64,
        edit: Edit<'_, LayerVersionRecord>,
    ) -> Result<bool> {
        self.change(|connection| layers::edit(connection, scope, layer, version, edit))
    }

    fn snapshot(&self) -> Result<Snapshot> {
        let mut connection = self.connection();
        // One moment: revisions and objects of the same state.
        let transaction = connection.transaction().map_err(driver)?;
        let all = |sql: &str| transaction.prepare_cached(sql).map_err(driver);
        let mut revisions = all("SELECT account, region, revision FROM scopes")?;
        let mut functions = all("SELECT account, region, name, document FROM functions")?;
        let mut versions = all("SELECT account, region, name, version, document FROM function_versions")?;
        let mut mappings = all("SELECT account, region, uuid, document FROM event_source_mappings")?;
        Ok(Snapshot {
            revisions: rows::collect(revisions.query([]).map_err(driver)?, rows::read_revision)?,
            functions: rows::collect(functions.query([]).map_err(driver)?, rows::read_function)?,
            versions: rows::collect(versions.query([]).map_err(driver)?, versions::read)?,
            mappings: rows::collect(mappings.query([]).map_err(driver)?, rows::read_mapping)?,
        })
    }

    fn changes(&self, seen: &[(Scope, u64)]) -> Result<Option<Vec<Change>>> {
        let mut connection = self.connection();
        let transaction = connection.transaction().map_err(driver)?;
        let mut scopes =
            transaction.prepare_cached("SELECT account, region, revision FROM scopes").map_err(driver)?;
        let scopes = rows::collect(scopes.query([]).map_err(driver)?, rows::read_revision)?;
        let mut changes = Vec::new();
        for (scope, revision) in scopes {
            let seen = seen.iter().find(|(of, _)| *of == scope).map_or(0, |(_, revision)| *revision);
            // A watcher may be ahead of a database that was restored.
            if seen > revision || revision - seen > LOG_LENGTH {
                return Ok(None);
            }
            if revision > seen {
                changes.extend(rows::changes(&transaction, &scope, seen)?);
            }
        }
        Ok(Some(changes))
    }
}

/// What stands in `changes.kind`.
fn kind(event: &Event) -> &'static str {
    match event {
        Event::Function(_) => "function",
        Event::Version(_) => "version",
        Event::FunctionRemoved(_) => "function_removed",
        Event::Mapping(_) => "mapping",
        Event::MappingRemoved(_) => "mapping_removed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conforms() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteControlStore::open(&directory.path().join("control.sqlite")).unwrap();
        lambfold_control::store::conformance::run(&store);
    }

    /// Callers are told by that (`Fault::of_storage`).
    #[test]
    fn a_full_disk_is_among_the_causes() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteControlStore::open(&directory.path().join("control.sqlite")).unwrap();
        let pages: u32 = store.connection().query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        store.connection().pragma_update(None, "max_page_count", pages).unwrap();
        let function = lambfold_control::store::conformance::function(&Scope::default(), "f", "too much");
        let many = (0..1000).map(|number| {
            let mut function = function.clone();
            function.name = format!("f{number}").parse().unwrap();
            store.create_function(&function).map(drop)
        });
        let error = many.collect::<Result<()>>().unwrap_err();
        let cause =
            std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
        assert_eq!(cause.map(std::io::Error::kind), Some(std::io::ErrorKind::StorageFull), "{error}");
    }

    #[test]
    fn everything_is_there_after_a_restart_and_two_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sqlite");
        let function = lambfold_control::store::conformance::function(&Scope::default(), "f", "kept");
        let store = SqliteControlStore::open(&path).unwrap();
        assert!(matches!(SqliteControlStore::open(&path), Err(StoreError::InUse(_))));
        store.create_function(&function).unwrap();
        let before = store.snapshot().unwrap().revisions;
        drop(store);
        let store = SqliteControlStore::open(&path).unwrap();
        assert_eq!(store.function(&function.scope, &function.name).unwrap().unwrap(), function.record);
        assert_eq!(store.snapshot().unwrap().revisions, before);
        store.connection().pragma_update(None, "user_version", 99).unwrap();
        drop(store);
        assert!(matches!(SqliteControlStore::open(&path), Err(StoreError::FromTheFuture(_))));
    }
}
