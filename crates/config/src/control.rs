//! The control plane.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The control plane.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// Directories, beside `images` in the data directory, with container images that functions may be made of.
    pub image_directories: Vec<PathBuf>,
    /// Registries from which images may come; `*` for all.
    pub image_registries: Vec<String>,
    /// The registry that stands for Amazon ECR's; empty for none.
    pub ecr_registry: String,
    /// Registries that speak without TLS.
    pub insecure_registries: Vec<String>,
    /// Docker's configuration file with credentials for registries; empty for none.
    pub registry_credentials: PathBuf,
}
