//! Layer versions as they are stored, and as functions hold on to them.

use lambfold_types::{LayerName, Scope};
use serde::{Deserialize, Serialize};

/// One version of a layer. Never changed but in its permissions; its number is never given again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerVersionRecord {
    /// The document's format version.
    pub format: u32,
    /// `Description`
    pub description: String,
    /// `CreatedDate`, as AWS writes it.
    pub created_date: String,
    /// `LicenseInfo`
    pub license_info: Option<String>,
    /// `CompatibleRuntimes`; `None` where never given, which answers tell from an empty list.
    pub compatible_runtimes: Option<Vec<String>>,
    /// `CompatibleArchitectures`; as above.
    pub compatible_architectures: Option<Vec<String>>,
    /// The archive.
    pub package: LayerPackage,
    /// `RevisionId` of the permissions.
    pub revision_id: String,
    /// Who else may use it.
    pub permissions: Vec<LayerPermission>,
}

/// The archive of a layer version, in the object store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerPackage {
    /// Base64 of its SHA-256.
    pub code_sha256: String,
    /// Its length, in bytes.
    pub code_size: u64,
    /// The bytes of its files.
    pub unzipped_bytes: u64,
}

/// A statement of a layer version's policy: it allows `lambda:GetLayerVersion`, the only action there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerPermission {
    /// `Sid`
    pub statement_id: String,
    /// `*`, an account, or the ARN of an account's root.
    pub principal: String,
    /// Only accounts of this organisation.
    pub organization_id: Option<String>,
}

/// A layer version as a function has it: enough to run it when the layer version is deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionLayer {
    /// The ARN of the layer version.
    pub arn: String,
    /// Its archive.
    pub package: LayerPackage,
}

/// A layer version with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerVersion {
    /// Account and region.
    pub scope: Scope,
    /// The layer.
    pub name: LayerName,
    /// The number.
    pub version: u64,
    /// The record.
    pub record: LayerVersionRecord,
}
