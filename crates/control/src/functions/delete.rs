//! DeleteFunction. Event source mappings stay, as on AWS.

use std::sync::Arc;

use lambfold_api::lambda::{DeleteFunctionRequest, DeleteFunctionResponse};
use lambfold_api::{CallContext, Fault, FunctionTarget};
use lambfold_types::Qualifier;

use super::get::function;
use crate::activation::heard;
use crate::faults;
use crate::service::Shared;
use crate::store::Decision;

pub(crate) async fn delete(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: DeleteFunctionRequest,
) -> Result<DeleteFunctionResponse, Fault> {
    let target =
        FunctionTarget::read(ctx, &input.function_name.unwrap_or_default(), input.qualifier.as_deref())?;
    match &target.qualifier {
        None => {}
        Some(Qualifier::Latest) => {
            return Err(faults::invalid_parameter(
                "$LATEST version cannot be deleted without deleting the function.",
            ));
        }
        Some(Qualifier::Version(number)) => return delete_version(shared, &target, *number).await,
        Some(Qualifier::Alias(_)) => return Err(faults::aliases_have_their_own_deletion()),
    }
    let (scope, name) = (target.scope.clone(), target.name.clone());
    let found =
        shared.change(move |store| store.edit_function(&scope, &name, &mut |_| Decision::Remove)).await?;
    if !found {
        return Err(target.not_found());
    }
    // Its image may be on its way.
    shared.pulls.forget(&target.scope, &target.name);
    Ok(deleted(shared).await)
}

/// A version that an existing function does not have is nothing to delete, and no error (facts §4).
async fn delete_version(
    shared: &Arc<Shared>,
    target: &FunctionTarget,
    number: u64,
) -> Result<DeleteFunctionResponse, Fault> {
    let unqualified = FunctionTarget { qualifier: None, ..target.clone() };
    function(shared, target).await?.ok_or_else(|| unqualified.not_found())?;
    let targets = shared.alias_targets.lock().await;
    let (scope, name) = (target.scope.clone(), target.name.clone());
    let used = shared.change(move |store| {
        let mut used = Vec::new();
        store.edit_version(&scope, &name, number, &mut |function, _| {
            let aliases = function.aliases.iter().filter(|(_, alias)| alias.uses(number));
            used = aliases.map(|(name, _)| name.clone()).collect();
            if !used.is_empty() {
                return Decision::Leave;
            }
            function.versions.pending.remove(&number);
            function.concurrency.provisioned.remove(&number.to_string());
            Decision::Remove
        })?;
        Ok(used)
    });
    let used = used.await?;
    drop(targets);
    if used.is_empty() { Ok(deleted(shared).await) } else { Err(faults::version_in_use(&used)) }
}

/// The answer, once the data plane does not run it any more.
async fn deleted(shared: &Shared) -> DeleteFunctionResponse {
    heard(shared).await;
    DeleteFunctionResponse { status_code: Some(204) }
}
