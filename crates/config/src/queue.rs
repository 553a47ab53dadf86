//! The queue service.

use serde::{Deserialize, Serialize};

/// The queue service.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Where queues are kept: the URL of a Postgres database, or empty for a file of the data directory.
    pub database: String,
    /// Memory for message bodies, in MiB.
    pub body_cache_mib: u64,
}
