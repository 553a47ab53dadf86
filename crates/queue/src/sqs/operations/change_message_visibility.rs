//! ChangeMessageVisibility and its batch.

use std::time::Duration;

use lambfold_api::sqs::{
    ChangeMessageVisibilityBatchRequest, ChangeMessageVisibilityBatchResult,
    ChangeMessageVisibilityBatchResultEntry, ChangeMessageVisibilityRequest, ChangeMessageVisibilityResponse,
};
use lambfold_api::{CallContext, Fault};

use crate::sqs::service::{SqsService, fault};
use crate::sqs::{batch, faults};
use crate::{ChangeVisibilityError, HandleParts, Queue};

pub(in crate::sqs) async fn change_message_visibility(
    service: &SqsService,
    ctx: &CallContext,
    input: ChangeMessageVisibilityRequest,
) -> Result<ChangeMessageVisibilityResponse, Fault> {
    let queue = service.queue(ctx, input.queue_url.as_deref())?;
    if input.receipt_handle.is_none() {
        return Err(faults::no_handle());
    }
    let change = Change::read(service, &queue, input.receipt_handle, input.visibility_timeout)?;
    let asked = vec![(change.handle, change.timeout)];
    let outcomes = service.engine.change_visibility(&queue, asked).await.map_err(fault(&queue))?;
    match outcomes.into_iter().next() {
        Some(Ok(())) => Ok(ChangeMessageVisibilityResponse {}),
        Some(Err(error)) => Err(change.refused(error)),
        None => Err(Fault::internal()),
    }
}

pub(in crate::sqs) async fn change_message_visibility_batch(
    service: &SqsService,
    ctx: &CallContext,
    input: ChangeMessageVisibilityBatchRequest,
) -> Result<ChangeMessageVisibilityBatchResult, Fault> {
    let queue = service.queue(ctx, input.queue_url.as_deref())?;
    let ids = input.entries.iter().map(|entry| entry.id.as_deref());
    batch::check_ids("ChangeMessageVisibilityBatchRequestEntry", ids)?;
    let mut result = ChangeMessageVisibilityBatchResult::default();
    let mut changes = Vec::new();
    for entry in input.entries {
        match Change::read(service, &queue, entry.receipt_handle, entry.visibility_timeout) {
            Ok(change) => changes.push((entry.id, change)),
            Err(fault) => result.failed.push(batch::failed(entry.id, &fault)),
        }
    }
    if changes.is_empty() {
        return Ok(result);
    }
    let asked = changes.iter().map(|(_, change)| (change.handle, change.timeout)).collect();
    let outcomes = service.engine.change_visibility(&queue, asked).await.map_err(fault(&queue))?;
    for ((id, change), outcome) in changes.into_iter().zip(outcomes) {
        match outcome {
            Ok(()) => result.successful.push(ChangeMessageVisibilityBatchResultEntry { id }),
            Err(error) => result.failed.push(batch::failed(id, &change.refused(error))),
        }
    }
    Ok(result)
}

/// One change, checked.
struct Change {
    text: String,
    handle: HandleParts,
    timeout: Duration,
    seconds: i32,
}

impl Change {
    fn read(
        service: &SqsService,
        queue: &Queue,
        text: Option<String>,
        seconds: Option<i32>,
    ) -> Result<Self, Fault> {
        let text = text.unwrap_or_default();
        let seconds = seconds.ok_or_else(|| faults::missing("VisibilityTimeout"))?;
        let timeout = u64::try_from(seconds).ok().filter(|seconds| *seconds <= 43_200).ok_or_else(|| {
            let reason = "VisibilityTimeout must be an integer between 0 and 43200.";
            faults::invalid_value(&seconds.to_string(), "VisibilityTimeout", reason)
        })?;
        Ok(Self {
            handle: service.handle(queue, &text)?,
            timeout: Duration::from_secs(timeout),
            text,
            seconds,
        })
    }

    fn refused(&self, error: ChangeVisibilityError) -> Fault {
        match error {
            ChangeVisibilityError::OtherQueue => faults::handle_of_other_queue(&self.text),
            ChangeVisibilityError::NotAvailable => faults::invalid_value(
                &self.text,
                "ReceiptHandle",
                "Message does not exist or is not available for visibility timeout change.",
            ),
            ChangeVisibilityError::TotalExceeded => faults::invalid_value(
                &self.seconds.to_string(),
                "VisibilityTimeout",
                "Total VisibilityTimeout for the message is beyond the limit [43200 seconds].",
            ),
        }
    }
}
