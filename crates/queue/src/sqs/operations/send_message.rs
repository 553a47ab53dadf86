//! SendMessage and SendMessageBatch.

use lambfold_api::sqs::{
    ErrorCode, SendMessageBatchRequest, SendMessageBatchRequestEntry, SendMessageBatchResult,
    SendMessageBatchResultEntry, SendMessageRequest, SendMessageResult,
};
use lambfold_api::{CallContext, Fault};

use crate::Sent;
use crate::sqs::attributes::MOST_MESSAGE_BYTES;
use crate::sqs::message::{Checked, Draft, Form, Terms, check, sequence_number};
use crate::sqs::service::{SqsService, fault};
use crate::sqs::{batch, digest};

pub(in crate::sqs) async fn send_message(
    service: &SqsService,
    ctx: &CallContext,
    input: SendMessageRequest,
) -> Result<SendMessageResult, Fault> {
    let queue = service.queue(ctx, input.queue_url.as_deref())?;
    let draft = Draft {
        body: input.message_body,
        delay_seconds: input.delay_seconds,
        attributes: input.message_attributes,
        system_attributes: input.message_system_attributes,
        deduplication_id: input.message_deduplication_id,
        group_id: input.message_group_id,
    };
    let checked = check(ctx, draft, &Terms::of(&queue), Form::Single)?;
    let md5_of_body = checked.message.md5_of_body;
    let sent = service.engine.send(&queue, vec![checked.message]).await.map_err(fault(&queue))?;
    let sent = sent.first().ok_or_else(Fault::internal)?;
    Ok(SendMessageResult {
        message_id: Some(sent.message_id.to_string()),
        md5_of_message_body: Some(digest::text(md5_of_body)),
        md5_of_message_attributes: checked.md5_of_attributes,
        md5_of_message_system_attributes: checked.md5_of_system_attributes,
        sequence_number: queue.kind().is_fifo().then(|| sequence_number(sent.sequence)),
    })
}

pub(in crate::sqs) async fn send_message_batch(
    service: &SqsService,
    ctx: &CallContext,
    input: SendMessageBatchRequest,
) -> Result<SendMessageBatchResult, Fault> {
    let queue = service.queue(ctx, input.queue_url.as_deref())?;
    batch::check_ids("SendMessageBatchRequestEntry", input.entries.iter().map(|entry| entry.id.as_deref()))?;
    let total: usize = input.entries.iter().map(raw_size).sum();
    if total > MOST_MESSAGE_BYTES {
        return Err(Fault::new(
            ErrorCode::BatchRequestTooLong,
            format!(
                "Batch requests cannot be longer than {MOST_MESSAGE_BYTES} bytes. You have sent {total} bytes."
            ),
        ));
    }
    let terms = Terms::of(&queue);
    for entry in &input.entries {
        let (group, deduplication) = (&entry.message_group_id, &entry.message_deduplication_id);
        terms.check_ids(group.as_ref(), deduplication.as_ref(), Form::Entry)?;
    }
    let mut result = SendMessageBatchResult::default();
    let (mut messages, mut answers) = (Vec::new(), Vec::new());
    for entry in input.entries {
        let (id, draft) = split(entry);
        match check(ctx, draft, &terms, Form::Entry) {
            Ok(checked) => {
                let Checked { message, md5_of_attributes, md5_of_system_attributes } = checked;
                answers.push((id, message.md5_of_body, md5_of_attributes, md5_of_system_attributes));
                messages.push(message);
            }
            Err(fault) => result.failed.push(batch::failed(id, &fault)),
        }
    }
    if messages.is_empty() {
        return Ok(result);
    }
    let sent = service.engine.send(&queue, messages).await.map_err(fault(&queue))?;
    let is_fifo = queue.kind().is_fifo();
    let answer =
        |(sent, (id, body, attributes, system)): (Sent, (_, [u8; 16], _, _))| SendMessageBatchResultEntry {
            id,
            message_id: Some(sent.message_id.to_string()),
            md5_of_message_body: Some(digest::text(body)),
            md5_of_message_attributes: attributes,
            md5_of_message_system_attributes: system,
            sequence_number: is_fifo.then(|| sequence_number(sent.sequence)),
        };
    result.successful = sent.into_iter().zip(answers).map(answer).collect();
    Ok(result)
}

/// What an entry adds to the size of its request, whether it is legal or not.
fn raw_size(entry: &SendMessageBatchRequestEntry) -> usize {
    let attributes = entry.message_attributes.iter().map(|(name, value)| {
        name.len()
            + value.data_type.as_ref().map_or(0, String::len)
            + value.string_value.as_ref().map_or(0, String::len)
            + value.binary_value.as_ref().map_or(0, bytes::Bytes::len)
    });
    entry.message_body.as_ref().map_or(0, String::len) + attributes.sum::<usize>()
}

fn split(entry: SendMessageBatchRequestEntry) -> (Option<String>, Draft) {
    let draft = Draft {
        body: entry.message_body,
        delay_seconds: entry.delay_seconds,
        attributes: entry.message_attributes,
        system_attributes: entry.message_system_attributes,
        deduplication_id: entry.message_deduplication_id,
        group_id: entry.message_group_id,
    };
    (entry.id, draft)
}
