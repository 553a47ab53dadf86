//! CreateQueue: idempotent as long as what the request names agrees with what is there.

use lambfold_api::sqs::{CreateQueueRequest, CreateQueueResult};
use lambfold_api::{CallContext, Fault};
use lambfold_types::QueueName;

use crate::sqs::service::SqsService;
use crate::sqs::{attributes, faults, queue_url};
use crate::{CreateOutcome, NewQueue, QueueProperties};

pub(in crate::sqs) async fn create_queue(
    service: &SqsService,
    ctx: &CallContext,
    input: CreateQueueRequest,
) -> Result<CreateQueueResult, Fault> {
    let text = input.queue_name.unwrap_or_default();
    let fifo = input.attributes.get("FifoQueue").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let name: QueueName = text.parse().map_err(|error: lambfold_types::InvalidQueueName| {
        faults::invalid_parameter(match fifo {
            false => error.to_string(),
            true => "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must \
                     end with .fifo suffix and be 1 to 80 in length"
                .to_owned(),
        })
    })?;
    match (name.is_fifo(), fifo) {
        (true, true) => {
            return Err(faults::unsupported("Lambfold does not support FIFO queues yet; see docs/gaps.md."));
        }
        (true, false) => return Err(faults::invalid_parameter(lambfold_types::InvalidQueueName.to_string())),
        (false, true) => {
            return Err(faults::invalid_parameter(
                "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end \
                 with .fifo suffix and be 1 to 80 in length",
            ));
        }
        (false, false) => {}
    }
    let mut properties = QueueProperties { tags: input.tags, ..QueueProperties::default() };
    attributes::apply(&mut properties, &input.attributes)?;
    super::tags::check(&properties.tags)?;
    let new = NewQueue { properties, ..NewQueue::default() };
    let outcome = service.engine.create_queue(ctx.scope.clone(), name.clone(), new).await;
    if let CreateOutcome::Exists(queue) = outcome.map_err(|error| faults::of_engine(&error, &text))?
        && let Some(attribute) = attributes::conflict(&queue.properties(), &input.attributes)?
    {
        return Err(faults::name_exists(&attribute));
    }
    Ok(CreateQueueResult { queue_url: Some(queue_url::render(ctx, &ctx.scope, &name)) })
}
