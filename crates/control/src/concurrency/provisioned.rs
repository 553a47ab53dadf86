//! PutProvisionedConcurrencyConfig and its siblings.

use std::ops::Bound;
use std::sync::Arc;

use lambfold_api::lambda::{
    DeleteProvisionedConcurrencyConfigRequest, DeleteProvisionedConcurrencyConfigResponse, ErrorCode,
    GetProvisionedConcurrencyConfigRequest, GetProvisionedConcurrencyConfigResponse,
    ListProvisionedConcurrencyConfigsRequest, ListProvisionedConcurrencyConfigsResponse,
    ProvisionedConcurrencyConfigListItem, PutProvisionedConcurrencyConfigRequest,
    PutProvisionedConcurrencyConfigResponse,
};
use lambfold_api::{CallContext, Fault, FunctionTarget};
use lambfold_types::{Arn, Qualifier};

use super::allocation::Allocation;
use super::{LEAST_UNRESERVED, check_alias, least, unreserved};
use crate::functions::timestamp;
use crate::record::{FunctionRecord, ProvisionedConcurrency};
use crate::service::Shared;
use crate::store::Decision;
use crate::{faults, functions};

pub(crate) async fn put_provisioned(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: PutProvisionedConcurrencyConfigRequest,
) -> Result<PutProvisionedConcurrencyConfigResponse, Fault> {
    let target = read(ctx, input.function_name, input.qualifier.as_deref())?;
    let requested =
        input.provisioned_concurrent_executions.and_then(|it| u32::try_from(it).ok()).unwrap_or(1);
    let qualifier = published(
        &target,
        "Provisioned Concurrency Configs cannot be applied to unpublished function versions.",
    )?;
    let _shares = shared.alias_targets.lock().await;
    let record = find(shared, &target).await?;
    if functions::find(shared, &target).await?.record.configuration.snap_start {
        return Err(faults::invalid_parameter(
            "Provisioned Concurrency is not supported for SnapStart enabled functions.",
        ));
    }
    check_overlap(&record, &target, &qualifier)?;
    check_amount(shared, &target, &record, &qualifier, requested).await?;
    let last_modified = timestamp(shared.clock.now());
    let known = shared.allocations.get(&target.scope, &target.name, &qualifier, shared.clock.now());
    let answer = PutProvisionedConcurrencyConfigResponse {
        requested_provisioned_concurrent_executions: Some(count(requested)),
        available_provisioned_concurrent_executions: Some(count(known.available.min(requested))),
        allocated_provisioned_concurrent_executions: Some(count(known.allocated.min(requested))),
        status: Some("IN_PROGRESS".to_owned()),
        status_reason: None,
        last_modified: Some(last_modified.clone()),
    };
    let (scope, name) = (target.scope.clone(), target.name.clone());
    let changed = shared.change(move |store| {
        let mut changed = false;
        store.edit_function(&scope, &name, &mut |now| {
            // Another one of that name was not checked.
            if now.incarnation != record.incarnation {
                return Decision::Leave;
            }
            let provisioned = ProvisionedConcurrency { requested, last_modified: last_modified.clone() };
            now.concurrency.provisioned.insert(qualifier.clone(), provisioned);
            changed = true;
            Decision::Keep
        })?;
        Ok(changed)
    });
    if changed.await? { Ok(answer) } else { Err(target.not_found()) }
}

pub(crate) async fn get_provisioned(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: GetProvisionedConcurrencyConfigRequest,
) -> Result<GetProvisionedConcurrencyConfigResponse, Fault> {
    let target = read(ctx, input.function_name, input.qualifier.as_deref())?;
    let qualifier = published(&target, NOT_PUBLISHED)?;
    let record = find(shared, &target).await?;
    let provisioned = record.concurrency.provisioned.get(&qualifier).ok_or_else(missing)?;
    let shown = item(shared, &target, &qualifier, provisioned);
    Ok(GetProvisionedConcurrencyConfigResponse {
        requested_provisioned_concurrent_executions: shown.requested_provisioned_concurrent_executions,
        available_provisioned_concurrent_executions: shown.available_provisioned_concurrent_executions,
        allocated_provisioned_concurrent_executions: shown.allocated_provisioned_concurrent_executions,
        status: shown.status,
        status_reason: shown.status_reason,
        last_modified: shown.last_modified,
    })
}

pub(crate) async fn delete_provisioned(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: DeleteProvisionedConcurrencyConfigRequest,
) -> Result<DeleteProvisionedConcurrencyConfigResponse, Fault> {
    let target = read(ctx, input.function_name, input.qualifier.as_deref())?;
    let qualifier = published(&target, NOT_PUBLISHED)?;
    find(shared, &target).await?;
    let (scope, name) = (target.scope.clone(), target.name.clone());
    let found = shared.change(move |store| {
        store.edit_function(&scope, &name, &mut |record| {
            // What is gone already is deleted, too.
            let known = record.concurrency.provisioned.remove(&qualifier).is_some();
            if known { Decision::Keep } else { Decision::Leave }
        })
    });
    if found.await? { Ok(DeleteProvisionedConcurrencyConfigResponse {}) } else { Err(target.not_found()) }
}

pub(crate) async fn list_provisioned(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: ListProvisionedConcurrencyConfigsRequest,
) -> Result<ListProvisionedConcurrencyConfigsResponse, Fault> {
    let target = functions::whole(ctx, input.function_name)?;
    let record = functions::function(shared, &target).await?.ok_or_else(|| target.not_found())?;
    let max = functions::page_size(input.max_items);
    let after = match input.marker.as_deref().filter(|marker| !marker.is_empty()) {
        None => Bound::Unbounded,
        Some(qualifier) => Bound::Excluded(qualifier),
    };
    let mut behind = record.concurrency.provisioned.range::<str, _>((after, Bound::Unbounded));
    let page: Vec<_> = behind.by_ref().take(max).collect();
    let next_marker = page.last().filter(|_| behind.next().is_some()).map(|(name, _)| (*name).clone());
    let shown: Vec<_> = page.iter().map(|(name, it)| item(shared, &target, name, it)).collect();
    Ok(ListProvisionedConcurrencyConfigsResponse {
        provisioned_concurrency_configs: Some(shown.into()),
        next_marker,
    })
}

const NOT_PUBLISHED: &str = "The function resource provided must be an alias or a published version.";

fn read(ctx: &CallContext, name: Option<String>, qualifier: Option<&str>) -> Result<FunctionTarget, Fault> {
    FunctionTarget::read(ctx, &name.unwrap_or_default(), qualifier.filter(|it| !it.is_empty()))
}

/// The qualifier, which must not be that of what can be changed.
fn published(target: &FunctionTarget, refusal: &str) -> Result<String, Fault> {
    match &target.qualifier {
        None | Some(Qualifier::Latest) => Err(faults::invalid_parameter(refusal)),
        Some(qualifier) => Ok(qualifier.to_string()),
    }
}

fn missing() -> Fault {
    let text = "No Provisioned Concurrency Config found for this function";
    Fault::new(ErrorCode::ProvisionedConcurrencyConfigNotFoundException, text).with_member("Type", "User")
}

/// The function of an alias or version that is there.
async fn find(shared: &Arc<Shared>, target: &FunctionTarget) -> Result<FunctionRecord, Fault> {
    let unqualified = FunctionTarget { qualifier: None, ..target.clone() };
    let record = functions::function(shared, target).await?.ok_or_else(|| unqualified.not_found())?;
    match &target.qualifier {
        Some(Qualifier::Alias(name)) if !record.aliases.contains_key(&**name) => {
            Err(faults::no_alias(&target.arn()))
        }
        _ => functions::find(shared, target).await.map(|_| record),
    }
}

/// Alias or version, not both.
fn check_overlap(record: &FunctionRecord, target: &FunctionTarget, qualifier: &str) -> Result<(), Fault> {
    if let Some(alias) = record.aliases.get(qualifier) {
        return check_alias(record, alias);
    }
    let Some(Qualifier::Version(number)) = target.qualifier else { return Ok(()) };
    let provisioned = record.concurrency.provisioned.keys();
    let mut aliases = provisioned.filter_map(|name| record.aliases.get(name));
    if aliases.any(|alias| alias.uses(number)) {
        return Err(faults::conflict("Version is pointed by a Provisioned Concurrency alias"));
    }
    Ok(())
}

async fn check_amount(
    shared: &Arc<Shared>,
    target: &FunctionTarget,
    record: &FunctionRecord,
    qualifier: &str,
    requested: u32,
) -> Result<(), Fault> {
    let others = record.concurrency.provisioned_beside(qualifier);
    if let Some(reserved) = record.concurrency.reserved {
        if requested.saturating_add(others) > reserved {
            return Err(faults::invalid_parameter(
                "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function",
            ));
        }
        return Ok(());
    }
    let free = unreserved(shared, &target.scope, &target.name).await?.saturating_sub(others);
    let least = least(shared);
    if requested > free {
        return Err(faults::invalid_parameter(format!(
            "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [{free}]."
        )));
    }
    if free - requested < least {
        return Err(faults::invalid_parameter(format!(
            "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its \
             minimum value of [{LEAST_UNRESERVED}]."
        )));
    }
    Ok(())
}

fn item(
    shared: &Shared,
    target: &FunctionTarget,
    qualifier: &str,
    provisioned: &ProvisionedConcurrency,
) -> ProvisionedConcurrencyConfigListItem {
    let requested = provisioned.requested;
    let Allocation { requested: about, allocated, available, trouble } =
        shared.allocations.get(&target.scope, &target.name, qualifier, shared.clock.now());
    // What was told of an earlier request says nothing of how this one fares.
    let (status, reason) = if about == requested && available >= requested {
        ("READY", None)
    } else if let Some(trouble) = trouble.filter(|_| about == requested) {
        ("FAILED", Some(trouble))
    } else {
        ("IN_PROGRESS", None)
    };
    ProvisionedConcurrencyConfigListItem {
        function_arn: Some(Arn::function(&target.scope, target.name.as_str(), Some(qualifier)).to_string()),
        requested_provisioned_concurrent_executions: Some(count(requested)),
        available_provisioned_concurrent_executions: Some(count(available.min(requested))),
        allocated_provisioned_concurrent_executions: Some(count(allocated.min(requested))),
        status: Some(status.to_owned()),
        status_reason: reason,
        last_modified: Some(provisioned.last_modified.clone()),
    }
}

fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
