//! What the SQL stores have in common that is not SQL: what stands in columns, how messages are keyed, and which rows
//! a batch comes to. All of it is persisted: a change here needs a migration in every dialect.

mod attempts;
mod batch;
mod keys;
mod move_tasks;
mod properties;
mod queues;

pub use attempts::{attempt_bytes, attempt_of};
pub use batch::BatchRows;
pub use keys::{SLOT_END, key, sequence, slot_start};
pub use move_tasks::{MoveTaskColumns, active_statuses};
pub use queues::{QueueColumns, mac_key};

use super::StoreError;

/// Numbers of ours stay far below 2^63.
pub fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Numbers that we stored are not negative.
pub fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// What is stored in `table` cannot be.
pub fn inconsistent(table: &'static str, detail: impl Into<String>) -> StoreError {
    StoreError::Inconsistent { table, detail: detail.into() }
}
