//! GetEventSourceMapping and ListEventSourceMappings.

use std::sync::Arc;

use lambfold_api::lambda::{
    EventSourceMappingConfiguration, GetEventSourceMappingRequest, ListEventSourceMappingsRequest,
    ListEventSourceMappingsResponse,
};
use lambfold_api::{CallContext, Fault, FunctionTarget};

use super::render;
use crate::faults;
use crate::service::Shared;
use crate::store::MappingFilter;

/// An effective page never has more.
const MOST_LISTED: usize = 100;

pub(crate) async fn get(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: GetEventSourceMappingRequest,
) -> Result<EventSourceMappingConfiguration, Fault> {
    let (scope, uuid) = (ctx.scope.clone(), input.uuid.unwrap_or_default());
    let record = {
        let (scope, uuid) = (scope.clone(), uuid.clone());
        shared.store(move |store| store.mapping(&scope, &uuid)).await?
    };
    let record = record.ok_or_else(faults::resource_not_found)?;
    Ok(render::configuration(&scope, &uuid, &record))
}

pub(crate) async fn list(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: ListEventSourceMappingsRequest,
) -> Result<ListEventSourceMappingsResponse, Fault> {
    let max = input
        .max_items
        .and_then(|max| usize::try_from(max).ok())
        .unwrap_or(MOST_LISTED)
        .clamp(1, MOST_LISTED);
    let function_name = match input.function_name.as_deref() {
        None => None,
        Some(text) => Some(FunctionTarget::read(ctx, text, None)?.name.to_string()),
    };
    let filter = MappingFilter { event_source_arn: input.event_source_arn, function_name };
    let (scope, after) = (ctx.scope.clone(), input.marker.filter(|marker| !marker.is_empty()));
    let found = shared.store(move |store| store.mappings(&scope, &filter, after.as_deref(), max + 1));
    let mut found = found.await?;
    let more = found.len() > max;
    found.truncate(max);
    let next_marker = found.last().filter(|_| more).map(|last| last.uuid.clone());
    let shown =
        found.iter().map(|mapping| render::configuration(&mapping.scope, &mapping.uuid, &mapping.record));
    Ok(ListEventSourceMappingsResponse {
        next_marker,
        event_source_mappings: Some(shown.collect::<Vec<_>>().into()),
    })
}
