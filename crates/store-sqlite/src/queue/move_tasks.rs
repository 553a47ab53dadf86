//! Tasks that move messages out of dead-letter queues.

use lambfold_queue::MoveTask;
use lambfold_queue::store::Result;
use lambfold_queue::store::stored::MoveTaskColumns;
use rusqlite::{Connection, Params, Row};
use uuid::Uuid;

use super::driver;

pub(super) fn load(connection: &Connection) -> Result<Vec<MoveTask>> {
    select(connection, "", [])
}

/// The tasks of which `condition` is true.
fn select(connection: &Connection, condition: &str, params: impl Params) -> Result<Vec<MoveTask>> {
    let sql = format!(
        "SELECT id, account, region, source, destination, per_second, status, failure_reason, moved, to_move, \
         started_at FROM move_tasks {condition} ORDER BY id"
    );
    let mut statement = connection.prepare_cached(&sql).map_err(driver)?;
    let rows = statement.query_map(params, read).map_err(driver)?;
    rows.map(|row| row.map_err(driver)?.try_into()).collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<MoveTaskColumns> {
    Ok(MoveTaskColumns {
        id: Uuid::from_bytes(row.get(0)?),
        account: row.get(1)?,
        region: row.get(2)?,
        source: row.get(3)?,
        destination: row.get(4)?,
        per_second: row.get(5)?,
        status: row.get(6)?,
        failure_reason: row.get(7)?,
        moved: row.get(8)?,
        to_move: row.get(9)?,
        started_at: row.get(10)?,
    })
}

pub(super) fn put(connection: &Connection, task: &MoveTask) -> Result<()> {
    let before = select(connection, "WHERE id = ?1", (&task.id.as_bytes()[..],))?;
    let task = before.first().map_or(task.clone(), |it| it.changed_to(task));
    write(connection, &task).map_err(driver)
}

fn write(connection: &Connection, task: &MoveTask) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO move_tasks (id, account, region, source, destination, per_second, status, \
               failure_reason, moved, to_move, started_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    let columns = MoveTaskColumns::from(task);
    let params = (
        &columns.id.as_bytes()[..],
        columns.account,
        columns.region,
        columns.source,
        columns.destination,
        columns.per_second,
        columns.status,
        columns.failure_reason,
        columns.moved,
        columns.to_move,
        columns.started_at,
    );
    connection.prepare_cached(sql)?.execute(params).map(|_| ())
}

pub(super) fn forget(connection: &Connection, id: Uuid) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM move_tasks WHERE id = ?1", (&id.as_bytes()[..],)).map(|_| ())
}
