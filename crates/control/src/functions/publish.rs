//! PublishVersion, and what other operations publish: a version has code and settings of this moment, for ever.

use std::sync::Arc;

use lambfold_api::lambda::{FunctionConfiguration, PublishVersionRequest};
use lambfold_api::{CallContext, Fault, FunctionTarget};
use lambfold_types::Qualifier;

use super::render;
use super::update::may_update;
use crate::faults;
use crate::record::{Configuration, FORMAT, FunctionRecord, State, VersionRecord};
use crate::service::Shared;
use crate::store::Publication;

/// What another version takes beside its function: ids that nobody has had.
pub(crate) struct Edition {
    configuration: String,
    revision: String,
    /// For the function, which publishing changes.
    function_revision: String,
}

/// What was published, or had been.
pub(crate) struct Published {
    pub(crate) number: u64,
    pub(crate) version: VersionRecord,
    /// It has to be stored.
    pub(crate) new: bool,
}

impl Edition {
    pub(crate) fn new(shared: &Shared) -> Self {
        Self { configuration: shared.uuid(), revision: shared.uuid(), function_revision: shared.uuid() }
    }

    /// Makes a version of the function as it is, or finds that the last one is that.
    pub(crate) fn publish(
        &self,
        function: &mut FunctionRecord,
        last: Option<&VersionRecord>,
        description: Option<&str>,
    ) -> Published {
        if let Some(version) = last.filter(|_| function.versions.unchanged) {
            return Published { number: function.versions.last, version: version.clone(), new: false };
        }
        let versions = &mut function.versions;
        versions.last += 1;
        versions.unchanged = true;
        versions.publish_when_active = false;
        versions.pending.insert(versions.last);
        let number = versions.last;
        function.revision_id.clone_from(&self.function_revision);
        let configuration = &function.configuration;
        let version = VersionRecord {
            format: FORMAT,
            incarnation: format!("{}/{number}", function.incarnation),
            state: State::Pending,
            revision_id: self.revision.clone(),
            last_modified: function.last_modified.clone(),
            configuration: Configuration {
                configuration_id: self.configuration.clone(),
                description: description.unwrap_or(&configuration.description).to_owned(),
                ..configuration.clone()
            },
        };
        Published { number, version, new: true }
    }
}

impl Published {
    /// The answer of operations that publish.
    pub(crate) fn render(
        self,
        shared: &Shared,
        target: FunctionTarget,
        function: FunctionRecord,
    ) -> Result<FunctionConfiguration, Fault> {
        let version = Qualifier::Version(self.number);
        let target = FunctionTarget { qualifier: Some(version.clone()), ..target };
        render::configuration(&*shared.sealer, &target, &version, &self.version.in_place_of(function))
    }
}

pub(crate) async fn publish(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: PublishVersionRequest,
) -> Result<FunctionConfiguration, Fault> {
    let target = FunctionTarget::read(ctx, &input.function_name.unwrap_or_default(), None)?;
    if !target.is_latest() {
        return Err(faults::functions_only());
    }
    if input.publish_to.is_some() {
        return Err(faults::not_supported("publishing to $LATEST.PUBLISHED (PublishTo)"));
    }
    let (scope, name, arn) = (target.scope.clone(), target.name.clone(), target.arn());
    let (sha256, revision, description) = (input.code_sha256, input.revision_id, input.description);
    let edition = Edition::new(shared);
    let outcome = shared.change(move |store| {
        let mut outcome = None;
        store.publish_version(&scope, &name, &mut |record, last| {
            let allowed = may_update(record, revision.as_deref(), &arn)
                .and_then(|()| check_code(record, sha256.as_deref()));
            if let Err(fault) = allowed {
                outcome = Some(Err(fault));
                return Publication::Leave;
            }
            let published = edition.publish(record, last, description.as_deref());
            let publication = if published.new {
                Publication::Publish(Box::new(published.version.clone()))
            } else {
                Publication::Leave
            };
            outcome = Some(Ok((record.clone(), published)));
            publication
        })?;
        Ok(outcome)
    });
    let (record, published) = outcome.await?.ok_or_else(|| target.not_found())??;
    if published.new {
        shared.activations.add(target.scope.clone(), target.name.clone());
    }
    published.render(shared, target, record)
}

fn check_code(record: &FunctionRecord, expected: Option<&str>) -> Result<(), Fault> {
    let current = &record.configuration.code_sha256;
    match expected.filter(|expected| !expected.is_empty() && expected != current) {
        None => Ok(()),
        Some(expected) => Err(faults::invalid_parameter(format!(
            "CodeSHA256 ({expected}) is different from current CodeSHA256 in $LATEST ({current}). Please try again with \
             the CodeSHA256 in $LATEST."
        ))),
    }
}
