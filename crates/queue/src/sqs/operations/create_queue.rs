//! CreateQueue: idempotent as long as what the request names agrees with what is there.

use lambfold_api::sqs::{CreateQueueRequest, CreateQueueResult};
use lambfold_api::{CallContext, Fault};
use lambfold_types::QueueName;

use crate::sqs::service::SqsService;
use crate::sqs::{attributes, faults, queue_url, redrive};
use crate::{CreateOutcome, NewQueue, QueueProperties};

pub(in crate::sqs) async fn create_queue(
    service: &SqsService,
    ctx: &CallContext,
    input: CreateQueueRequest,
) -> Result<CreateQueueResult, Fault> {
    let text = input.queue_name.ok_or_else(faults::no_queue_name)?;
    let kind = attributes::kind(&input.attributes);
    let refused = || faults::queue_name(kind.is_fifo());
    let name: QueueName = text.parse().map_err(|_| refused())?;
    if name.is_fifo() != kind.is_fifo() {
        return Err(refused());
    }
    let mut properties = QueueProperties { tags: input.tags, ..QueueProperties::default() };
    attributes::apply(kind, &mut properties, &input.attributes)?;
    redrive::check_target(&service.engine, &ctx.scope, &name, &input.attributes)?;
    super::tags::check(&properties.tags)?;
    let new = NewQueue { kind, properties };
    let outcome = service.engine.create_queue(ctx.scope.clone(), name.clone(), new).await;
    if let CreateOutcome::Exists(queue) = outcome.map_err(|error| faults::of_engine(&error, &text))?
        && let Some(attribute) = attributes::conflict(queue.kind(), &queue.properties(), &input.attributes)?
    {
        return Err(faults::name_exists(&attribute));
    }
    Ok(CreateQueueResult { queue_url: Some(queue_url::render(ctx, &ctx.scope, &name)) })
}
