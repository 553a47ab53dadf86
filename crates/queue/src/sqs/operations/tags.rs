//! Tags of queues (facts, SQS §9).

use std::collections::BTreeMap;

use lambfold_api::sqs::{
    ListQueueTagsRequest, ListQueueTagsResult, TagQueueRequest, TagQueueResponse, UntagQueueRequest,
    UntagQueueResponse,
};
use lambfold_api::{CallContext, Fault};

use crate::QueueProperties;
use crate::sqs::faults;
use crate::sqs::service::{SqsService, fault};

const MOST_TAGS: usize = 50;

/// Refuses tags that AWS would not take.
pub(super) fn check(tags: &BTreeMap<String, String>) -> Result<(), Fault> {
    if tags.len() > MOST_TAGS {
        return Err(faults::invalid_parameter(format!(
            "Too many tags added for queue: at most {MOST_TAGS} are allowed."
        )));
    }
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > 128 {
            return Err(faults::invalid_parameter(
                "Tag keys must be between 1 and 128 characters in length.",
            ));
        }
        if value.chars().count() > 256 {
            return Err(faults::invalid_parameter(
                "Tag values must be between 0 and 256 characters in length.",
            ));
        }
    }
    Ok(())
}

pub(in crate::sqs) async fn list_queue_tags(
    service: &SqsService,
    ctx: &CallContext,
    input: ListQueueTagsRequest,
) -> Result<ListQueueTagsResult, Fault> {
    let queue = service.queue(ctx, input.queue_url.as_deref())?;
    Ok(ListQueueTagsResult { tags: queue.properties().tags.clone() })
}

pub(in crate::sqs) async fn tag_queue(
    service: &SqsService,
    ctx: &CallContext,
    input: TagQueueRequest,
) -> Result<TagQueueResponse, Fault> {
    let queue = service.queue(ctx, input.queue_url.as_deref())?;
    if input.tags.is_empty() {
        return Err(faults::missing("Tags"));
    }
    let change = move |properties: &mut QueueProperties| {
        let mut tags = properties.tags.clone();
        tags.extend(input.tags);
        check(&tags)?;
        properties.tags = tags;
        Ok::<(), Fault>(())
    };
    service.engine.update_queue(&queue, change).await.map_err(fault(&queue))??;
    Ok(TagQueueResponse {})
}

pub(in crate::sqs) async fn untag_queue(
    service: &SqsService,
    ctx: &CallContext,
    input: UntagQueueRequest,
) -> Result<UntagQueueResponse, Fault> {
    let queue = service.queue(ctx, input.queue_url.as_deref())?;
    if input.tag_keys.is_empty() {
        return Err(faults::missing("TagKeys"));
    }
    let change = move |properties: &mut QueueProperties| {
        properties.tags.retain(|key, _| !input.tag_keys.contains(key));
        Ok::<(), Fault>(())
    };
    service.engine.update_queue(&queue, change).await.map_err(fault(&queue))??;
    Ok(UntagQueueResponse {})
}
