//! Published versions, aliases, and what concurrency a function has of its own.

use std::collections::{BTreeMap, BTreeSet};

use lambfold_types::{FunctionName, Scope};
use serde::{Deserialize, Serialize};

use super::{Configuration, FunctionRecord, LastUpdate, State};

/// What a function remembers of its versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The last number given, whatever was deleted.
    pub last: u64,
    /// Code and configuration are those of that version.
    pub unchanged: bool,
    /// A version is to be published as soon as the function is active.
    pub publish_when_active: bool,
    /// Those that are on their way to be active.
    pub pending: BTreeSet<u64>,
}

/// A published version: code and settings that do not change any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRecord {
    /// The document's format version.
    pub format: u32,
    /// The function's, and the number: never reused.
    pub incarnation: String,
    /// `State`
    pub state: State,
    /// `RevisionId`
    pub revision_id: String,
    /// `LastModified`, as AWS writes it.
    pub last_modified: String,
    /// With a `configuration_id` of its own.
    pub configuration: Configuration,
}

impl VersionRecord {
    /// The version in the place of its function: what there is to show of both.
    pub fn in_place_of(self, function: FunctionRecord) -> FunctionRecord {
        FunctionRecord {
            incarnation: self.incarnation,
            state: self.state,
            last_update: Some(LastUpdate::Successful),
            revision_id: self.revision_id,
            last_modified: self.last_modified,
            serving: (self.state == State::Active).then(|| self.configuration.clone()),
            configuration: self.configuration,
            ..function
        }
    }
}

/// A version with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Account and region.
    pub scope: Scope,
    /// The function's name.
    pub name: FunctionName,
    /// The number.
    pub number: u64,
    /// The record.
    pub record: VersionRecord,
}

/// An alias of a function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alias {
    /// `FunctionVersion`: a number, or `$LATEST`.
    pub version: String,
    /// `Description`
    pub description: String,
    /// `RevisionId`
    pub revision_id: String,
    /// Another version, and its share of the invocations.
    pub additional: Option<AdditionalVersion>,
}

/// `AdditionalVersionWeights`, of which there is one at most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdditionalVersion {
    /// The number.
    pub version: u64,
    /// Its share: 0 to 1.
    pub weight: f64,
}

// Weights are never NaN: the service model says 0 to 1.
impl Eq for AdditionalVersion {}
impl Eq for Alias {}

impl Alias {
    /// Whether invocations of it may run that version.
    pub fn uses(&self, version: u64) -> bool {
        self.version == version.to_string()
            || self.additional.as_ref().is_some_and(|it| it.version == version)
    }
}

/// Concurrency that a function has of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionConcurrency {
    /// `ReservedConcurrentExecutions`
    pub reserved: Option<u32>,
    /// Provisioned concurrency, by version number or alias.
    pub provisioned: BTreeMap<String, ProvisionedConcurrency>,
}

/// Environments to be kept ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvisionedConcurrency {
    /// So many.
    pub requested: u32,
    /// `LastModified`, as AWS writes it.
    pub last_modified: String,
}
