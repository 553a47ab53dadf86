//! The queue of a mapping, through the queue service's own API and nothing else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use lambfold_api::{CallContext, Endpoint, Fault, TraceContext, sqs};
use lambfold_types::{Arn, Timestamp};

use crate::backoff::Backoff;
use crate::batch::{Batch, Message};
use crate::shared::Shared;

/// The longest that SQS waits for messages.
const LONG_POLL: Duration = Duration::from_secs(20);
/// Entries of one batch request.
const ENTRIES: usize = 10;
/// Batch requests of one batch of messages at once.
const REQUESTS_AT_ONCE: usize = 8;
/// How long the queue's attributes are taken as they were. SQS itself may take a minute to apply a change.
const ATTRIBUTES_LAST: Duration = Duration::from_secs(5);
/// How long an ordinary call may take.
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// How long deleting is tried again.
const DELETE_WITHIN: Duration = Duration::from_mins(1);
/// SQS's longest visibility timeout.
const LONGEST_VISIBILITY: Duration = Duration::from_hours(12);

/// Why nothing could be received.
#[derive(Debug)]
pub(crate) enum SourceError {
    /// There is no such queue.
    Gone,
    /// The queue service is away, or refuses.
    Away(Fault),
}

impl From<Fault> for SourceError {
    fn from(fault: Fault) -> Self {
        if fault.is(sqs::ErrorCode::QueueDoesNotExist) { Self::Gone } else { Self::Away(fault) }
    }
}

/// How long messages are to be held, if the queue's own timeout is not to decide: with a window AWS holds them for
/// window + function timeout + 30 s at least. A queue without any visibility timeout would hand every message to us
/// again while it is processed, so there the function's timeout counts, as AWS demands it when a mapping is made.
fn visibility_on_receive(queue: Duration, window: Duration, function: Duration) -> Option<Duration> {
    let least = if window.is_zero() {
        if queue.is_zero() { function.max(Duration::from_secs(1)) } else { return None }
    } else {
        window + function + Duration::from_secs(30)
    };
    (least > queue).then_some(least.min(LONGEST_VISIBILITY))
}

/// One queue.
pub(crate) struct Source {
    shared: Arc<Shared>,
    queue: Arn,
    url: String,
    visibility: Mutex<Option<(Timestamp, Duration)>>,
}

impl Source {
    pub(crate) fn new(shared: Arc<Shared>, queue: Arn) -> Self {
        let url = format!("{}/{}/{}", Endpoint::default(), queue.scope.account, queue.resource);
        Self { shared, queue, url, visibility: Mutex::new(None) }
    }

    /// One long poll for up to `most` messages, ten at most. `window` and `function_timeout` are the mapping's.
    /// Dropping the future gives the poll up.
    pub(crate) async fn receive(
        self: Arc<Self>,
        most: usize,
        window: Duration,
        function_timeout: Duration,
    ) -> Result<Vec<Message>, SourceError> {
        let visibility = self.visibility().await?;
        let asked = visibility_on_receive(visibility, window, function_timeout);
        let input = sqs::ReceiveMessageRequest {
            queue_url: Some(self.url.clone()),
            message_attribute_names: vec!["All".to_owned()],
            message_system_attribute_names: vec!["All".to_owned()],
            max_number_of_messages: i32::try_from(most.min(ENTRIES)).ok(),
            visibility_timeout: asked.and_then(|it| i32::try_from(it.as_secs()).ok()),
            wait_time_seconds: i32::try_from(LONG_POLL.as_secs()).ok(),
            ..sqs::ReceiveMessageRequest::default()
        };
        let ctx = self.context(None, LONG_POLL + CALL_WITHIN);
        let answer = self.shared.bounded(&ctx, self.shared.sqs.receive_message(&ctx, input)).await?;
        if answer.messages.is_empty() {
            return Ok(Vec::new());
        }
        let received_at = self.shared.clock.now();
        let held = match asked {
            Some(asked) => asked,
            // The poll may have taken long; the timeout at its end is what counts.
            None => self.visibility().await.unwrap_or(visibility),
        };
        let visible_at = received_at + held;
        Ok(answer.messages.iter().map(|it| Message::new(it, &self.queue, visible_at)).collect())
    }

    /// The queue's own visibility timeout.
    async fn visibility(&self) -> Result<Duration, SourceError> {
        let now = self.shared.clock.now();
        let cached = *self.visibility.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, visibility)) = cached
            && now.since(at) < ATTRIBUTES_LAST
        {
            return Ok(visibility);
        }
        let input = sqs::GetQueueAttributesRequest {
            queue_url: Some(self.url.clone()),
            attribute_names: vec!["VisibilityTimeout".to_owned()],
        };
        let ctx = self.context(None, CALL_WITHIN);
        let answer = self.shared.bounded(&ctx, self.shared.sqs.get_queue_attributes(&ctx, input)).await?;
        let seconds = answer.attributes.get("VisibilityTimeout").and_then(|it| it.parse().ok());
        let visibility = Duration::from_secs(seconds.unwrap_or(30));
        *self.visibility.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, visibility));
        Ok(visibility)
    }

    /// Deletes processed messages, trying again what failed for a reason that may pass. Returns how many could not
    /// be deleted: they come again.
    pub(crate) async fn delete(&self, trace: Option<TraceContext>, messages: &[Message]) -> usize {
        let give_up_at = self.shared.clock.now() + DELETE_WITHIN;
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        let mut pending: Vec<&Message> = messages.iter().collect();
        let mut hopeless = 0;
        loop {
            let calls: Vec<BoxFuture<'_, Undeleted<'_>>> =
                pending.chunks(ENTRIES).map(|chunk| self.delete_chunk(trace, chunk).boxed()).collect();
            let outcomes: Vec<Undeleted<'_>> =
                stream::iter(calls).buffer_unordered(REQUESTS_AT_ONCE).collect().await;
            hopeless += outcomes.iter().map(|it| it.hopeless).sum::<usize>();
            pending = outcomes.into_iter().flat_map(|it| it.again).collect();
            if pending.is_empty() {
                return hopeless;
            }
            let again_at = self.shared.clock.now() + backoff.failed(&*self.shared.entropy);
            if again_at > give_up_at {
                tracing::warn!(
                    queue.name = %self.queue.resource,
                    messages = pending.len(),
                    "processed messages could not be deleted: they will come again"
                );
                return hopeless + pending.len();
            }
            self.shared.clock.sleep_until(again_at).await;
        }
    }

    async fn delete_chunk<'a>(&self, trace: Option<TraceContext>, chunk: &[&'a Message]) -> Undeleted<'a> {
        let entries = chunk.iter().enumerate().map(|(index, message)| sqs::DeleteMessageBatchRequestEntry {
            id: Some(index.to_string()),
            receipt_handle: Some(message.receipt_handle.clone()),
        });
        let input =
            sqs::DeleteMessageBatchRequest { queue_url: Some(self.url.clone()), entries: entries.collect() };
        let ctx = self.context(trace, CALL_WITHIN);
        let call = self.shared.sqs.delete_message_batch(&ctx, input);
        let failed = match self.shared.bounded(&ctx, call).await {
            Ok(answer) => answer.failed,
            // With its queue the message is gone, too.
            Err(fault) if fault.is(sqs::ErrorCode::QueueDoesNotExist) => {
                return Undeleted { again: Vec::new(), hopeless: 0 };
            }
            Err(fault) => {
                self.shared.metrics.source_errors.inc();
                tracing::debug!(queue.name = %self.queue.resource, %fault, "deleting messages failed");
                return Undeleted { again: chunk.to_vec(), hopeless: 0 };
            }
        };
        let mut undeleted = Undeleted { again: Vec::new(), hopeless: 0 };
        for entry in failed {
            if entry.sender_fault == Some(true) {
                tracing::warn!(
                    queue.name = %self.queue.resource,
                    code = entry.code.as_deref().unwrap_or_default(),
                    "a processed message cannot be deleted"
                );
                undeleted.hopeless += 1;
            } else if let Some(message) =
                entry.id.and_then(|id| id.parse().ok()).and_then(|index: usize| chunk.get(index))
            {
                undeleted.again.push(message);
            }
        }
        undeleted
    }

    /// Makes messages visible again that were not invoked. Tried once: they come back by themselves, only later.
    pub(crate) async fn hand_back(&self, batch: &Batch) {
        let calls: Vec<BoxFuture<'_, ()>> =
            batch.chunks(ENTRIES).map(|chunk| self.hand_back_chunk(chunk).boxed()).collect();
        stream::iter(calls).buffer_unordered(REQUESTS_AT_ONCE).collect::<Vec<()>>().await;
    }

    async fn hand_back_chunk(&self, chunk: &[Message]) {
        let entries =
            chunk.iter().enumerate().map(|(index, message)| sqs::ChangeMessageVisibilityBatchRequestEntry {
                id: Some(index.to_string()),
                receipt_handle: Some(message.receipt_handle.clone()),
                visibility_timeout: Some(0),
            });
        let input = sqs::ChangeMessageVisibilityBatchRequest {
            queue_url: Some(self.url.clone()),
            entries: entries.collect(),
        };
        let ctx = self.context(None, CALL_WITHIN);
        let call = self.shared.sqs.change_message_visibility_batch(&ctx, input);
        if let Err(fault) = self.shared.bounded(&ctx, call).await {
            tracing::debug!(queue.name = %self.queue.resource, %fault, "messages stay hidden for a while");
        }
    }

    fn context(&self, trace: Option<TraceContext>, within: Duration) -> CallContext {
        self.shared.context(&self.queue.scope, trace, within)
    }
}

/// What a request to delete left undone.
struct Undeleted<'a> {
    again: Vec<&'a Message>,
    hopeless: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_held_as_long_as_aws_would() {
        let seconds = |queue, window, function| {
            visibility_on_receive(
                Duration::from_secs(queue),
                Duration::from_secs(window),
                Duration::from_secs(function),
            )
            .map(|it| it.as_secs())
        };
        // Without a window the queue decides, however short.
        assert_eq!(seconds(30, 0, 900), None);
        // With one: window + function timeout + 30, if the queue's is smaller.
        assert_eq!(seconds(30, 5, 3), Some(38));
        assert_eq!(seconds(38, 5, 3), None);
        assert_eq!(seconds(39, 5, 3), None);
        assert_eq!(seconds(0, 0, 3), Some(3));
        assert_eq!(seconds(0, 0, 0), Some(1));
    }
}
