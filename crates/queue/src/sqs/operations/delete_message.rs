//! DeleteMessage and DeleteMessageBatch.

use lambfold_api::sqs::{
    DeleteMessageBatchRequest, DeleteMessageBatchResult, DeleteMessageBatchResultEntry, DeleteMessageRequest,
    DeleteMessageResponse,
};
use lambfold_api::{CallContext, Fault};

use crate::sqs::service::{SqsService, fault};
use crate::sqs::{batch, faults};

pub(in crate::sqs) async fn delete_message(
    service: &SqsService,
    ctx: &CallContext,
    input: DeleteMessageRequest,
) -> Result<DeleteMessageResponse, Fault> {
    let queue = service.queue(ctx, input.queue_url.as_deref())?;
    let text = input.receipt_handle.ok_or_else(faults::no_handle)?;
    let handle = service.handle(&queue, &text)?;
    let outcome = service.engine.delete(&queue, vec![handle]).await.map_err(fault(&queue))?;
    match outcome.first() {
        Some(Ok(())) => Ok(DeleteMessageResponse {}),
        Some(Err(error)) => Err(faults::handle(*error, &text)),
        None => Err(Fault::internal()),
    }
}

pub(in crate::sqs) async fn delete_message_batch(
    service: &SqsService,
    ctx: &CallContext,
    input: DeleteMessageBatchRequest,
) -> Result<DeleteMessageBatchResult, Fault> {
    let queue = service.queue(ctx, input.queue_url.as_deref())?;
    batch::check_ids(
        "DeleteMessageBatchRequestEntry",
        input.entries.iter().map(|entry| entry.id.as_deref()),
    )?;
    let mut result = DeleteMessageBatchResult::default();
    let (mut handles, mut entries) = (Vec::new(), Vec::new());
    for entry in input.entries {
        let text = entry.receipt_handle.unwrap_or_default();
        match service.handle(&queue, &text) {
            Ok(handle) => {
                handles.push(handle);
                entries.push((entry.id, text));
            }
            Err(fault) => result.failed.push(batch::failed(entry.id, &fault)),
        }
    }
    if handles.is_empty() {
        return Ok(result);
    }
    let outcomes = service.engine.delete(&queue, handles).await.map_err(fault(&queue))?;
    for ((id, text), outcome) in entries.into_iter().zip(outcomes) {
        match outcome {
            Ok(()) => result.successful.push(DeleteMessageBatchResultEntry { id }),
            Err(error) => result.failed.push(batch::failed(id, &faults::handle(error, &text))),
        }
    }
    Ok(result)
}
