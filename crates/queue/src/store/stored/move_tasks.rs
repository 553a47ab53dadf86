//! Move tasks as columns.

use lambfold_types::{QueueName, Scope, Timestamp};
use uuid::Uuid;

use crate::move_task::{MoveStatus, MoveTask};
use crate::store::{Result, StoreError};

use super::{inconsistent, int, uint};

/// By the number that stands in the column.
const STATUS: [MoveStatus; 5] = [
    MoveStatus::Running,
    MoveStatus::Completed,
    MoveStatus::Cancelling,
    MoveStatus::Cancelled,
    MoveStatus::Failed,
];

/// The numbers of the status of tasks that have not ended.
pub fn active_statuses() -> Vec<i64> {
    (0i64..).zip(STATUS).filter(|(_, status)| status.is_active()).map(|(number, _)| number).collect()
}

/// A row of `move_tasks` as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveTaskColumns {
    /// The key.
    pub id: Uuid,
    /// Twelve digits.
    pub account: String,
    /// The region's name.
    pub region: String,
    /// The name of the queue that is emptied.
    pub source: String,
    /// Of the same account and region.
    pub destination: Option<String>,
    /// The limit, if there is one.
    pub per_second: Option<i64>,
    /// 0 running, 1 completed, 2 cancelling, 3 cancelled, 4 failed.
    pub status: i64,
    /// Why it failed.
    pub failure_reason: Option<String>,
    /// Messages moved.
    pub moved: i64,
    /// Messages to move.
    pub to_move: i64,
    /// Milliseconds since the epoch.
    pub started_at: i64,
}

impl From<&MoveTask> for MoveTaskColumns {
    fn from(task: &MoveTask) -> Self {
        let status = (0..).zip(STATUS).find(|(_, status)| *status == task.status);
        Self {
            id: task.id,
            account: task.scope.account.to_string(),
            region: task.scope.region.as_str().to_owned(),
            source: task.source.as_str().to_owned(),
            destination: task.destination.as_ref().map(|name| name.as_str().to_owned()),
            per_second: task.per_second.map(i64::from),
            status: status.map_or(0, |(number, _)| number),
            failure_reason: task.failure_reason.clone(),
            moved: int(task.moved),
            to_move: int(task.to_move),
            started_at: task.started_at.millis(),
        }
    }
}

impl TryFrom<MoveTaskColumns> for MoveTask {
    type Error = StoreError;

    fn try_from(columns: MoveTaskColumns) -> Result<Self> {
        let wrong = |what: &str| inconsistent("move_tasks", format!("a task has an impossible {what}"));
        let status = usize::try_from(columns.status).ok().and_then(|number| STATUS.get(number));
        let destination = columns.destination.map(|name| name.parse::<QueueName>()).transpose();
        let per_second = columns.per_second.map(u32::try_from).transpose();
        Ok(Self {
            id: columns.id,
            scope: Scope {
                account: columns.account.parse().map_err(|_| wrong("account"))?,
                region: columns.region.parse().map_err(|_| wrong("region"))?,
            },
            source: columns.source.parse().map_err(|_| wrong("source"))?,
            destination: destination.map_err(|_| wrong("destination"))?,
            per_second: per_second.map_err(|_| wrong("limit"))?,
            status: status.copied().ok_or_else(|| wrong("status"))?,
            failure_reason: columns.failure_reason,
            moved: uint(columns.moved),
            to_move: uint(columns.to_move),
            started_at: Timestamp::from_millis(columns.started_at),
        })
    }
}
