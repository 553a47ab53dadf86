//! GetQueueAttributes and SetQueueAttributes.

use lambfold_api::sqs::{
    GetQueueAttributesRequest, GetQueueAttributesResult, SetQueueAttributesRequest,
    SetQueueAttributesResponse,
};
use lambfold_api::{CallContext, Fault};
use lambfold_types::Arn;

use crate::sqs::service::{SqsService, fault};
use crate::sqs::{attributes, faults, redrive};

pub(in crate::sqs) async fn get_queue_attributes(
    service: &SqsService,
    ctx: &CallContext,
    input: GetQueueAttributesRequest,
) -> Result<GetQueueAttributesResult, Fault> {
    let queue = service.queue(ctx, input.queue_url.as_deref())?;
    let info = service.engine.queue_info(&queue).await.map_err(fault(&queue))?;
    let arn = Arn::queue(queue.scope(), queue.name().as_str()).to_string();
    Ok(GetQueueAttributesResult {
        attributes: attributes::render(queue.kind(), &info, &arn, &input.attribute_names)?,
    })
}

pub(in crate::sqs) async fn set_queue_attributes(
    service: &SqsService,
    ctx: &CallContext,
    input: SetQueueAttributesRequest,
) -> Result<SetQueueAttributesResponse, Fault> {
    let queue = service.queue(ctx, input.queue_url.as_deref())?;
    if input.attributes.is_empty() {
        return Err(faults::missing("Attribute.Name"));
    }
    redrive::check_target(&service.engine, queue.scope(), queue.name(), &input.attributes)?;
    let kind = queue.kind();
    let change = move |properties: &mut _| attributes::apply(kind, properties, &input.attributes);
    service.engine.update_queue(&queue, change).await.map_err(fault(&queue))??;
    Ok(SetQueueAttributesResponse {})
}
