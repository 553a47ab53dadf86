//! The data plane of invoke.

use serde::{Deserialize, Serialize};

/// The data plane of invoke.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dispatcher {
    /// Invocations at once in one account.
    pub account_concurrency: u32,
    /// How long an invocation waits for room, in milliseconds.
    pub placement_wait_ms: u64,
}
