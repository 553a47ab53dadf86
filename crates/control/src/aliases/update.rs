//! UpdateAlias.

use std::sync::Arc;

use lambfold_api::lambda::{AliasConfiguration, UpdateAliasRequest};
use lambfold_api::{CallContext, Fault};

use super::{additional, arn, check, render, version};
use crate::activation::heard;
use crate::record::Alias;
use crate::service::Shared;
use crate::store::Decision;
use crate::{concurrency, faults, functions};

pub(crate) async fn update(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: UpdateAliasRequest,
) -> Result<AliasConfiguration, Fault> {
    let target = functions::whole(ctx, input.function_name)?;
    let name = input.name.unwrap_or_default();
    let routing = input.routing_config.as_ref().map(additional).transpose()?;
    let targets = shared.alias_targets.lock().await;
    let record = functions::function(shared, &target).await?.ok_or_else(|| target.not_found())?;
    let missing = || faults::not_found(format!("Alias not found: {}", arn(&target, &name)));
    let before = record.aliases.get(&name).cloned().ok_or_else(missing)?;
    if input.revision_id.is_some_and(|expected| expected != before.revision_id) {
        return Err(faults::stale_revision());
    }
    let alias = Alias {
        version: input.function_version.map_or(before.version, version),
        description: input.description.unwrap_or(before.description),
        revision_id: shared.uuid(),
        additional: routing.unwrap_or(before.additional),
    };
    check(shared, &target, &alias).await?;
    if record.concurrency.provisioned.contains_key(&name) {
        concurrency::check_alias(&record, &alias)?;
    }
    let answer = render(&target, &name, &alias);
    let (scope, function) = (target.scope.clone(), target.name.clone());
    let changed = shared.change(move |store| {
        let mut changed = false;
        store.edit_function(&scope, &function, &mut |now| {
            // Another one of that name was not checked.
            if now.incarnation != record.incarnation {
                return Decision::Leave;
            }
            now.aliases.insert(name.clone(), alias.clone());
            changed = true;
            Decision::Keep
        })?;
        Ok(changed)
    });
    if !changed.await? {
        return Err(target.not_found());
    }
    drop(targets);
    heard(shared).await;
    Ok(answer)
}
