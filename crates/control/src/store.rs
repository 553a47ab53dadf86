//! What a database has to do for the control plane. Methods are whole operations, atomic, and block; what they changed
//! is durable when they return.

mod memory;

#[cfg(any(test, feature = "testing"))]
pub mod conformance;

use lambfold_types::{FunctionName, LayerName, Scope};

use crate::record::{
    Function, FunctionRecord, LayerVersion, LayerVersionRecord, Mapping, MappingRecord, Version,
    VersionRecord,
};

pub use memory::MemoryControlStore;

/// Edits a record, or leaves it as it is with an answer for the caller.
pub type Edit<'a, R> = &'a mut dyn FnMut(&mut R) -> Decision;

/// What an edit decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Store what it left.
    Keep,
    /// Store nothing.
    Leave,
    /// Remove the record.
    Remove,
}

/// Edits a function of which a version may be published; given the last one, if it is still there.
pub type Publish<'a> = &'a mut dyn FnMut(&mut FunctionRecord, Option<&VersionRecord>) -> Publication;

/// Edits a version and what its function says of it; a removal is that of the version.
pub type EditVersion<'a> = &'a mut dyn FnMut(&mut FunctionRecord, &mut VersionRecord) -> Decision;

/// What a [`Publish`] decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publication {
    /// Store nothing.
    Leave,
    /// Store the function.
    Keep,
    /// Store the function, and this as its version of the number that it names last.
    Publish(Box<VersionRecord>),
}

/// The records of the control plane.
///
/// Every change takes the next revision of its scope in its own transaction, so that revision order is commit order,
/// and leaves an entry in a bounded log for watchers that come back.
pub trait ControlStore: Send + Sync + 'static {
    /// Stores a new function; `false` if the name is taken.
    fn create_function(&self, function: &Function) -> Result<bool, StoreError>;

    /// The function of that name.
    fn function(&self, scope: &Scope, name: &FunctionName) -> Result<Option<FunctionRecord>, StoreError>;

    /// Up to `max` functions by name, behind `after`.
    fn functions(
        &self,
        scope: &Scope,
        after: Option<&FunctionName>,
        max: usize,
    ) -> Result<Vec<Function>, StoreError>;

    /// Edits the function in place, alone. `false` if there is none. Its versions go with it.
    fn edit_function(
        &self,
        scope: &Scope,
        name: &FunctionName,
        edit: Edit<'_, FunctionRecord>,
    ) -> Result<bool, StoreError>;

    /// Edits the function in place, alone, and stores a version with it if there is one. `false` if there is no function.
    fn publish_version(
        &self,
        scope: &Scope,
        name: &FunctionName,
        publish: Publish<'_>,
    ) -> Result<bool, StoreError>;

    /// The version of that number.
    fn function_version(
        &self,
        scope: &Scope,
        name: &FunctionName,
        number: u64,
    ) -> Result<Option<VersionRecord>, StoreError>;

    /// Up to `max` versions of a function by number, above `after`.
    fn function_versions(
        &self,
        scope: &Scope,
        name: &FunctionName,
        after: u64,
        max: usize,
    ) -> Result<Vec<Version>, StoreError>;

    /// Edits the version and its function in place, alone. `false` if there is no such version.
    fn edit_version(
        &self,
        scope: &Scope,
        name: &FunctionName,
        number: u64,
        edit: EditVersion<'_>,
    ) -> Result<bool, StoreError>;

    /// Stores a new mapping, unless one of that source and function (with qualifier) is there: then its UUID.
    fn create_mapping(&self, mapping: &Mapping) -> Result<Option<String>, StoreError>;

    /// The mapping of that UUID.
    fn mapping(&self, scope: &Scope, uuid: &str) -> Result<Option<MappingRecord>, StoreError>;

    /// Up to `max` mappings by UUID, behind `after`, of that source and function if named.
    fn mappings(
        &self,
        scope: &Scope,
        filter: &MappingFilter,
        after: Option<&str>,
        max: usize,
    ) -> Result<Vec<Mapping>, StoreError>;

    /// Edits the mapping in place, alone. `false` if there is none.
    fn edit_mapping(
        &self,
        scope: &Scope,
        uuid: &str,
        edit: Edit<'_, MappingRecord>,
    ) -> Result<bool, StoreError>;

    /// Stores a layer version under the number behind the last one that the layer ever had, which it returns.
    ///
    /// Layers are not in the watch and its revisions: functions carry what the data plane needs of them.
    fn publish_layer_version(
        &self,
        scope: &Scope,
        layer: &LayerName,
        record: &LayerVersionRecord,
    ) -> Result<u64, StoreError>;

    /// The version of that number.
    fn layer_version(
        &self,
        scope: &Scope,
        layer: &LayerName,
        version: u64,
    ) -> Result<Option<LayerVersionRecord>, StoreError>;

    /// Up to `max` versions of a layer that match, the newest first, below `before`.
    fn layer_versions(
        &self,
        scope: &Scope,
        layer: &LayerName,
        filter: &LayerFilter,
        before: Option<u64>,
        max: usize,
    ) -> Result<Vec<LayerVersion>, StoreError>;

    /// Up to `max` layers by name, behind `after`, that have a matching version: the newest such version of each.
    fn layers(
        &self,
        scope: &Scope,
        filter: &LayerFilter,
        after: Option<&LayerName>,
        max: usize,
    ) -> Result<Vec<LayerVersion>, StoreError>;

    /// The packages of all layer versions of all accounts, as base64 of their SHA-256.
    fn layer_packages(&self) -> Result<Vec<String>, StoreError>;

    /// Edits the layer version in place, alone. `false` if there is none.
    fn edit_layer_version(
        &self,
        scope: &Scope,
        layer: &LayerName,
        version: u64,
        edit: Edit<'_, LayerVersionRecord>,
    ) -> Result<bool, StoreError>;

    /// Everything the data plane needs, as of one moment, with the revision of each scope.
    fn snapshot(&self) -> Result<Snapshot, StoreError>;

    /// What changed behind `seen` (scopes that it does not name are seen at 0), oldest first in each scope; `None` if
    /// the log does not reach back that far, or has not come that far.
    fn changes(&self, seen: &[(Scope, u64)]) -> Result<Option<Vec<Change>>, StoreError>;
}

/// Which mappings to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MappingFilter {
    /// Only of this source.
    pub event_source_arn: Option<String>,
    /// Only of this function.
    pub function_name: Option<String>,
}

impl MappingFilter {
    /// Whether a mapping is listed.
    pub fn admits(&self, record: &MappingRecord) -> bool {
        self.event_source_arn.as_ref().is_none_or(|arn| *arn == record.event_source_arn)
            && self.function_name.as_ref().is_none_or(|name| *name == record.function_name)
    }
}

/// Which layer versions to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerFilter {
    /// Only those that say they are for this runtime.
    pub runtime: Option<String>,
    /// Only those that say they are for this architecture.
    pub architecture: Option<String>,
}

impl LayerFilter {
    /// Whether a layer version is listed.
    pub fn admits(&self, record: &LayerVersionRecord) -> bool {
        let has = |list: &Option<Vec<String>>, wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| list.as_ref().is_some_and(|list| list.contains(wanted)))
        };
        has(&record.compatible_runtimes, &self.runtime)
            && has(&record.compatible_architectures, &self.architecture)
    }
}

/// Everything there is.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The revision of each scope.
    pub revisions: Vec<(Scope, u64)>,
    /// All functions.
    pub functions: Vec<Function>,
    /// All their versions.
    pub versions: Vec<Version>,
    /// All mappings.
    pub mappings: Vec<Mapping>,
}

/// A committed change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The scope.
    pub scope: Scope,
    /// The revision at which it was committed.
    pub revision: u64,
    /// What changed.
    pub event: Event,
}

/// What changed: the whole object as it is now, or that it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A function was made or changed.
    Function(Box<Function>),
    /// A version was published, or changed its state.
    Version(Box<Version>),
    /// A function or a version is gone: its incarnation.
    FunctionRemoved(String),
    /// A mapping was made or changed.
    Mapping(Box<Mapping>),
    /// A mapping is gone: its UUID.
    MappingRemoved(String),
}

/// Changes of a scope that the log keeps. A watcher that was away for longer lists everything again.
pub const LOG_LENGTH: u64 = 1000;

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("the control store failed")]
    Driver(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is stored makes no sense.
    #[error("inconsistent data in {table}, row {row}: {detail}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The row's key.
        row: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A later release wrote it.
    #[error("{0} was written by a later release of Lambfold; start that one, or use another data directory")]
    FromTheFuture(String),
    /// Another process has it open.
    #[error("{0} is in use by another process")]
    InUse(String),
}
