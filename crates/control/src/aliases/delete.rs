//! DeleteAlias, and with it the concurrency that was provisioned under it. Its URL stays and answers 403 (facts §11).

use std::sync::Arc;

use lambfold_api::lambda::{DeleteAliasRequest, DeleteAliasResponse};
use lambfold_api::{CallContext, Fault};

use crate::activation::heard;
use crate::functions;
use crate::service::Shared;
use crate::store::Decision;

pub(crate) async fn delete(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: DeleteAliasRequest,
) -> Result<DeleteAliasResponse, Fault> {
    let target = functions::whole(ctx, input.function_name)?;
    let name = input.name.unwrap_or_default();
    let targets = shared.alias_targets.lock().await;
    let (scope, function) = (target.scope.clone(), target.name.clone());
    let found = shared.change(move |store| {
        store.edit_function(&scope, &function, &mut |record| {
            // What is gone already is deleted, too.
            if record.aliases.remove(&name).is_none() {
                return Decision::Leave;
            }
            record.concurrency.provisioned.remove(&name);
            Decision::Keep
        })
    });
    if !found.await? {
        return Err(target.not_found());
    }
    drop(targets);
    heard(shared).await;
    Ok(DeleteAliasResponse {})
}
