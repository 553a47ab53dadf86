//! ListVersionsByFunction: what can be changed first, then what was published.

use std::sync::Arc;

use lambfold_api::lambda::{ListVersionsByFunctionRequest, ListVersionsByFunctionResponse};
use lambfold_api::{CallContext, Fault, FunctionTarget};
use lambfold_types::Qualifier;

use super::get::function;
use super::list::page_size;
use super::render;
use crate::faults;
use crate::record::FunctionRecord;
use crate::service::Shared;

pub(crate) async fn list(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: ListVersionsByFunctionRequest,
) -> Result<ListVersionsByFunctionResponse, Fault> {
    let target = FunctionTarget::read(ctx, &input.function_name.unwrap_or_default(), None)?;
    let target = FunctionTarget { qualifier: None, ..target };
    let record = function(shared, &target).await?.ok_or_else(|| target.not_found())?;
    let after = match input.marker.as_deref().filter(|marker| !marker.is_empty()) {
        None => None,
        Some(marker) => {
            Some(marker.parse().map_err(|_| faults::invalid_parameter("The Marker is malformed."))?)
        }
    };
    let max = page_size(input.max_items);
    let mut found = all_of(shared, &target, record, after, max + 1).await?;
    let more = found.len() > max;
    found.truncate(max);
    let next_marker = found.last().filter(|_| more).map(|(version, _)| number(version).to_string());
    let versions = found.iter().map(|(version, record)| {
        let target = FunctionTarget { qualifier: Some(version.clone()), ..target.clone() };
        render::item(&*shared.sealer, &target, version, record)
    });
    Ok(ListVersionsByFunctionResponse {
        next_marker,
        versions: Some(versions.collect::<Result<Vec<_>, _>>()?.into()),
    })
}

/// Up to `max` versions of a function behind that number, the unpublished one first, which counts as 0.
pub(super) async fn all_of(
    shared: &Arc<Shared>,
    target: &FunctionTarget,
    record: FunctionRecord,
    after: Option<u64>,
    max: usize,
) -> Result<Vec<(Qualifier, FunctionRecord)>, Fault> {
    let (scope, name) = (target.scope.clone(), target.name.clone());
    let published =
        shared.store(move |store| store.function_versions(&scope, &name, after.unwrap_or(0), max)).await?;
    let mut all = Vec::new();
    all.extend(after.is_none().then(|| (Qualifier::Latest, record.clone())));
    let published = published.into_iter();
    all.extend(published.map(|it| (Qualifier::Version(it.number), it.record.in_place_of(record.clone()))));
    all.truncate(max);
    Ok(all)
}

/// What a marker says of a version.
pub(super) fn number(version: &Qualifier) -> u64 {
    if let Qualifier::Version(number) = version { *number } else { 0 }
}
