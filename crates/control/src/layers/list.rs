//! ListLayers and ListLayerVersions.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lambfold_api::lambda::{
    LayersListItem, ListLayerVersionsRequest, ListLayerVersionsResponse, ListLayersRequest,
    ListLayersResponse,
};
use lambfold_api::{CallContext, Fault};
use lambfold_types::LayerName;

use super::render;
use super::target::LayerTarget;
use crate::service::Shared;
use crate::store::LayerFilter;
use crate::{faults, functions};

pub(crate) async fn list(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: ListLayersRequest,
) -> Result<ListLayersResponse, Fault> {
    let after: Option<LayerName> = read_marker(input.marker.as_deref())?;
    let filter =
        LayerFilter { runtime: input.compatible_runtime, architecture: input.compatible_architecture };
    let (scope, max) = (ctx.scope.clone(), functions::page_size(input.max_items));
    let mut found = shared.store(move |store| store.layers(&scope, &filter, after.as_ref(), max + 1)).await?;
    let more = found.len() > max;
    found.truncate(max);
    let next_marker = found.last().filter(|_| more).map(|last| marker(last.name.as_str()));
    let layers = found.into_iter().map(|latest| {
        let target = LayerTarget { scope: latest.scope, name: latest.name };
        LayersListItem {
            layer_name: Some(target.name.to_string()),
            layer_arn: Some(target.arn()),
            latest_matching_version: Some(render::item(&target, latest.version, latest.record)),
        }
    });
    Ok(ListLayersResponse { next_marker, layers: Some(layers.collect::<Vec<_>>().into()) })
}

pub(crate) async fn list_versions(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: ListLayerVersionsRequest,
) -> Result<ListLayerVersionsResponse, Fault> {
    let target = LayerTarget::read(ctx, &input.layer_name.unwrap_or_default())?.owned_by(ctx)?;
    let before: Option<u64> = read_marker(input.marker.as_deref())?;
    let filter =
        LayerFilter { runtime: input.compatible_runtime, architecture: input.compatible_architecture };
    let (scope, name, max) =
        (target.scope.clone(), target.name.clone(), functions::page_size(input.max_items));
    let mut found =
        shared.store(move |store| store.layer_versions(&scope, &name, &filter, before, max + 1)).await?;
    let more = found.len() > max;
    found.truncate(max);
    let next_marker = found.last().filter(|_| more).map(|last| marker(&last.version.to_string()));
    let versions = found.into_iter().map(|it| render::item(&target, it.version, it.record));
    Ok(ListLayerVersionsResponse { next_marker, layer_versions: Some(versions.collect::<Vec<_>>().into()) })
}

/// Behind what the next page begins.
fn marker(last: &str) -> String {
    URL_SAFE_NO_PAD.encode(last)
}

fn read_marker<T: std::str::FromStr>(given: Option<&str>) -> Result<Option<T>, Fault> {
    let Some(text) = given.filter(|text| !text.is_empty()) else { return Ok(None) };
    let last = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let last = last.and_then(|last| last.parse().ok());
    last.map(Some).ok_or_else(|| faults::invalid_parameter("The Marker is malformed."))
}
