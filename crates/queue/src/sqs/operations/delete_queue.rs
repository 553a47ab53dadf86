//! DeleteQueue.

use lambfold_api::sqs::{DeleteQueueRequest, DeleteQueueResponse};
use lambfold_api::{CallContext, Fault};

use crate::sqs::service::{SqsService, fault};

pub(in crate::sqs) async fn delete_queue(
    service: &SqsService,
    ctx: &CallContext,
    input: DeleteQueueRequest,
) -> Result<DeleteQueueResponse, Fault> {
    let queue = service.queue(ctx, input.queue_url.as_deref())?;
    service.engine.delete_queue(&queue).await.map_err(fault(&queue))?;
    Ok(DeleteQueueResponse {})
}
