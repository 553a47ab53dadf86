//! Rows to records.

use lambfold_control::record::{Function, FunctionRecord, Mapping, MappingRecord, Version};
use lambfold_control::store::{Change, Event, StoreError};
use lambfold_types::{FunctionName, Scope};
use rusqlite::{Connection, OptionalExtension, Row, Rows, params};
use serde::de::DeserializeOwned;

use super::{Result, driver, versions};

/// Every row through `read`.
pub(super) fn collect<T>(mut rows: Rows<'_>, read: impl Fn(&Row<'_>) -> Result<T>) -> Result<Vec<T>> {
    let mut all = Vec::new();
    while let Some(row) = rows.next().map_err(driver)? {
        all.push(read(row)?);
    }
    Ok(all)
}

pub(super) fn function(
    connection: &Connection,
    scope: &Scope,
    name: &FunctionName,
) -> Result<Option<FunctionRecord>> {
    let sql = "SELECT document FROM functions WHERE account = ?1 AND region = ?2 AND name = ?3";
    let text = one(connection, sql, scope, name.as_str())?;
    text.map(|text| document("functions", name.as_str(), &text)).transpose()
}

pub(super) fn mapping(connection: &Connection, scope: &Scope, uuid: &str) -> Result<Option<MappingRecord>> {
    let sql = "SELECT document FROM event_source_mappings WHERE account = ?1 AND region = ?2 AND uuid = ?3";
    one(connection, sql, scope, uuid)?.map(|text| document("event_source_mappings", uuid, &text)).transpose()
}

fn one(connection: &Connection, sql: &str, scope: &Scope, key: &str) -> Result<Option<String>> {
    let mut statement = connection.prepare_cached(sql).map_err(driver)?;
    let parameters = params![scope.account.to_string(), scope.region.as_str(), key];
    statement.query_row(parameters, |row| row.get(0)).optional().map_err(driver)
}

/// `account, region, name, document`
pub(super) fn read_function(row: &Row<'_>) -> Result<Function> {
    let (name, text): (String, String) = (column(row, 2)?, column(row, 3)?);
    Ok(Function {
        scope: scope(row, "functions")?,
        record: document("functions", &name, &text)?,
        name: function_name(&name)?,
    })
}

/// `account, region, uuid, document`
pub(super) fn read_mapping(row: &Row<'_>) -> Result<Mapping> {
    let (uuid, text): (String, String) = (column(row, 2)?, column(row, 3)?);
    Ok(Mapping {
        scope: scope(row, "event_source_mappings")?,
        record: document("event_source_mappings", &uuid, &text)?,
        uuid,
    })
}

/// `account, region, revision`
pub(super) fn read_revision(row: &Row<'_>) -> Result<(Scope, u64)> {
    Ok((scope(row, "scopes")?, unsigned(column(row, 2)?)))
}

/// The changes of `scope` behind `seen`, oldest first.
pub(super) fn changes(connection: &Connection, scope: &Scope, seen: u64) -> Result<Vec<Change>> {
    let mut statement = connection
        .prepare_cached(
            "SELECT revision, kind, key, document FROM changes \
             WHERE account = ?1 AND region = ?2 AND revision > ?3 ORDER BY revision",
        )
        .map_err(driver)?;
    let seen = i64::try_from(seen).unwrap_or(i64::MAX);
    let rows =
        statement.query(params![scope.account.to_string(), scope.region.as_str(), seen]).map_err(driver)?;
    collect(rows, |row| {
        let (kind, key): (String, String) = (column(row, 1)?, column(row, 2)?);
        let text: Option<String> = column(row, 3)?;
        let text = text.unwrap_or_default();
        let event = match kind.as_str() {
            "function" => Event::Function(Box::new(Function {
                scope: scope.clone(),
                record: document("changes", &key, &text)?,
                name: function_name(&key)?,
            })),
            "version" => {
                let (name, number) = versions::key(&key)?;
                let record = document("changes", &key, &text)?;
                Event::Version(Box::new(Version { scope: scope.clone(), name, number, record }))
            }
            "function_removed" => Event::FunctionRemoved(key),
            "mapping" => Event::Mapping(Box::new(Mapping {
                scope: scope.clone(),
                record: document("changes", &key, &text)?,
                uuid: key,
            })),
            "mapping_removed" => Event::MappingRemoved(key),
            other => return Err(inconsistent("changes", &key, format!("unknown kind {other}"))),
        };
        Ok(Change { scope: scope.clone(), revision: unsigned(column(row, 0)?), event })
    })
}

pub(super) fn column<T: rusqlite::types::FromSql>(row: &Row<'_>, index: usize) -> Result<T> {
    row.get(index).map_err(driver)
}

pub(super) fn scope(row: &Row<'_>, table: &'static str) -> Result<Scope> {
    let (account, region): (String, String) = (column(row, 0)?, column(row, 1)?);
    match (account.parse(), region.parse()) {
        (Ok(account), Ok(region)) => Ok(Scope { account, region }),
        _ => Err(inconsistent(table, &format!("{account}/{region}"), "no scope".to_owned())),
    }
}

pub(super) fn function_name(text: &str) -> Result<FunctionName> {
    text.parse().map_err(|()| inconsistent("functions", text, "no function name".to_owned()))
}

pub(super) fn document<T: DeserializeOwned>(table: &'static str, row: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| inconsistent(table, row, error.to_string()))
}

pub(super) fn inconsistent(table: &'static str, row: &str, detail: String) -> StoreError {
    StoreError::Inconsistent { table, row: row.to_owned(), detail }
}

pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}
