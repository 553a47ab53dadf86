//! GetFunctionUrlConfig and ListFunctionUrlConfigs.

use std::ops::Bound;
use std::sync::Arc;

use lambfold_api::lambda::{
    FunctionUrlConfig, GetFunctionUrlConfigRequest, GetFunctionUrlConfigResponse,
    ListFunctionUrlConfigsRequest, ListFunctionUrlConfigsResponse,
};
use lambfold_api::{CallContext, Fault, FunctionTarget};

use super::{UrlTarget, arn, no_function, render};
use crate::service::Shared;
use crate::{faults, functions};

pub(crate) async fn get(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: GetFunctionUrlConfigRequest,
) -> Result<GetFunctionUrlConfigResponse, Fault> {
    let target = UrlTarget::read(ctx, input.function_name, input.qualifier.as_deref())?;
    let record = functions::function(shared, &target.function).await?;
    let url = record.and_then(|mut record| record.urls.remove(&target.qualifier));
    let url = url.ok_or_else(faults::resource_not_found)?;
    Ok(GetFunctionUrlConfigResponse {
        function_url: Some(render::url(ctx, &url.url_id)),
        function_arn: Some(target.arn()),
        auth_type: Some(url.auth_type),
        cors: url.cors.map(render::cors),
        creation_time: Some(url.created),
        last_modified_time: Some(url.last_modified),
        invoke_mode: Some(url.invoke_mode),
    })
}

pub(crate) async fn list(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: ListFunctionUrlConfigsRequest,
) -> Result<ListFunctionUrlConfigsResponse, Fault> {
    let function = FunctionTarget::read(ctx, &input.function_name.unwrap_or_default(), None)?;
    let max = functions::page_size(input.max_items);
    let record = functions::function(shared, &function).await?.ok_or_else(no_function)?;
    // A marker is the ARN that the page before ended with.
    let after = match input.marker.filter(|marker| !marker.is_empty()) {
        None => None,
        Some(marker) => {
            let qualifier = marker.strip_prefix(&arn(&function, "")).filter(|rest| {
                // Whether there still is one does not matter.
                rest.is_empty() || rest.starts_with(':')
            });
            let qualifier = qualifier.ok_or_else(|| faults::invalid_parameter("The Marker is malformed."))?;
            Some(qualifier.trim_start_matches(':').to_owned())
        }
    };
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut behind = record.urls.range((from, Bound::Unbounded));
    let shown: Vec<_> = behind.by_ref().take(max).collect();
    let next_marker = match (shown.last(), behind.next()) {
        (Some((last, _)), Some(_)) => Some(arn(&function, last)),
        _ => None,
    };
    let configs = shown.into_iter().map(|(qualifier, url)| FunctionUrlConfig {
        function_url: Some(render::url(ctx, &url.url_id)),
        function_arn: Some(arn(&function, qualifier)),
        creation_time: Some(url.created.clone()),
        last_modified_time: Some(url.last_modified.clone()),
        cors: url.cors.clone().map(render::cors),
        auth_type: Some(url.auth_type.clone()),
        invoke_mode: Some(url.invoke_mode.clone()),
    });
    Ok(ListFunctionUrlConfigsResponse {
        next_marker,
        function_url_configs: Some(configs.collect::<Vec<_>>().into()),
    })
}
