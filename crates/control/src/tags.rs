//! Tags of functions and mappings (facts, Lambda API §13).

use std::collections::BTreeMap;
use std::sync::Arc;

use lambfold_api::lambda::{
    ListTagsRequest, ListTagsResponse, TagResourceRequest, TagResourceResponse, UntagResourceRequest,
    UntagResourceResponse,
};
use lambfold_api::{CallContext, Fault, FunctionTarget};
use lambfold_types::{Arn, FunctionName, Scope};

use crate::faults;
use crate::service::Shared;
use crate::store::Decision;

const MOST_TAGS: usize = 50;

/// Refuses more tags than a resource may have.
pub(crate) fn check(tags: &BTreeMap<String, String>) -> Result<(), Fault> {
    if tags.len() > MOST_TAGS {
        return Err(faults::invalid_parameter("Number of tags exceeds resource tag limit."));
    }
    if tags
        .iter()
        .any(|(key, value)| key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256)
    {
        return Err(faults::invalid_parameter(
            "Tag keys are 1 to 128 characters long, tag values up to 256.",
        ));
    }
    Ok(())
}

/// What can carry tags.
enum Resource {
    Function(Scope, FunctionName),
    Mapping(Scope, String),
}

impl Resource {
    fn read(ctx: &CallContext, text: &str) -> Result<Self, Fault> {
        let arn: Arn =
            text.parse().map_err(|_| faults::invalid_parameter(format!("{text} is not a resource ARN.")))?;
        if let Some(uuid) = arn.resource.strip_prefix("event-source-mapping:") {
            if arn.scope.account != ctx.scope.account {
                return Err(faults::other_account());
            }
            let mapping = Self::Mapping(arn.scope.clone(), uuid.to_owned());
            return if arn.scope.region == ctx.scope.region { Ok(mapping) } else { Err(mapping.missing()) };
        }
        if !arn.resource.starts_with("function:") {
            return Err(faults::not_supported("tags on this kind of resource"));
        }
        let target = FunctionTarget::read(ctx, text, None)?;
        if target.qualifier.is_some() {
            return Err(faults::invalid_parameter(
                "Tags on function aliases and versions are not supported. Please specify a function ARN.",
            ));
        }
        Ok(Self::Function(target.scope, target.name))
    }

    fn missing(&self) -> Fault {
        match self {
            Self::Function(scope, name) => faults::function_not_found(scope, name.as_str(), None),
            Self::Mapping(scope, uuid) => faults::not_found(format!(
                "Event source mapping not found: {}",
                Arn::event_source_mapping(scope, uuid)
            )),
        }
    }

    /// Applies `edit` to the tags; what it answers.
    async fn edit(
        self,
        shared: &Arc<Shared>,
        edit: impl Fn(&mut BTreeMap<String, String>) -> Result<(), Fault> + Send + 'static,
    ) -> Result<(), Fault> {
        let missing = self.missing();
        let revision_id = shared.uuid();
        let outcome = shared.change(move |store| {
            let mut outcome = Ok(());
            let found = match &self {
                Self::Function(scope, name) => store.edit_function(scope, name, &mut |record| {
                    outcome = edit(&mut record.tags);
                    record.revision_id.clone_from(&revision_id);
                    if outcome.is_ok() { Decision::Keep } else { Decision::Leave }
                }),
                Self::Mapping(scope, uuid) => store.edit_mapping(scope, uuid, &mut |record| {
                    outcome = edit(&mut record.tags);
                    if outcome.is_ok() { Decision::Keep } else { Decision::Leave }
                }),
            }?;
            Ok(found.then_some(outcome))
        });
        outcome.await?.unwrap_or(Err(missing))
    }
}

pub(crate) async fn list(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: ListTagsRequest,
) -> Result<ListTagsResponse, Fault> {
    let resource = Resource::read(ctx, &input.resource.unwrap_or_default())?;
    let missing = resource.missing();
    let tags = shared.store(move |store| {
        Ok(match &resource {
            Resource::Function(scope, name) => store.function(scope, name)?.map(|record| record.tags),
            Resource::Mapping(scope, uuid) => store.mapping(scope, uuid)?.map(|record| record.tags),
        })
    });
    Ok(ListTagsResponse { tags: Some(tags.await?.ok_or(missing)?.into()) })
}

pub(crate) async fn tag(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: TagResourceRequest,
) -> Result<TagResourceResponse, Fault> {
    let given = input.tags.map(|tags| tags.items).unwrap_or_default();
    if given.is_empty() {
        return Err(faults::invalid_parameter("An error occurred and the request cannot be processed."));
    }
    let resource = Resource::read(ctx, &input.resource.unwrap_or_default())?;
    let edit = move |tags: &mut BTreeMap<String, String>| {
        let mut all = tags.clone();
        all.extend(given.clone());
        check(&all)?;
        *tags = all;
        Ok(())
    };
    resource.edit(shared, edit).await?;
    Ok(TagResourceResponse {})
}

pub(crate) async fn untag(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: UntagResourceRequest,
) -> Result<UntagResourceResponse, Fault> {
    let keys = input.tag_keys.map(|keys| keys.items).unwrap_or_default();
    let resource = Resource::read(ctx, &input.resource.unwrap_or_default())?;
    let edit = move |tags: &mut BTreeMap<String, String>| {
        tags.retain(|key, _| !keys.contains(key));
        Ok(())
    };
    resource.edit(shared, edit).await?;
    Ok(UntagResourceResponse {})
}
