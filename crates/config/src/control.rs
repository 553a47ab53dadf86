//! The control plane.

use serde::{Deserialize, Serialize};

/// The control plane.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {}
