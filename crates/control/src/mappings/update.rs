//! UpdateEventSourceMapping.

use std::sync::Arc;

use lambfold_api::lambda::{EventSourceMappingConfiguration, UpdateEventSourceMappingRequest};
use lambfold_api::{CallContext, Fault, FunctionTarget};

use super::{create, render, settings};
use crate::faults;
use crate::record::{Desired, MappingRecord};
use crate::service::Shared;
use crate::store::{Decision, MappingFilter};

pub(crate) async fn update(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: UpdateEventSourceMappingRequest,
) -> Result<EventSourceMappingConfiguration, Fault> {
    settings::no_destinations(input.destination_config.as_ref())?;
    settings::no_filters(input.filter_criteria.as_ref())?;
    refuse_settings(&input)?;
    let function = match input.function_name.as_deref() {
        Some(name) => Some(create::function(shared, ctx, name).await?.0),
        None => None,
    };
    let maximum_concurrency = settings::maximum_concurrency(input.scaling_config.as_ref())?;
    let scope = ctx.scope.clone();
    let uuid = input.uuid.clone().unwrap_or_default();
    if let Some(target) = &function {
        refuse_twin(shared, &uuid, target).await?;
    }
    let now = shared.clock.now().millis();
    let apply = move |record: &mut MappingRecord| -> Result<(), Fault> {
        if busy(record) {
            return Err(faults::in_use("Cannot update the event source mapping because it is in use."));
        }
        let size = input.batch_size.map_or(i64::from(record.batch_size), i64::from);
        let window =
            input.maximum_batching_window_in_seconds.map_or(i64::from(record.window_seconds), i64::from);
        (record.batch_size, record.window_seconds) = settings::batch(size, window)?;
        if input.function_response_types.is_some() {
            record.report_batch_item_failures = settings::partial(input.function_response_types.as_ref());
        }
        if input.scaling_config.is_some() {
            record.maximum_concurrency = maximum_concurrency;
        }
        if let Some(target) = &function {
            record.function_name = target.name.to_string();
            record.qualifier = target.qualifier.as_ref().map(ToString::to_string);
        }
        let before = record.desired;
        match input.enabled {
            Some(true) => record.desired = Desired::Enabled,
            Some(false) => record.desired = Desired::Disabled,
            None => {}
        }
        record.transition = Some(
            match (before, record.desired) {
                (Desired::Disabled, Desired::Enabled) => "Enabling",
                (Desired::Enabled, Desired::Disabled) => "Disabling",
                _ => "Updating",
            }
            .to_owned(),
        );
        record.generation += 1;
        record.last_modified_ms = now;
        Ok(())
    };
    edit(shared, scope, uuid, apply).await
}

/// Settings of other kinds of sources, and what nothing would act on.
fn refuse_settings(input: &UpdateEventSourceMappingRequest) -> Result<(), Fault> {
    settings::refuse_shared!(input)
}

/// Another mapping of the same source may have that function already; the stores keep such pairs apart.
async fn refuse_twin(shared: &Arc<Shared>, uuid: &str, target: &FunctionTarget) -> Result<(), Fault> {
    let (scope, name, own) = (target.scope.clone(), target.name.to_string(), uuid.to_owned());
    let qualifier = target.qualifier.as_ref().map(ToString::to_string);
    let twin = shared.store(move |store| {
        let Some(record) = store.mapping(&scope, &own)? else { return Ok(None) };
        let filter =
            MappingFilter { event_source_arn: Some(record.event_source_arn), function_name: Some(name) };
        let found = store.mappings(&scope, &filter, None, usize::MAX)?;
        Ok(found.into_iter().find(|other| other.uuid != own && other.record.qualifier == qualifier))
    });
    match twin.await? {
        None => Ok(()),
        Some(twin) => Err(create::exists(&twin.record.event_source_arn, &target.name, &twin.uuid)),
    }
}

/// Neither update nor delete while the poller is on its way to an earlier wish (facts §9).
pub(super) fn busy(record: &MappingRecord) -> bool {
    matches!(record.transition.as_deref(), Some("Creating" | "Updating" | "Deleting"))
}

/// Edits a mapping and shows what it is then.
pub(super) async fn edit(
    shared: &Arc<Shared>,
    scope: lambfold_types::Scope,
    uuid: String,
    apply: impl Fn(&mut MappingRecord) -> Result<(), Fault> + Send + 'static,
) -> Result<EventSourceMappingConfiguration, Fault> {
    let outcome = shared.change(move |store| {
        let mut outcome = Err(faults::resource_not_found());
        store.edit_mapping(&scope, &uuid, &mut |record| match apply(record) {
            Ok(()) => {
                outcome = Ok(render::configuration(&scope, &uuid, record));
                Decision::Keep
            }
            Err(fault) => {
                outcome = Err(fault);
                Decision::Leave
            }
        })?;
        Ok(outcome)
    });
    outcome.await?
}
