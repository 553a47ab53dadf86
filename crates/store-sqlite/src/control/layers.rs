//! Layer versions.

use lambfold_control::record::{LayerVersion, LayerVersionRecord};
use lambfold_control::store::{Decision, Edit, LayerFilter};
use lambfold_types::{LayerName, Scope};
use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{column, document, inconsistent, signed, unsigned};
use super::write::{execute, json};
use super::{Result, driver};

const TABLE: &str = "layer_versions";

pub(super) fn publish(
    connection: &Connection,
    scope: &Scope,
    layer: &LayerName,
    record: &LayerVersionRecord,
) -> Result<u64> {
    let (account, region) = (scope.account.to_string(), scope.region.as_str());
    let version: i64 = connection
        .prepare_cached(
            "INSERT INTO layers (account, region, name, latest) VALUES (?1, ?2, ?3, 1) \
             ON CONFLICT (account, region, name) DO UPDATE SET latest = latest + 1 RETURNING latest",
        )
        .and_then(|mut statement| {
            statement.query_row(params![account, region, layer.as_str()], |row| row.get(0))
        })
        .map_err(driver)?;
    execute(
        connection,
        "INSERT INTO layer_versions (account, region, name, version, document) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![account, region, layer.as_str(), version, json(record)],
    )?;
    Ok(unsigned(version))
}

pub(super) fn version(
    connection: &Connection,
    scope: &Scope,
    layer: &LayerName,
    version: u64,
) -> Result<Option<LayerVersionRecord>> {
    let mut statement = connection
        .prepare_cached(
            "SELECT document FROM layer_versions \
             WHERE account = ?1 AND region = ?2 AND name = ?3 AND version = ?4",
        )
        .map_err(driver)?;
    let key = params![scope.account.to_string(), scope.region.as_str(), layer.as_str(), signed(version)];
    let text: Option<String> = statement.query_row(key, |row| row.get(0)).optional().map_err(driver)?;
    text.map(|text| document(TABLE, layer.as_str(), &text)).transpose()
}

pub(super) fn versions(
    connection: &Connection,
    scope: &Scope,
    layer: &LayerName,
    filter: &LayerFilter,
    before: Option<u64>,
    max: usize,
) -> Result<Vec<LayerVersion>> {
    let mut statement = connection
        .prepare_cached(
            "SELECT version, document FROM layer_versions \
             WHERE account = ?1 AND region = ?2 AND name = ?3 AND version < ?4 ORDER BY version DESC",
        )
        .map_err(driver)?;
    let before = before.map_or(i64::MAX, signed);
    let key = params![scope.account.to_string(), scope.region.as_str(), layer.as_str(), before];
    let mut rows = statement.query(key).map_err(driver)?;
    let mut found = Vec::new();
    while found.len() < max
        && let Some(row) = rows.next().map_err(driver)?
    {
        let (version, text): (i64, String) = (column(row, 0)?, column(row, 1)?);
        let record: LayerVersionRecord = document(TABLE, layer.as_str(), &text)?;
        if filter.admits(&record) {
            let (scope, name) = (scope.clone(), layer.clone());
            found.push(LayerVersion { scope, name, version: unsigned(version), record });
        }
    }
    Ok(found)
}

/// Goes from name to name, so that what a page costs depends on the layers in it.
pub(super) fn latest(
    connection: &Connection,
    scope: &Scope,
    filter: &LayerFilter,
    after: Option<&LayerName>,
    max: usize,
) -> Result<Vec<LayerVersion>> {
    let mut statement = connection
        .prepare_cached(
            "SELECT name FROM layers WHERE account = ?1 AND region = ?2 AND name > ?3 ORDER BY name",
        )
        .map_err(driver)?;
    let after = after.map_or("", LayerName::as_str);
    let mut rows =
        statement.query(params![scope.account.to_string(), scope.region.as_str(), after]).map_err(driver)?;
    let mut found = Vec::new();
    while found.len() < max
        && let Some(row) = rows.next().map_err(driver)?
    {
        let name: String = column(row, 0)?;
        let layer = name.parse().map_err(|()| inconsistent("layers", &name, "no layer name".to_owned()))?;
        found.extend(versions(connection, scope, &layer, filter, None, 1)?);
    }
    Ok(found)
}

pub(super) fn packages(connection: &Connection) -> Result<Vec<String>> {
    let mut statement =
        connection.prepare_cached("SELECT name, document FROM layer_versions").map_err(driver)?;
    let mut rows = statement.query([]).map_err(driver)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(driver)? {
        let (name, text): (String, String) = (column(row, 0)?, column(row, 1)?);
        let record: LayerVersionRecord = document(TABLE, &name, &text)?;
        found.push(record.package.code_sha256);
    }
    Ok(found)
}

pub(super) fn edit(
    connection: &Connection,
    scope: &Scope,
    layer: &LayerName,
    number: u64,
    edit: Edit<'_, LayerVersionRecord>,
) -> Result<bool> {
    let Some(mut record) = version(connection, scope, layer, number)? else { return Ok(false) };
    let decision = edit(&mut record);
    let (account, region) = (scope.account.to_string(), scope.region.as_str());
    match decision {
        Decision::Leave => {}
        Decision::Remove => execute(
            connection,
            "DELETE FROM layer_versions WHERE account = ?1 AND region = ?2 AND name = ?3 AND version = ?4",
            params![account, region, layer.as_str(), signed(number)],
        )?,
        Decision::Keep => execute(
            connection,
            "UPDATE layer_versions SET document = ?5 \
             WHERE account = ?1 AND region = ?2 AND name = ?3 AND version = ?4",
            params![account, region, layer.as_str(), signed(number), json(&record)],
        )?,
    }
    Ok(true)
}
