//! Event source mappings.

use serde::{Deserialize, Serialize};

/// Event source mappings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Poller {
    /// Batches of one mapping at once.
    pub max_concurrency: u32,
}
