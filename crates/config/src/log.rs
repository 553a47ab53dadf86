//! Logs and traces.

use serde::{Deserialize, Serialize};

/// Log lines.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`.
    pub format: String,
    /// Filter directives.
    pub filter: String,
}

/// Traces.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// Where spans go; empty for nowhere.
    pub otlp_endpoint: String,
}
