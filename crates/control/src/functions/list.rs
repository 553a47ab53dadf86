//! ListFunctions.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lambfold_api::lambda::{FunctionConfiguration, ListFunctionsRequest, ListFunctionsResponse};
use lambfold_api::{CallContext, Fault};
use lambfold_types::{Arn, FunctionName};

use super::render;
use crate::faults;
use crate::record::Function;
use crate::service::Shared;

/// An effective page never has more (facts, Lambda API §1).
const MOST_LISTED: usize = 50;

pub(crate) async fn list(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: ListFunctionsRequest,
) -> Result<ListFunctionsResponse, Fault> {
    let max = input
        .max_items
        .and_then(|max| usize::try_from(max).ok())
        .unwrap_or(MOST_LISTED)
        .clamp(1, MOST_LISTED);
    let after: Option<FunctionName> = match input.marker.as_deref().filter(|marker| !marker.is_empty()) {
        None => None,
        Some(marker) => {
            let name = URL_SAFE_NO_PAD.decode(marker).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let name = name.and_then(|name| name.parse().ok());
            Some(name.ok_or_else(|| faults::invalid_parameter("The Marker is malformed."))?)
        }
    };
    let scope = ctx.scope.clone();
    let mut found = shared.store(move |store| store.functions(&scope, after.as_ref(), max + 1)).await?;
    let more = found.len() > max;
    found.truncate(max);
    let next_marker = found.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(last.name.as_str()));
    let functions =
        found.iter().map(|function| item(shared, ctx, input.function_version.as_deref(), function));
    Ok(ListFunctionsResponse {
        next_marker,
        functions: Some(functions.collect::<Result<Vec<_>, _>>()?.into()),
    })
}

/// Items of lists omit where an update stands.
fn item(
    shared: &Shared,
    ctx: &CallContext,
    versions: Option<&str>,
    function: &Function,
) -> Result<FunctionConfiguration, Fault> {
    let name = function.name.as_str();
    // Every version is listed under its qualified ARN; there is one so far.
    let qualifier = versions.map(|_| "$LATEST");
    let arn = Arn::function(&ctx.scope, name, qualifier).to_string();
    let shown = render::configuration(&*shared.sealer, name, arn, &function.record)?;
    Ok(FunctionConfiguration {
        state: None,
        state_reason: None,
        state_reason_code: None,
        last_update_status: None,
        last_update_status_reason: None,
        last_update_status_reason_code: None,
        ..shown
    })
}
