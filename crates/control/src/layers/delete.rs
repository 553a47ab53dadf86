//! DeleteLayerVersion. Functions that have the version keep it: they name its archive themselves.

use std::sync::Arc;

use lambfold_api::lambda::{DeleteLayerVersionRequest, DeleteLayerVersionResponse};
use lambfold_api::{CallContext, Fault};

use super::target::{LayerTarget, number};
use crate::service::Shared;
use crate::store::Decision;

pub(crate) async fn delete(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: DeleteLayerVersionRequest,
) -> Result<DeleteLayerVersionResponse, Fault> {
    let version = number(input.version_number)?;
    let LayerTarget { scope, name } =
        LayerTarget::read(ctx, &input.layer_name.unwrap_or_default())?.owned_by(ctx)?;
    // One that is not there is deleted already.
    shared
        .store(move |store| store.edit_layer_version(&scope, &name, version, &mut |_| Decision::Remove))
        .await?;
    Ok(DeleteLayerVersionResponse {})
}
