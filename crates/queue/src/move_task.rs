//! Tasks that move messages out of a dead-letter queue, as their callers see them.

use lambfold_types::{QueueName, Scope, Timestamp};
use uuid::Uuid;

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MoveStatus {
    /// It moves messages.
    Running,
    /// Nothing was left to be moved.
    Completed,
    /// It was cancelled, and finishes what it is at.
    Cancelling,
    /// It was cancelled.
    Cancelled,
    /// It cannot go on: see [`MoveTask::failure_reason`].
    Failed,
}

impl MoveStatus {
    /// Whether it has not ended: a source has one such task at most.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Cancelling)
    }
}

/// A task that moves the visible messages of a queue to another, or back to where each came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveTask {
    /// Unique.
    pub id: Uuid,
    /// Account and region of all the queues.
    pub scope: Scope,
    /// The queue that is emptied.
    pub source: QueueName,
    /// `None`: the queue in each message's `DeadLetterQueueSourceArn`.
    pub destination: Option<QueueName>,
    /// `MaxNumberOfMessagesPerSecond`; `None`: as fast as it goes.
    pub per_second: Option<u32>,
    /// How far it is.
    pub status: MoveStatus,
    /// Why it failed, as AWS says it.
    pub failure_reason: Option<String>,
    /// `ApproximateNumberOfMessagesMoved`: a crash may leave it behind by as many as were moved since it was last noted.
    pub moved: u64,
    /// `ApproximateNumberOfMessagesToMove`: visible messages when it began.
    pub to_move: u64,
    /// `StartedTimestamp`
    pub started_at: Timestamp,
}

impl MoveTask {
    /// What a store has of the task when a node writes `next`, which may come late, from one that was paused while
    /// another went on: an end is final, what is being cancelled does not run again, and no count goes back.
    #[must_use]
    pub fn changed_to(&self, next: &Self) -> Self {
        if !self.status.is_active() {
            return self.clone();
        }
        let is_late = self.status == MoveStatus::Cancelling && next.status == MoveStatus::Running;
        let status = if is_late { self.status } else { next.status };
        Self { status, moved: self.moved.max(next.moved), ..next.clone() }
    }
}
