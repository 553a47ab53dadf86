//! CreateAlias.

use std::sync::Arc;

use lambfold_api::lambda::{AliasConfiguration, CreateAliasRequest};
use lambfold_api::{CallContext, Fault};

use super::{MOST_ALIASES, additional, arn, check, render, version};
use crate::activation::heard;
use crate::record::Alias;
use crate::service::Shared;
use crate::store::Decision;
use crate::{faults, functions};

pub(crate) async fn create(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: CreateAliasRequest,
) -> Result<AliasConfiguration, Fault> {
    let target = functions::whole(ctx, input.function_name)?;
    let alias = Alias {
        version: version(input.function_version.unwrap_or_default()),
        description: input.description.unwrap_or_default(),
        revision_id: shared.uuid(),
        additional: input.routing_config.as_ref().map(additional).transpose()?.flatten(),
    };
    let name = input.name.unwrap_or_default();
    let answer = render(&target, &name, &alias);
    let targets = shared.alias_targets.lock().await;
    let checked = functions::function(shared, &target).await?.ok_or_else(|| target.not_found())?;
    check(shared, &target, &alias).await?;
    let (scope, function, arn) = (target.scope.clone(), target.name.clone(), arn(&target, &name));
    let outcome = shared.change(move |store| {
        let mut outcome = None;
        store.edit_function(&scope, &function, &mut |record| {
            // Another one of that name was not checked.
            if record.incarnation != checked.incarnation {
                return Decision::Leave;
            }
            let refused = if record.aliases.contains_key(&name) {
                Some(faults::conflict(format!("Alias already exists: {arn}")))
            } else if record.aliases.len() >= MOST_ALIASES {
                Some(faults::invalid_parameter(format!(
                    "A function can have {MOST_ALIASES} aliases here; delete some that are not needed."
                )))
            } else {
                record.aliases.insert(name.clone(), alias.clone());
                None
            };
            let decision = if refused.is_some() { Decision::Leave } else { Decision::Keep };
            outcome = Some(refused);
            decision
        })?;
        Ok(outcome)
    });
    if let Some(refused) = outcome.await?.ok_or_else(|| target.not_found())? {
        return Err(refused);
    }
    drop(targets);
    heard(shared).await;
    Ok(answer)
}
