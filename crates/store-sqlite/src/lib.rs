//! The stores on SQLite: the default of a laptop and of a single server. Each owner has a database file of its own,
//! with its own tables and migrations.

mod control;
mod full;
mod lock;
mod logs;
mod migrate;
mod queue;

pub use control::SqliteControlStore;
pub use logs::SqliteLogStore;
pub use queue::{Options as QueueOptions, SqliteQueueStore};
