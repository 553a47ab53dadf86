//! Records to rows, each with its revision and its entry in the log.

use lambfold_control::record::{Function, Mapping};
use lambfold_control::store::{Event, LOG_LENGTH};
use lambfold_types::{FunctionName, Scope};
use rusqlite::{Connection, Params, params};
use serde::Serialize;

use super::{Result, driver, kind};

pub(super) fn function(connection: &Connection, function: &Function) -> Result<()> {
    let Function { scope, name, record } = function;
    let document = json(record);
    execute(
        connection,
        "INSERT INTO functions (account, region, name, document) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (account, region, name) DO UPDATE SET document = excluded.document",
        params![scope.account.to_string(), scope.region.as_str(), name.as_str(), document],
    )?;
    let event = Event::Function(Box::new(function.clone()));
    note(connection, scope, &event, name.as_str(), Some(&document))
}

pub(super) fn function_removed(
    connection: &Connection,
    scope: &Scope,
    name: &FunctionName,
    incarnation: &str,
) -> Result<()> {
    execute(
        connection,
        "DELETE FROM functions WHERE account = ?1 AND region = ?2 AND name = ?3",
        params![scope.account.to_string(), scope.region.as_str(), name.as_str()],
    )?;
    note(connection, scope, &Event::FunctionRemoved(incarnation.to_owned()), incarnation, None)
}

pub(super) fn mapping(connection: &Connection, mapping: &Mapping) -> Result<()> {
    let Mapping { scope, uuid, record } = mapping;
    let document = json(record);
    execute(
        connection,
        "INSERT INTO event_source_mappings \
         (account, region, uuid, event_source_arn, function_name, qualifier, document) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (account, region, uuid) DO UPDATE SET \
         function_name = excluded.function_name, qualifier = excluded.qualifier, document = excluded.document",
        params![
            scope.account.to_string(),
            scope.region.as_str(),
            uuid,
            record.event_source_arn,
            record.function_name,
            record.qualifier.as_deref().unwrap_or_default(),
            document
        ],
    )?;
    note(connection, scope, &Event::Mapping(Box::new(mapping.clone())), uuid, Some(&document))
}

pub(super) fn mapping_removed(connection: &Connection, scope: &Scope, uuid: &str) -> Result<()> {
    execute(
        connection,
        "DELETE FROM event_source_mappings WHERE account = ?1 AND region = ?2 AND uuid = ?3",
        params![scope.account.to_string(), scope.region.as_str(), uuid],
    )?;
    note(connection, scope, &Event::MappingRemoved(uuid.to_owned()), uuid, None)
}

/// Takes the next revision of the scope, logs the change under it and drops what the log no longer keeps.
pub(super) fn note(
    connection: &Connection,
    scope: &Scope,
    event: &Event,
    key: &str,
    document: Option<&str>,
) -> Result<()> {
    let (account, region) = (scope.account.to_string(), scope.region.as_str());
    let revision: i64 = connection
        .prepare_cached(
            "INSERT INTO scopes (account, region, revision) VALUES (?1, ?2, 1) \
             ON CONFLICT (account, region) DO UPDATE SET revision = revision + 1 RETURNING revision",
        )
        .and_then(|mut statement| statement.query_row(params![account, region], |row| row.get(0)))
        .map_err(driver)?;
    execute(
        connection,
        "INSERT INTO changes (account, region, revision, kind, key, document) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![account, region, revision, kind(event), key, document],
    )?;
    let kept = i64::try_from(LOG_LENGTH).unwrap_or(i64::MAX);
    execute(
        connection,
        "DELETE FROM changes WHERE account = ?1 AND region = ?2 AND revision <= ?3",
        params![account, region, revision - kept],
    )
}

pub(super) fn execute(connection: &Connection, sql: &str, parameters: impl Params) -> Result<()> {
    let executed = connection.prepare_cached(sql).and_then(|mut statement| statement.execute(parameters));
    executed.map(drop).map_err(driver)
}

pub(super) fn json(record: &impl Serialize) -> String {
    serde_json::to_string(record).expect("records are plain data")
}
