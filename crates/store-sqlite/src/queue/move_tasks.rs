//! Tasks that move messages out of dead-letter queues.

use lambfold_queue::store::Result;
use lambfold_queue::{MoveStatus, MoveTask};
use lambfold_types::{QueueName, Scope, Timestamp};
use rusqlite::{Connection, Row};
use uuid::Uuid;

use super::driver;
use super::rows::{inconsistent, int, uint};

const STATUS: [MoveStatus; 5] = [
    MoveStatus::Running,
    MoveStatus::Completed,
    MoveStatus::Cancelling,
    MoveStatus::Cancelled,
    MoveStatus::Failed,
];

pub(super) fn load(connection: &Connection) -> Result<Vec<MoveTask>> {
    let sql = "SELECT id, account, region, source, destination, per_second, status, failure_reason, moved, to_move, \
               started_at FROM move_tasks ORDER BY id";
    let mut statement = connection.prepare(sql).map_err(driver)?;
    let mut rows = statement.query([]).map_err(driver)?;
    let mut tasks = Vec::new();
    while let Some(row) = rows.next().map_err(driver)? {
        tasks.push(read(row)?);
    }
    Ok(tasks)
}

fn read(row: &Row<'_>) -> Result<MoveTask> {
    let text = |index| row.get::<_, String>(index).map_err(driver);
    let wrong = |what: &str| inconsistent("move_tasks", format!("a task has an impossible {what}"));
    let status: u8 = row.get(6).map_err(driver)?;
    let destination: Option<String> = row.get(4).map_err(driver)?;
    Ok(MoveTask {
        id: Uuid::from_bytes(row.get(0).map_err(driver)?),
        scope: Scope {
            account: text(1)?.parse().map_err(|_| wrong("account"))?,
            region: text(2)?.parse().map_err(|_| wrong("region"))?,
        },
        source: text(3)?.parse().map_err(|_| wrong("source"))?,
        destination: destination.map(|name| name.parse()).transpose().map_err(|_| wrong("destination"))?,
        per_second: row.get(5).map_err(driver)?,
        status: STATUS.get(usize::from(status)).copied().ok_or_else(|| wrong("status"))?,
        failure_reason: row.get(7).map_err(driver)?,
        moved: uint(row.get(8).map_err(driver)?),
        to_move: uint(row.get(9).map_err(driver)?),
        started_at: Timestamp::from_millis(row.get(10).map_err(driver)?),
    })
}

pub(super) fn put(connection: &Connection, task: &MoveTask) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO move_tasks (id, account, region, source, destination, per_second, status, \
               failure_reason, moved, to_move, started_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    let status =
        (0u8..).zip(STATUS).find(|(_, status)| *status == task.status).map_or(0, |(number, _)| number);
    let params = (
        &task.id.as_bytes()[..],
        task.scope.account.to_string(),
        task.scope.region.as_str(),
        task.source.as_str(),
        task.destination.as_ref().map(QueueName::as_str),
        task.per_second,
        status,
        task.failure_reason.as_deref(),
        int(task.moved),
        int(task.to_move),
        task.started_at.millis(),
    );
    connection.prepare_cached(sql)?.execute(params).map(|_| ())
}

pub(super) fn forget(connection: &Connection, id: Uuid) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM move_tasks WHERE id = ?1", (&id.as_bytes()[..],)).map(|_| ())
}
