//! PutFunctionConcurrency, GetFunctionConcurrency and DeleteFunctionConcurrency.

use std::sync::Arc;

use lambfold_api::lambda::{
    Concurrency, DeleteFunctionConcurrencyRequest, DeleteFunctionConcurrencyResponse,
    GetFunctionConcurrencyRequest, GetFunctionConcurrencyResponse, PutFunctionConcurrencyRequest,
};
use lambfold_api::{CallContext, Fault, FunctionTarget};
use lambfold_types::Qualifier;

use super::{LEAST_UNRESERVED, least, unreserved};
use crate::activation::heard;
use crate::service::Shared;
use crate::store::Decision;
use crate::{faults, functions};

pub(crate) async fn put_reserved(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: PutFunctionConcurrencyRequest,
) -> Result<Concurrency, Fault> {
    let target = functions::whole(ctx, input.function_name)?;
    let given = input.reserved_concurrent_executions.unwrap_or_default();
    let reserved = u32::try_from(given).unwrap_or_default();
    // Of what all functions share, one that is missing is told of as its unpublished version.
    let latest = FunctionTarget { qualifier: Some(Qualifier::Latest), ..target.clone() };
    let shares = shared.alias_targets.lock().await;
    let record = functions::function(shared, &target).await?.ok_or_else(|| latest.not_found())?;
    let free = unreserved(shared, &target.scope, &target.name).await?;
    if reserved > 0 && free.checked_sub(reserved).is_none_or(|left| left < least(shared)) {
        return Err(faults::invalid_parameter(format!(
            "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below \
             its minimum value of [{LEAST_UNRESERVED}]."
        )));
    }
    let provisioned = record.concurrency.provisioned_beside("");
    if reserved < provisioned {
        return Err(faults::invalid_parameter(format!(
            " ReservedConcurrentExecutions  {reserved} should not be lower than function's total provisioned concurrency \
             [{provisioned}]."
        )));
    }
    set(shared, &target, Some(reserved)).await?;
    drop(shares);
    heard(shared).await;
    Ok(Concurrency { reserved_concurrent_executions: Some(given) })
}

pub(crate) async fn get_reserved(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: GetFunctionConcurrencyRequest,
) -> Result<GetFunctionConcurrencyResponse, Fault> {
    let target = functions::whole(ctx, input.function_name)?;
    let record = functions::function(shared, &target).await?.ok_or_else(|| target.not_found())?;
    let reserved = record.concurrency.reserved.and_then(|reserved| i32::try_from(reserved).ok());
    Ok(GetFunctionConcurrencyResponse { reserved_concurrent_executions: reserved })
}

pub(crate) async fn delete_reserved(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: DeleteFunctionConcurrencyRequest,
) -> Result<DeleteFunctionConcurrencyResponse, Fault> {
    let target = functions::whole(ctx, input.function_name)?;
    set(shared, &target, None).await?;
    heard(shared).await;
    Ok(DeleteFunctionConcurrencyResponse {})
}

async fn set(shared: &Arc<Shared>, target: &FunctionTarget, reserved: Option<u32>) -> Result<(), Fault> {
    let (scope, name) = (target.scope.clone(), target.name.clone());
    let found = shared.change(move |store| {
        store.edit_function(&scope, &name, &mut |record| {
            record.concurrency.reserved = reserved;
            Decision::Keep
        })
    });
    if found.await? { Ok(()) } else { Err(target.not_found()) }
}
