//! The stores on PostgreSQL, 15 or later: what several nodes share. Each owner has a schema of its own, with its own
//! tables and migrations.

mod connection;
mod migrate;
mod queue;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tls;

pub use connection::endpoints;
pub use queue::{Options as QueueOptions, PostgresQueueStore};
