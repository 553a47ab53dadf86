//! ReceiveMessage.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use lambfold_api::sqs::{Message, MessageAttributeValue, ReceiveMessageRequest, ReceiveMessageResult};
use lambfold_api::{CallContext, Fault};

use crate::sqs::message::{self as rules, TRACE_HEADER};
use crate::sqs::service::{SqsService, fault};
use crate::sqs::{digest, faults, receipt_handle};
use crate::{AttributeValue, Error, MessageAttribute, Queue, ReceiveParams, Received};

pub(in crate::sqs) async fn receive_message(
    service: &SqsService,
    ctx: &CallContext,
    input: ReceiveMessageRequest,
) -> Result<ReceiveMessageResult, Fault> {
    let queue = service.queue(ctx, input.queue_url.as_deref())?;
    let params = params(&queue, &input)?;
    let waits =
        params.wait_time.unwrap_or(queue.properties().settings.receive_message_wait_time) > Duration::ZERO;
    let is_fifo = queue.kind().is_fifo();
    let received = match service.engine.receive(&queue, params).await {
        Err(Error::OverLimit) if waits => Vec::new(),
        outcome => outcome.map_err(fault(&queue))?,
    };
    let wanted = Wanted::of(&input);
    let messages = received.into_iter().map(|received| render(service, is_fifo, received, &wanted)).collect();
    Ok(ReceiveMessageResult { messages })
}

fn params(queue: &Queue, input: &ReceiveMessageRequest) -> Result<ReceiveParams, Fault> {
    let ranged = |value: i32, parameter: &str, max: u64, reason: &str| {
        let seconds = u64::try_from(value).ok().filter(|seconds| *seconds <= max);
        seconds
            .map(Duration::from_secs)
            .ok_or_else(|| faults::invalid_value(&value.to_string(), parameter, reason))
    };
    let max = input.max_number_of_messages.unwrap_or(1);
    let max_messages = usize::try_from(max).ok().filter(|max| (1..=10).contains(max)).ok_or_else(|| {
        faults::invalid_value(
            &max.to_string(),
            "MaxNumberOfMessages",
            "Must be between 1 and 10, if provided.",
        )
    })?;
    let wait = |value| ranged(value, "WaitTimeSeconds", 20, "Must be >= 0 and <= 20, if provided.");
    let visible =
        |value| ranged(value, "VisibilityTimeout", 43_200, "Must be >= 0 and <= 43200, if provided.");
    let attempt_id = input.receive_request_attempt_id.clone();
    if let Some(id) = attempt_id.as_ref().filter(|id| !rules::is_id(id)) {
        let reason = "ReceiveRequestAttemptId can only include alphanumeric and punctuation characters. 1 to 128 in \
                      length.";
        return Err(faults::invalid_value(id, "ReceiveRequestAttemptId", reason));
    }
    if let Some(id) = attempt_id.as_ref().filter(|_| !queue.kind().is_fifo()) {
        let reason = "The request includes a parameter that is not valid for this queue type.";
        return Err(faults::invalid_value(id, "ReceiveRequestAttemptId", reason));
    }
    Ok(ReceiveParams {
        attempt_id,
        max_messages,
        wait_time: input.wait_time_seconds.map(wait).transpose()?,
        visibility_timeout: input.visibility_timeout.map(visible).transpose()?,
    })
}

/// Which attributes the receiver asked for.
pub(super) struct Wanted<'a> {
    system: Vec<&'a str>,
    message: Vec<&'a str>,
}

impl<'a> Wanted<'a> {
    /// `AttributeNames` (old) and `MessageSystemAttributeNames` mean the same and are merged.
    fn of(input: &'a ReceiveMessageRequest) -> Self {
        let system = input.attribute_names.iter().chain(&input.message_system_attribute_names);
        let message = input.message_attribute_names.iter();
        Self { system: system.map(String::as_str).collect(), message: message.map(String::as_str).collect() }
    }

    /// All of them.
    pub(super) fn everything() -> Self {
        Self { system: vec!["All"], message: vec!["All"] }
    }

    fn system(&self, name: &str) -> bool {
        self.system.iter().any(|wanted| *wanted == "All" || *wanted == name)
    }

    /// Exact names, everything (`All`, `*`, `.*`), or a prefix before `.*`.
    fn message(&self, name: &str) -> bool {
        self.message.iter().any(|wanted| match *wanted {
            "All" | "*" | ".*" => true,
            wanted => {
                wanted == name || wanted.strip_suffix(".*").is_some_and(|prefix| name.starts_with(prefix))
            }
        })
    }
}

fn render(service: &SqsService, is_fifo: bool, received: Received, wanted: &Wanted<'_>) -> Message {
    let handle = receipt_handle::encode(service.engine.mac_keys(), &received.handle);
    Message { receipt_handle: Some(handle), ..message(is_fifo, received, wanted) }
}

/// A message without a receipt handle.
pub(super) fn message(is_fifo: bool, received: Received, wanted: &Wanted<'_>) -> Message {
    let attributes = system_attributes(is_fifo, &received, wanted);
    let chosen: BTreeMap<String, MessageAttribute> =
        received.attributes.into_iter().filter(|(name, _)| wanted.message(name)).collect();
    Message {
        message_id: Some(received.message_id.to_string()),
        receipt_handle: None,
        md5_of_body: Some(digest::text(received.md5_of_body)),
        body: Some(text(received.body)),
        attributes,
        // Over what is returned, not over what was sent.
        md5_of_message_attributes: rules::digest(&chosen),
        message_attributes: chosen.into_iter().map(|(name, attribute)| (name, value(attribute))).collect(),
    }
}

/// The engine stores what was sent, and that was UTF-8.
fn text(body: Bytes) -> String {
    String::from_utf8(body.into())
        .unwrap_or_else(|body| String::from_utf8_lossy(body.as_bytes()).into_owned())
}

fn system_attributes(is_fifo: bool, received: &Received, wanted: &Wanted<'_>) -> BTreeMap<String, String> {
    if wanted.system.is_empty() {
        return BTreeMap::new();
    }
    let system = &received.system;
    [
        ("SenderId", Some(system.sender_id.clone())),
        ("SentTimestamp", Some(received.sent_at.millis().to_string())),
        ("ApproximateReceiveCount", Some(received.receive_count.to_string())),
        ("ApproximateFirstReceiveTimestamp", Some(received.first_received_at.millis().to_string())),
        (TRACE_HEADER, system.aws_trace_header.clone()),
        ("MessageGroupId", system.message_group_id.clone()),
        ("MessageDeduplicationId", system.message_deduplication_id.clone()),
        ("SequenceNumber", is_fifo.then(|| rules::sequence_number(received.handle.sequence))),
        ("DeadLetterQueueSourceArn", system.dead_letter_queue_source_arn.clone()),
    ]
    .into_iter()
    .filter(|(name, _)| wanted.system(name))
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

fn value(attribute: MessageAttribute) -> MessageAttributeValue {
    let (string_value, binary_value) = match attribute.value {
        AttributeValue::String(text) => (Some(text), None),
        AttributeValue::Binary(bytes) => (None, Some(bytes)),
    };
    MessageAttributeValue {
        string_value,
        binary_value,
        data_type: Some(attribute.data_type),
        ..MessageAttributeValue::default()
    }
}
