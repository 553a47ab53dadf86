//! Tags of log groups, in the newer and the older form.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use lambfold_api::logs::{
    ErrorCode, ListTagsForResourceRequest, ListTagsForResourceResponse, ListTagsLogGroupRequest,
    ListTagsLogGroupResponse, TagLogGroupRequest, TagLogGroupResponse, TagResourceRequest,
    TagResourceResponse, Tags, UntagLogGroupRequest, UntagLogGroupResponse, UntagResourceRequest,
    UntagResourceResponse,
};
use lambfold_api::{CallContext, Fault};

use crate::record::GroupSettings;
use crate::service::Shared;
use crate::{faults, identifier};

/// Tags of one group.
const MOST_TAGS: usize = 50;

pub(crate) async fn tag_resource(
    shared: &Shared,
    ctx: &CallContext,
    input: TagResourceRequest,
) -> Result<TagResourceResponse, Fault> {
    let group = resource(ctx, input.resource_arn)?;
    tag(shared, ctx, group, input.tags, faults::no_resource).await?;
    Ok(TagResourceResponse {})
}

pub(crate) async fn untag_resource(
    shared: &Shared,
    ctx: &CallContext,
    input: UntagResourceRequest,
) -> Result<UntagResourceResponse, Fault> {
    let group = resource(ctx, input.resource_arn)?;
    let keys = input.tag_keys.map(|keys| keys.items).unwrap_or_default();
    untag(shared, ctx, group, keys, faults::no_resource).await?;
    Ok(UntagResourceResponse {})
}

pub(crate) async fn list_for_resource(
    shared: &Shared,
    ctx: &CallContext,
    input: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, Fault> {
    let group = resource(ctx, input.resource_arn)?;
    let found = super::group(shared, &ctx.scope, &group).await.map_err(|_| faults::no_resource())?;
    Ok(ListTagsForResourceResponse { tags: Some(found.settings.tags.into()) })
}

pub(crate) async fn tag_group(
    shared: &Shared,
    ctx: &CallContext,
    input: TagLogGroupRequest,
) -> Result<TagLogGroupResponse, Fault> {
    tag(shared, ctx, input.log_group_name.unwrap_or_default(), input.tags, faults::no_group).await?;
    Ok(TagLogGroupResponse {})
}

pub(crate) async fn untag_group(
    shared: &Shared,
    ctx: &CallContext,
    input: UntagLogGroupRequest,
) -> Result<UntagLogGroupResponse, Fault> {
    let keys = input.tags.map(|keys| keys.items).unwrap_or_default();
    untag(shared, ctx, input.log_group_name.unwrap_or_default(), keys, faults::no_group).await?;
    Ok(UntagLogGroupResponse {})
}

pub(crate) async fn list_of_group(
    shared: &Shared,
    ctx: &CallContext,
    input: ListTagsLogGroupRequest,
) -> Result<ListTagsLogGroupResponse, Fault> {
    let found = super::group(shared, &ctx.scope, &input.log_group_name.unwrap_or_default()).await?;
    Ok(ListTagsLogGroupResponse { tags: Some(found.settings.tags.into()) })
}

/// The group of a resource's ARN; nothing else has tags here.
fn resource(ctx: &CallContext, arn: Option<String>) -> Result<String, Fault> {
    let arn = arn.unwrap_or_default();
    if !arn.starts_with("arn:") {
        return Err(faults::invalid("The resource is not named by an ARN."));
    }
    identifier::group_name(&ctx.scope, &arn)
}

async fn tag(
    shared: &Shared,
    ctx: &CallContext,
    group: String,
    tags: Option<Tags>,
    missing: fn() -> Fault,
) -> Result<(), Fault> {
    let tags: BTreeMap<String, String> = tags.map(|tags| tags.items).unwrap_or_default();
    let too_many = Arc::new(Mutex::new(false));
    let noted = too_many.clone();
    edit(shared, ctx, group, missing, move |settings| {
        let mut changed = settings.tags.clone();
        changed.extend(tags.clone());
        if changed.len() > MOST_TAGS {
            *noted.lock().unwrap_or_else(PoisonError::into_inner) = true;
            return false;
        }
        settings.tags = changed;
        true
    })
    .await?;
    if *too_many.lock().unwrap_or_else(PoisonError::into_inner) {
        let text = format!("A resource can have no more than {MOST_TAGS} tags.");
        return Err(Fault::new(ErrorCode::TooManyTagsException, text));
    }
    Ok(())
}

async fn untag(
    shared: &Shared,
    ctx: &CallContext,
    group: String,
    keys: Vec<String>,
    missing: fn() -> Fault,
) -> Result<(), Fault> {
    edit(shared, ctx, group, missing, move |settings| {
        settings.tags.retain(|key, _| !keys.contains(key));
        true
    })
    .await
}

async fn edit(
    shared: &Shared,
    ctx: &CallContext,
    group: String,
    missing: fn() -> Fault,
    mut change: impl FnMut(&mut GroupSettings) -> bool + Send + 'static,
) -> Result<(), Fault> {
    let scope = ctx.scope.clone();
    let found = shared.store(move |store| store.edit_group(&scope, &group, &mut change)).await?;
    if found { Ok(()) } else { Err(missing()) }
}
