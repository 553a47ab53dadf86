//! Tasks that move messages out of dead-letter queues.

use lambfold_queue::MoveTask;
use lambfold_queue::store::Result;
use lambfold_queue::store::stored::{MoveTaskColumns, active_statuses};
use lambfold_types::{QueueName, Scope};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::connection::{Param, Session};

/// The statement that selects the tasks which its end names.
macro_rules! tasks {
    ($end:literal) => {
        concat!(
            "SELECT id, account, region, source, destination, per_second, status, failure_reason, moved, to_move, ",
            "started_at FROM move_tasks ",
            $end
        )
    };
}

pub(super) async fn load(session: &mut Session) -> Result<Vec<MoveTask>> {
    select(session, tasks!("ORDER BY id"), &[]).await
}

/// Those of the queue `source`.
pub(super) async fn of(session: &mut Session, scope: &Scope, source: &QueueName) -> Result<Vec<MoveTask>> {
    let params: [Param<'_>; 3] = [&scope.account.to_string(), &scope.region.as_str(), &source.as_str()];
    select(session, tasks!("WHERE account = $1 AND region = $2 AND source = $3 ORDER BY id"), &params).await
}

/// Those that have not ended.
pub(super) async fn active(session: &mut Session) -> Result<Vec<MoveTask>> {
    select(session, tasks!("WHERE status = ANY ($1) ORDER BY id"), &[&active_statuses()]).await
}

async fn select(session: &mut Session, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<MoveTask>> {
    session.rows(sql, params).await?.iter().map(|row| columns(row).try_into()).collect()
}

fn columns(row: &Row) -> MoveTaskColumns {
    MoveTaskColumns {
        id: row.get(0),
        account: row.get(1),
        region: row.get(2),
        source: row.get(3),
        destination: row.get(4),
        per_second: row.get(5),
        status: row.get(6),
        failure_reason: row.get(7),
        moved: row.get(8),
        to_move: row.get(9),
        started_at: row.get(10),
    }
}

pub(super) async fn put(session: &mut Session, task: &MoveTask) -> Result<()> {
    let before = select(session, tasks!("WHERE id = $1 FOR UPDATE"), &[&task.id]).await?;
    let task = before.first().map_or(task.clone(), |it| it.changed_to(task));
    write(session, &task).await
}

async fn write(session: &mut Session, task: &MoveTask) -> Result<()> {
    let sql = "INSERT INTO move_tasks (id, account, region, source, destination, per_second, status, failure_reason, \
               moved, to_move, started_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
               ON CONFLICT (id) DO UPDATE SET account = excluded.account, region = excluded.region, \
               source = excluded.source, destination = excluded.destination, per_second = excluded.per_second, \
               status = excluded.status, failure_reason = excluded.failure_reason, moved = excluded.moved, \
               to_move = excluded.to_move, started_at = excluded.started_at";
    let columns = MoveTaskColumns::from(task);
    let params: [Param<'_>; 11] = [
        &columns.id,
        &columns.account,
        &columns.region,
        &columns.source,
        &columns.destination,
        &columns.per_second,
        &columns.status,
        &columns.failure_reason,
        &columns.moved,
        &columns.to_move,
        &columns.started_at,
    ];
    session.execute(sql, &params).await.map(|_| ())
}

pub(super) async fn forget(session: &mut Session, id: Uuid) -> Result<()> {
    session.execute("DELETE FROM move_tasks WHERE id = $1", &[&id]).await.map(|_| ())
}
