//! UpdateEventSourceMapping.

use std::sync::Arc;

use lambfold_api::lambda::{EventSourceMappingConfiguration, UpdateEventSourceMappingRequest};
use lambfold_api::{CallContext, Fault};

use super::{create, render, settings};
use crate::faults;
use crate::record::{Desired, MappingRecord};
use crate::service::Shared;
use crate::store::Decision;

pub(crate) async fn update(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: UpdateEventSourceMappingRequest,
) -> Result<EventSourceMappingConfiguration, Fault> {
    settings::no_destinations(input.destination_config.as_ref())?;
    settings::no_filters(input.filter_criteria.as_ref())?;
    if input.provisioned_poller_config.is_some() {
        return Err(faults::not_supported("ProvisionedPollerConfig"));
    }
    let function = match input.function_name.as_deref() {
        Some(name) => Some(create::function(shared, ctx, name).await?.0),
        None => None,
    };
    let maximum_concurrency = settings::maximum_concurrency(input.scaling_config.as_ref())?;
    let scope = ctx.scope.clone();
    let uuid = input.uuid.clone().unwrap_or_default();
    let now = shared.clock.now().millis();
    let apply = move |record: &mut MappingRecord| -> Result<(), Fault> {
        if busy(record) {
            return Err(faults::in_use(format!(
                "Cannot update the event source mapping because it is in the state {}.",
                record.transition.as_deref().unwrap_or_default()
            )));
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
