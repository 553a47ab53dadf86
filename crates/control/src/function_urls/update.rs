//! UpdateFunctionUrlConfig: what is not named stays.

use std::sync::Arc;

use lambfold_api::lambda::{UpdateFunctionUrlConfigRequest, UpdateFunctionUrlConfigResponse};
use lambfold_api::{CallContext, Fault};

use super::{UrlTarget, has, no_function, render};
use crate::activation::heard;
use crate::faults;
use crate::service::Shared;
use crate::store::Decision;

pub(crate) async fn update(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: UpdateFunctionUrlConfigRequest,
) -> Result<UpdateFunctionUrlConfigResponse, Fault> {
    let target = UrlTarget::read(ctx, input.function_name, input.qualifier.as_deref())?;
    let arn = target.arn();
    let now = render::timestamp(shared.clock.now());
    let (auth_type, invoke_mode) = (input.auth_type, input.invoke_mode);
    let shown_mode = invoke_mode.clone();
    // One without members takes the settings away.
    let cors = input.cors.map(render::read_cors);
    let outcome = shared.change(move |store| {
        let mut outcome = Err(no_function());
        let UrlTarget { function, qualifier } = &target;
        store.edit_function(&function.scope, &function.name, &mut |record| {
            if !has(record, qualifier) {
                return Decision::Leave;
            }
            let Some(url) = record.urls.get_mut(qualifier) else {
                outcome = Err(faults::resource_not_found());
                return Decision::Leave;
            };
            if let Some(auth_type) = &auth_type {
                url.auth_type.clone_from(auth_type);
            }
            if let Some(invoke_mode) = &invoke_mode {
                url.invoke_mode.clone_from(invoke_mode);
            }
            if let Some(cors) = &cors {
                url.cors.clone_from(cors);
            }
            url.last_modified.clone_from(&now);
            outcome = Ok(url.clone());
            Decision::Keep
        })?;
        Ok(outcome)
    });
    let url = outcome.await??;
    heard(shared).await;
    Ok(UpdateFunctionUrlConfigResponse {
        function_url: Some(render::url(ctx, &url.url_id)),
        function_arn: Some(arn),
        auth_type: Some(url.auth_type),
        cors: url.cors.map(render::cors),
        creation_time: Some(url.created),
        last_modified_time: Some(url.last_modified),
        invoke_mode: shown_mode,
    })
}
