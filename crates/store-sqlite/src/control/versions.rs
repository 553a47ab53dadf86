//! Published versions.

use lambfold_control::record::{Function, Version, VersionRecord};
use lambfold_control::store::{Decision, EditVersion, Event, Publication, Publish};
use lambfold_types::{FunctionName, Scope};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::rows::{self, column, document, function_name, inconsistent, signed, unsigned};
use super::write::{self, execute, json, note};
use super::{Result, driver};

const TABLE: &str = "function_versions";

pub(super) fn publish(
    connection: &Connection,
    scope: &Scope,
    name: &FunctionName,
    publish: Publish<'_>,
) -> Result<bool> {
    let Some(mut record) = rows::function(connection, scope, name)? else { return Ok(false) };
    let last = one(connection, scope, name, record.versions.last)?;
    let publication = publish(&mut record, last.as_ref());
    let number = record.versions.last;
    if publication != Publication::Leave {
        write::function(connection, &Function { scope: scope.clone(), name: name.clone(), record })?;
    }
    if let Publication::Publish(record) = publication {
        keep(connection, Version { scope: scope.clone(), name: name.clone(), number, record: *record })?;
    }
    Ok(true)
}

pub(super) fn one(
    connection: &Connection,
    scope: &Scope,
    name: &FunctionName,
    number: u64,
) -> Result<Option<VersionRecord>> {
    let mut statement = connection
        .prepare_cached(
            "SELECT document FROM function_versions \
             WHERE account = ?1 AND region = ?2 AND name = ?3 AND version = ?4",
        )
        .map_err(driver)?;
    let key = params![scope.account.to_string(), scope.region.as_str(), name.as_str(), signed(number)];
    let text: Option<String> = statement.query_row(key, |row| row.get(0)).optional().map_err(driver)?;
    text.map(|text| document(TABLE, name.as_str(), &text)).transpose()
}

pub(super) fn page(
    connection: &Connection,
    scope: &Scope,
    name: &FunctionName,
    after: u64,
    max: usize,
) -> Result<Vec<Version>> {
    let mut statement = connection
        .prepare_cached(
            "SELECT account, region, name, version, document FROM function_versions \
             WHERE account = ?1 AND region = ?2 AND name = ?3 AND version > ?4 ORDER BY version LIMIT ?5",
        )
        .map_err(driver)?;
    let (account, region) = (scope.account.to_string(), scope.region.as_str());
    let limit = i64::try_from(max).unwrap_or(i64::MAX);
    let key = params![account, region, name.as_str(), signed(after), limit];
    rows::collect(statement.query(key).map_err(driver)?, read)
}

pub(super) fn edit(
    connection: &Connection,
    scope: &Scope,
    name: &FunctionName,
    number: u64,
    edit: EditVersion<'_>,
) -> Result<bool> {
    let Some(stored) = one(connection, scope, name, number)? else { return Ok(false) };
    let mut record = stored.clone();
    let Some(before) = rows::function(connection, scope, name)? else { return Ok(false) };
    let mut function = before.clone();
    let decision = edit(&mut function, &mut record);
    if decision != Decision::Leave && function != before {
        let function = Function { scope: scope.clone(), name: name.clone(), record: function };
        write::function(connection, &function)?;
    }
    match decision {
        Decision::Leave => {}
        Decision::Remove => remove(connection, scope, name, number, &record.incarnation)?,
        Decision::Keep if record == stored => {}
        Decision::Keep => {
            keep(connection, Version { scope: scope.clone(), name: name.clone(), number, record })?;
        }
    }
    Ok(true)
}

/// The versions of a function that goes.
pub(super) fn remove_all(connection: &Connection, scope: &Scope, name: &FunctionName) -> Result<()> {
    for version in page(connection, scope, name, 0, usize::MAX)? {
        remove(connection, scope, name, version.number, &version.record.incarnation)?;
    }
    Ok(())
}

/// `account, region, name, version, document`
pub(super) fn read(row: &Row<'_>) -> Result<Version> {
    let (name, number, text): (String, i64, String) = (column(row, 2)?, column(row, 3)?, column(row, 4)?);
    Ok(Version {
        scope: rows::scope(row, TABLE)?,
        record: document(TABLE, &name, &text)?,
        name: function_name(&name)?,
        number: unsigned(number),
    })
}

/// Name and number of what stands in `changes.key`.
pub(super) fn key(text: &str) -> Result<(FunctionName, u64)> {
    let wrong = || inconsistent("changes", text, "no version".to_owned());
    let (name, number) = text.rsplit_once(':').ok_or_else(wrong)?;
    Ok((function_name(name)?, number.parse().map_err(|_| wrong())?))
}

fn keep(connection: &Connection, version: Version) -> Result<()> {
    let Version { scope, name, number, record } = &version;
    let document = json(record);
    execute(
        connection,
        "INSERT INTO function_versions (account, region, name, version, document) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (account, region, name, version) DO UPDATE SET document = excluded.document",
        params![scope.account.to_string(), scope.region.as_str(), name.as_str(), signed(*number), document],
    )?;
    let (scope, key) = (scope.clone(), format!("{name}:{number}"));
    note(connection, &scope, &Event::Version(Box::new(version)), &key, Some(&document))
}

fn remove(
    connection: &Connection,
    scope: &Scope,
    name: &FunctionName,
    number: u64,
    incarnation: &str,
) -> Result<()> {
    execute(
        connection,
        "DELETE FROM function_versions WHERE account = ?1 AND region = ?2 AND name = ?3 AND version = ?4",
        params![scope.account.to_string(), scope.region.as_str(), name.as_str(), signed(number)],
    )?;
    note(connection, scope, &Event::FunctionRemoved(incarnation.to_owned()), incarnation, None)
}
