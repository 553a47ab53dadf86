//! What is stored: whole objects, as documents that start with their format version.

mod function_url;
mod image;
mod layer;
mod version;

use std::collections::BTreeMap;

use lambfold_types::{FunctionName, Scope};
use serde::{Deserialize, Serialize};

pub use function_url::{Cors, FunctionUrl};
pub use image::{FunctionImage, ImageFailure, ImageLayer, ImageOverrides};
pub use layer::{FunctionLayer, LayerPackage, LayerPermission, LayerVersion, LayerVersionRecord};
pub use version::{
    AdditionalVersion, Alias, FunctionConcurrency, ProvisionedConcurrency, Version, VersionRecord, Versions,
};

/// The format of the documents that this release writes.
pub const FORMAT: u32 = 1;

/// A function: its settings, where its update stands, and what the data plane runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionRecord {
    /// The document's format version.
    pub format: u32,
    /// One life of the name; never reused.
    pub incarnation: String,
    /// `State`
    pub state: State,
    /// Whether the last update is in force; `None` until the function was active once.
    pub last_update: Option<LastUpdate>,
    /// `RevisionId`: changes whenever the record does.
    pub revision_id: String,
    /// `LastModified`, as AWS writes it.
    pub last_modified: String,
    /// What callers are shown.
    pub configuration: Configuration,
    /// What the data plane runs: the one before, while an update is in progress.
    pub serving: Option<Configuration>,
    /// URLs by qualifier: the alias, or nothing for the unqualified function.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub urls: BTreeMap<String, FunctionUrl>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// What was published of it.
    #[serde(default)]
    pub versions: Versions,
    /// Its aliases, by name.
    #[serde(default)]
    pub aliases: BTreeMap<String, Alias>,
    /// Reserved and provisioned concurrency.
    #[serde(default)]
    pub concurrency: FunctionConcurrency,
}

/// `State` of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Being made.
    Pending,
    /// Can be invoked.
    Active,
    /// Could not be made.
    Failed,
}

impl State {
    /// As the API shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Active => "Active",
            Self::Failed => "Failed",
        }
    }
}

/// `LastUpdateStatus`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LastUpdate {
    /// In force.
    Successful,
    /// On its way.
    InProgress,
    /// Could not be put in force; what was there before it is.
    Failed,
}

/// Code and settings of one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Changes whenever anything here does; execution environments are keyed by it.
    pub configuration_id: String,
    /// `Runtime`
    pub runtime: String,
    /// `Handler`
    pub handler: String,
    /// `Role`
    pub role: String,
    /// `Description`
    pub description: String,
    /// `Timeout`, in seconds.
    pub timeout: u32,
    /// `MemorySize`, in MB.
    pub memory_size: u32,
    /// `EphemeralStorage`, in MB.
    pub ephemeral_storage: u32,
    /// `Architectures`
    pub architecture: String,
    /// Base64 of the package's SHA-256.
    pub code_sha256: String,
    /// Length of the package, in bytes.
    pub code_size: u64,
    /// The bytes of its files; 0 where a release before layers stored it.
    #[serde(default)]
    pub unzipped_bytes: u64,
    /// `Layers`, in the order in which they are laid over each other.
    #[serde(default)]
    pub layers: Vec<FunctionLayer>,
    /// Where `PackageType` is Image: runtime, handler, package and layers are empty then, and `code_sha256` is the
    /// image's digest in hexadecimal.
    #[serde(default)]
    pub image: Option<FunctionImage>,
    /// The environment variables as sealed JSON, in base64; `None` where never given.
    pub environment: Option<String>,
    /// `LoggingConfig`
    pub logging: Logging,
    /// `SnapStart.ApplyOn` is `PublishedVersions`.
    #[serde(default)]
    pub snap_start: bool,
}

/// `LoggingConfig`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logging {
    /// `Text` or `JSON`.
    pub format: String,
    /// With JSON only.
    pub application_level: Option<String>,
    /// With JSON only.
    pub system_level: Option<String>,
    /// The log group; `None` for `/aws/lambda/<name>`.
    pub group: Option<String>,
}

/// An event source mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingRecord {
    /// The document's format version.
    pub format: u32,
    /// The queue.
    pub event_source_arn: String,
    /// The function's name.
    pub function_name: String,
    /// What stood behind the name; `None` for the unqualified function.
    pub qualifier: Option<String>,
    /// Raised by every change that the poller must act on.
    pub generation: u64,
    /// What the user wants.
    pub desired: Desired,
    /// What is shown until the poller reports that the wish is reached.
    pub transition: Option<String>,
    /// `BatchSize`
    pub batch_size: u32,
    /// `MaximumBatchingWindowInSeconds`
    pub window_seconds: u32,
    /// `ScalingConfig.MaximumConcurrency`
    pub maximum_concurrency: Option<u32>,
    /// `FunctionResponseTypes` has `ReportBatchItemFailures`.
    pub report_batch_item_failures: bool,
    /// `LastModified`, in milliseconds since the epoch.
    pub last_modified_ms: i64,
    /// `LastProcessingResult`
    pub last_processing_result: Option<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// What the user wants of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Desired {
    /// Poll.
    Enabled,
    /// Do not poll.
    Disabled,
    /// End, and be gone.
    Deleted,
}

impl Desired {
    /// The state that is shown once it is reached.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::Deleted => "Deleted",
        }
    }
}

/// A function with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Account and region.
    pub scope: Scope,
    /// The name.
    pub name: FunctionName,
    /// The record.
    pub record: FunctionRecord,
}

/// A mapping with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Account and region.
    pub scope: Scope,
    /// The mapping's UUID.
    pub uuid: String,
    /// The record.
    pub record: MappingRecord,
}
