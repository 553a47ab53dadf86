//! PurgeQueue.

use lambfold_api::sqs::{PurgeQueueRequest, PurgeQueueResponse};
use lambfold_api::{CallContext, Fault};

use crate::sqs::service::{SqsService, fault};

pub(in crate::sqs) async fn purge_queue(
    service: &SqsService,
    ctx: &CallContext,
    input: PurgeQueueRequest,
) -> Result<PurgeQueueResponse, Fault> {
    let queue = service.queue(ctx, input.queue_url.as_deref())?;
    service.engine.purge(&queue).await.map_err(fault(&queue))?;
    Ok(PurgeQueueResponse {})
}
