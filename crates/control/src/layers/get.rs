//! GetLayerVersion and GetLayerVersionByArn.

use std::sync::Arc;

use lambfold_api::lambda::{GetLayerVersionByArnRequest, GetLayerVersionRequest, GetLayerVersionResponse};
use lambfold_api::{CallContext, Fault};

use super::target::{LayerTarget, number, read_version_arn};
use super::{permissions, render};
use crate::faults;
use crate::record::LayerVersionRecord;
use crate::service::Shared;

pub(crate) async fn get(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: GetLayerVersionRequest,
) -> Result<GetLayerVersionResponse, Fault> {
    let version = number(input.version_number)?;
    let target = LayerTarget::read(ctx, &input.layer_name.unwrap_or_default())?;
    show(shared, ctx, &target, version).await
}

pub(crate) async fn get_by_arn(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: GetLayerVersionByArnRequest,
) -> Result<GetLayerVersionResponse, Fault> {
    let (target, version) = read_version_arn(&input.arn.unwrap_or_default())?;
    if target.scope.region != ctx.scope.region {
        return Err(faults::resource_not_found());
    }
    show(shared, ctx, &target, version).await
}

async fn show(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    target: &LayerTarget,
    version: u64,
) -> Result<GetLayerVersionResponse, Fault> {
    let found = find(shared, target, version).await?;
    if target.scope.account != ctx.scope.account {
        permissions::check(ctx, target, version, found.as_ref())?;
    }
    let record = found.ok_or_else(faults::resource_not_found)?;
    Ok(render::whole(ctx, target, version, record))
}

/// That version of the layer.
pub(super) async fn find(
    shared: &Arc<Shared>,
    target: &LayerTarget,
    version: u64,
) -> Result<Option<LayerVersionRecord>, Fault> {
    let (scope, name) = (target.scope.clone(), target.name.clone());
    shared.store(move |store| store.layer_version(&scope, &name, version)).await
}
