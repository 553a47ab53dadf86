//! Aliases: names for versions that can be pointed elsewhere. They are part of their function's record; one operation a
//! file.

mod create;
mod delete;
mod list;
mod update;

use std::sync::Arc;

use lambfold_api::lambda::{
    AdditionalVersionWeights, AliasConfiguration, AliasRoutingConfiguration, GetAliasRequest,
};
use lambfold_api::{CallContext, Fault, FunctionTarget};
use lambfold_types::{Arn, Qualifier};

use crate::record::{AdditionalVersion, Alias};
use crate::service::Shared;
use crate::{faults, functions};

pub(crate) use create::create;
pub(crate) use delete::delete;
pub(crate) use list::list;
pub(crate) use update::update;

/// So that a function's record, which every change of it writes whole, has a bound.
const MOST_ALIASES: usize = 1000;

pub(crate) async fn get(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: GetAliasRequest,
) -> Result<AliasConfiguration, Fault> {
    let target = functions::whole(ctx, input.function_name)?;
    let record = functions::function(shared, &target).await?.ok_or_else(|| target.not_found())?;
    let name = input.name.unwrap_or_default();
    let alias = record.aliases.get(&name).ok_or_else(|| faults::no_alias(&arn(&target, &name)))?;
    Ok(render(&target, &name, alias))
}

fn arn(target: &FunctionTarget, alias: &str) -> String {
    Arn::function(&target.scope, target.name.as_str(), Some(alias)).to_string()
}

fn render(target: &FunctionTarget, name: &str, alias: &Alias) -> AliasConfiguration {
    let routing = alias.additional.as_ref().map(|it| AliasRoutingConfiguration {
        additional_version_weights: Some(AdditionalVersionWeights {
            items: [(it.version.to_string(), it.weight)].into(),
        }),
    });
    AliasConfiguration {
        alias_arn: Some(arn(target, name)),
        name: Some(name.to_owned()),
        function_version: Some(alias.version.clone()),
        description: Some(alias.description.clone()),
        routing_config: routing,
        revision_id: Some(alias.revision_id.clone()),
    }
}

/// The additional version of a routing configuration; an empty one asks for none.
fn additional(given: &AliasRoutingConfiguration) -> Result<Option<AdditionalVersion>, Fault> {
    let weights = given.additional_version_weights.as_ref().map(|weights| &weights.items);
    let mut weights = weights.into_iter().flatten();
    let Some((version, weight)) = weights.next() else { return Ok(None) };
    if weights.next().is_some() {
        return Err(faults::invalid_parameter(
            "Number of items in AdditionalVersionWeights cannot be greater than 1",
        ));
    }
    let version = version
        .parse()
        .map_err(|_| faults::invalid_parameter(format!("Invalid function version {version}.")))?;
    Ok(Some(AdditionalVersion { version, weight: *weight }))
}

/// A version as it is numbered: `01` is version 1. What names none stays, to be told.
fn version(given: String) -> String {
    given.parse::<Qualifier>().map_or(given, |qualifier| qualifier.to_string())
}

/// Whether an alias may be pointed there. Under [`Shared::alias_targets`], so that what is there stays.
async fn check(shared: &Arc<Shared>, target: &FunctionTarget, alias: &Alias) -> Result<(), Fault> {
    if let Some(AdditionalVersion { version, .. }) = &alias.additional {
        if alias.version == Qualifier::Latest.to_string() {
            return Err(faults::invalid_parameter(
                "$LATEST is not supported for an alias pointing to more than 1 version",
            ));
        }
        if alias.version == version.to_string() {
            return Err(faults::invalid_parameter(format!(
                "Invalid function version {version}. Function version {version} is already included in routing \
                 configuration."
            )));
        }
    }
    let additional = alias.additional.as_ref().map(|it| it.version.to_string());
    for version in [Some(alias.version.clone()), additional].into_iter().flatten() {
        let qualifier = version
            .parse()
            .map_err(|()| faults::function_not_found(&target.scope, target.name.as_str(), Some(&version)))?;
        functions::find(shared, &FunctionTarget { qualifier: Some(qualifier), ..target.clone() }).await?;
    }
    Ok(())
}
