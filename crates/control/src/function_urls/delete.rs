//! DeleteFunctionUrlConfig.

use std::sync::Arc;

use lambfold_api::lambda::{DeleteFunctionUrlConfigRequest, DeleteFunctionUrlConfigResponse};
use lambfold_api::{CallContext, Fault};

use super::UrlTarget;
use crate::activation::heard;
use crate::faults;
use crate::service::Shared;
use crate::store::Decision;

pub(crate) async fn delete(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: DeleteFunctionUrlConfigRequest,
) -> Result<DeleteFunctionUrlConfigResponse, Fault> {
    let UrlTarget { function, qualifier } =
        UrlTarget::read(ctx, input.function_name, input.qualifier.as_deref())?;
    let found = shared.change(move |store| {
        let mut found = false;
        store.edit_function(&function.scope, &function.name, &mut |record| {
            found = record.urls.remove(&qualifier).is_some();
            if found { Decision::Keep } else { Decision::Leave }
        })?;
        Ok(found)
    });
    if !found.await? {
        return Err(faults::resource_not_found());
    }
    heard(shared).await;
    Ok(DeleteFunctionUrlConfigResponse {})
}
