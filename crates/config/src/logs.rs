//! CloudWatch Logs.

use serde::{Deserialize, Serialize};

/// CloudWatch Logs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// The size of all log events that are kept, in MiB.
    pub max_mib: u64,
}
