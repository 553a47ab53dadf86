//! Standard queues in memory, on a manual clock: what the poller may count on, and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use lambfold_api::{CallContext, Fault, sqs};
use lambfold_clock::ManualClock;
use lambfold_types::{Clock, Timestamp};
use tokio::sync::Notify;

/// All queues, by name.
pub(super) struct Queues {
    clock: ManualClock,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
pub(super) struct State {
    queues: BTreeMap<String, Queue>,
    /// Answers every call with `ServiceUnavailable`.
    pub(super) away: bool,
    /// So many calls to delete fail as a whole, then as many entries.
    pub(super) failing_deletes: usize,
    pub(super) failing_delete_entries: usize,
    /// Long polls that wait now.
    pub(super) polls: usize,
    /// Ids of messages that a function has processed: the only ones that may be deleted.
    pub(super) processed: BTreeSet<String>,
    next_id: usize,
    /// Rules that the poller broke. Panics alone would not do: the poller outlives them.
    broken: Vec<String>,
}

pub(super) struct Queue {
    pub(super) visibility: Duration,
    pub(super) messages: Vec<Stored>,
    /// (most messages, visibility timeout) of every receive.
    pub(super) receives: Vec<(i32, Option<i32>)>,
}

pub(super) struct Stored {
    pub(super) id: String,
    pub(super) body: String,
    pub(super) visible_at: Timestamp,
    pub(super) receives: usize,
    attributes: BTreeMap<String, String>,
}

impl Queues {
    pub(super) fn new(clock: ManualClock) -> Arc<Self> {
        Arc::new(Self { clock, state: Mutex::default(), changed: Notify::new() })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn create(&self, name: &str, visibility_secs: u64) {
        let visibility = Duration::from_secs(visibility_secs);
        let queue = Queue { visibility, messages: Vec::new(), receives: Vec::new() };
        self.state().queues.insert(name.to_owned(), queue);
        self.changed.notify_waiters();
    }

    pub(super) fn delete(&self, name: &str) {
        self.state().queues.remove(name);
        self.changed.notify_waiters();
    }

    /// Sends messages; returns their ids.
    pub(super) fn send(&self, name: &str, bodies: &[&str]) -> Vec<String> {
        bodies.iter().map(|body| self.send_traced(name, body, None)).collect()
    }

    pub(super) fn send_traced(&self, name: &str, body: &str, trace: Option<&str>) -> String {
        let now = self.clock.now();
        let mut state = self.state();
        state.next_id += 1;
        let id = format!("id-{}", state.next_id);
        let attributes = trace.map(|trace| ("AWSTraceHeader".to_owned(), trace.to_owned()));
        state.queues.get_mut(name).unwrap().messages.push(Stored {
            id: id.clone(),
            body: body.to_owned(),
            visible_at: now,
            receives: 0,
            attributes: attributes.into_iter().collect(),
        });
        drop(state);
        self.changed.notify_waiters();
        id
    }

    /// A rule is broken: whoever did it ends here, and so does the test.
    pub(super) fn broken(&self, rule: &str) -> ! {
        self.state().broken.push(rule.to_owned());
        panic!("{rule}")
    }

    pub(super) fn assert_no_rule_is_broken(&self) {
        assert_eq!(self.state().broken, [""; 0]);
    }

    /// Bodies still there.
    pub(super) fn left(&self, name: &str) -> Vec<String> {
        self.state().queues[name].messages.iter().map(|it| it.body.clone()).collect()
    }

    pub(super) fn queue<T>(&self, name: &str, look: impl FnOnce(&mut Queue) -> T) -> T {
        look(self.state().queues.get_mut(name).unwrap())
    }

    /// Whether this receipt handle's holder is the only one who has the message now.
    pub(super) fn is_held(&self, name: &str, receipt_handle: &str) -> bool {
        let now = self.clock.now();
        self.state().queues.get(name).is_some_and(|queue| {
            queue.messages.iter().any(|it| it.handle() == receipt_handle && it.visible_at > now)
        })
    }
}

impl Stored {
    fn handle(&self) -> String {
        format!("{}#{}", self.id, self.receives)
    }
}

fn name(url: Option<&String>) -> String {
    url.unwrap().rsplit('/').next().unwrap().to_owned()
}

impl State {
    fn queue(&mut self, url: Option<&String>) -> Result<&mut Queue, Fault> {
        if self.away {
            return Err(Fault::unavailable());
        }
        let missing = || Fault::new(sqs::ErrorCode::QueueDoesNotExist, "The specified queue does not exist.");
        self.queues.get_mut(&name(url)).ok_or_else(missing)
    }
}

/// Counts a poll that waits, also when it is dropped.
struct Polling<'a>(&'a Queues);

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.0.state().polls -= 1;
    }
}

#[async_trait::async_trait]
impl sqs::Sqs for Queues {
    async fn receive_message(
        &self,
        _: &CallContext,
        input: sqs::ReceiveMessageRequest,
    ) -> Result<sqs::ReceiveMessageResult, Fault> {
        let wait = Duration::from_secs(u64::try_from(input.wait_time_seconds.unwrap_or(0)).unwrap());
        let give_up_at = self.clock.now() + wait;
        let most = input.max_number_of_messages.unwrap_or(1);
        if !(1..=10).contains(&most) {
            self.broken(&format!("asked for {most} messages"));
        }
        self.state().queue(input.queue_url.as_ref())?.receives.push((most, input.visibility_timeout));
        self.state().polls += 1;
        let _polling = Polling(self);
        loop {
            let changed = self.changed.notified();
            let now = self.clock.now();
            let next_visible = {
                let mut state = self.state();
                let queue = state.queue(input.queue_url.as_ref())?;
                let held = match input.visibility_timeout {
                    Some(asked) => Duration::from_secs(u64::try_from(asked).unwrap()),
                    None => queue.visibility,
                };
                let mut messages = Vec::new();
                let visible = queue.messages.iter_mut().filter(|it| it.visible_at <= now);
                for stored in visible.take(usize::try_from(most).unwrap()) {
                    stored.receives += 1;
                    stored.visible_at = now + held;
                    let mut attributes = stored.attributes.clone();
                    attributes.insert("ApproximateReceiveCount".into(), stored.receives.to_string());
                    messages.push(sqs::Message {
                        message_id: Some(stored.id.clone()),
                        receipt_handle: Some(stored.handle()),
                        body: Some(stored.body.clone()),
                        attributes,
                        ..sqs::Message::default()
                    });
                }
                if !messages.is_empty() || now >= give_up_at {
                    return Ok(sqs::ReceiveMessageResult { messages });
                }
                queue.messages.iter().map(|it| it.visible_at).min().unwrap_or(give_up_at).min(give_up_at)
            };
            tokio::select! {
                () = changed => {}
                () = self.clock.sleep_until(next_visible) => {}
            }
        }
    }

    async fn delete_message_batch(
        &self,
        _: &CallContext,
        input: sqs::DeleteMessageBatchRequest,
    ) -> Result<sqs::DeleteMessageBatchResult, Fault> {
        if !(1..=10).contains(&input.entries.len()) {
            self.broken("asked to delete none, or too many");
        }
        let mut state = self.state();
        state.queue(input.queue_url.as_ref())?;
        if state.failing_deletes > 0 {
            state.failing_deletes -= 1;
            return Err(Fault::internal());
        }
        let mut result = sqs::DeleteMessageBatchResult::default();
        for entry in input.entries {
            let handle = entry.receipt_handle.unwrap();
            let id = handle.split('#').next().unwrap();
            if !state.processed.contains(id) {
                state.broken.push(format!("{id} was deleted but not processed"));
            }
            if state.failing_delete_entries > 0 {
                state.failing_delete_entries -= 1;
                result.failed.push(sqs::BatchResultErrorEntry {
                    id: entry.id,
                    sender_fault: Some(false),
                    code: Some("InternalError".into()),
                    message: None,
                });
            } else {
                state.queue(input.queue_url.as_ref())?.messages.retain(|it| it.id != id);
            }
        }
        Ok(result)
    }

    async fn change_message_visibility_batch(
        &self,
        _: &CallContext,
        input: sqs::ChangeMessageVisibilityBatchRequest,
    ) -> Result<sqs::ChangeMessageVisibilityBatchResult, Fault> {
        let now = self.clock.now();
        let mut state = self.state();
        let queue = state.queue(input.queue_url.as_ref())?;
        for entry in input.entries {
            let handle = entry.receipt_handle.unwrap();
            let secs = u64::try_from(entry.visibility_timeout.unwrap()).unwrap();
            for stored in queue.messages.iter_mut().filter(|it| it.handle() == handle) {
                stored.visible_at = now + Duration::from_secs(secs);
            }
        }
        drop(state);
        self.changed.notify_waiters();
        Ok(sqs::ChangeMessageVisibilityBatchResult::default())
    }

    async fn get_queue_attributes(
        &self,
        _: &CallContext,
        input: sqs::GetQueueAttributesRequest,
    ) -> Result<sqs::GetQueueAttributesResult, Fault> {
        let mut state = self.state();
        let visibility = state.queue(input.queue_url.as_ref())?.visibility.as_secs().to_string();
        Ok(sqs::GetQueueAttributesResult { attributes: [("VisibilityTimeout".into(), visibility)].into() })
    }

    // What the poller must never ask for.
    async fn start_message_move_task(
        &self,
        _: &CallContext,
        _: sqs::StartMessageMoveTaskRequest,
    ) -> Result<sqs::StartMessageMoveTaskResult, Fault> {
        self.broken("a call that is not the poller's business")
    }

    async fn list_message_move_tasks(
        &self,
        _: &CallContext,
        _: sqs::ListMessageMoveTasksRequest,
    ) -> Result<sqs::ListMessageMoveTasksResult, Fault> {
        self.broken("a call that is not the poller's business")
    }

    async fn cancel_message_move_task(
        &self,
        _: &CallContext,
        _: sqs::CancelMessageMoveTaskRequest,
    ) -> Result<sqs::CancelMessageMoveTaskResult, Fault> {
        self.broken("a call that is not the poller's business")
    }

    async fn add_permission(
        &self,
        _: &CallContext,
        _: sqs::AddPermissionRequest,
    ) -> Result<sqs::AddPermissionResponse, Fault> {
        self.broken("a call that is not the poller's business")
    }
    async fn list_dead_letter_source_queues(
        &self,
        _: &CallContext,
        _: sqs::ListDeadLetterSourceQueuesRequest,
    ) -> Result<sqs::ListDeadLetterSourceQueuesResult, Fault> {
        self.broken("a call that is not the poller's business")
    }
    async fn remove_permission(
        &self,
        _: &CallContext,
        _: sqs::RemovePermissionRequest,
    ) -> Result<sqs::RemovePermissionResponse, Fault> {
        self.broken("a call that is not the poller's business")
    }
    async fn change_message_visibility(
        &self,
        _: &CallContext,
        _: sqs::ChangeMessageVisibilityRequest,
    ) -> Result<sqs::ChangeMessageVisibilityResponse, Fault> {
        self.broken("a call that is not the poller's business")
    }
    async fn create_queue(
        &self,
        _: &CallContext,
        _: sqs::CreateQueueRequest,
    ) -> Result<sqs::CreateQueueResult, Fault> {
        self.broken("a call that is not the poller's business")
    }
    async fn delete_message(
        &self,
        _: &CallContext,
        _: sqs::DeleteMessageRequest,
    ) -> Result<sqs::DeleteMessageResponse, Fault> {
        self.broken("a call that is not the poller's business")
    }
    async fn delete_queue(
        &self,
        _: &CallContext,
        _: sqs::DeleteQueueRequest,
    ) -> Result<sqs::DeleteQueueResponse, Fault> {
        self.broken("a call that is not the poller's business")
    }
    async fn get_queue_url(
        &self,
        _: &CallContext,
        _: sqs::GetQueueUrlRequest,
    ) -> Result<sqs::GetQueueUrlResult, Fault> {
        self.broken("a call that is not the poller's business")
    }
    async fn list_queue_tags(
        &self,
        _: &CallContext,
        _: sqs::ListQueueTagsRequest,
    ) -> Result<sqs::ListQueueTagsResult, Fault> {
        self.broken("a call that is not the poller's business")
    }
    async fn list_queues(
        &self,
        _: &CallContext,
        _: sqs::ListQueuesRequest,
    ) -> Result<sqs::ListQueuesResult, Fault> {
        self.broken("a call that is not the poller's business")
    }
    async fn purge_queue(
        &self,
        _: &CallContext,
        _: sqs::PurgeQueueRequest,
    ) -> Result<sqs::PurgeQueueResponse, Fault> {
        self.broken("a call that is not the poller's business")
    }
    async fn send_message(
        &self,
        _: &CallContext,
        _: sqs::SendMessageRequest,
    ) -> Result<sqs::SendMessageResult, Fault> {
        self.broken("a call that is not the poller's business")
    }
    async fn send_message_batch(
        &self,
        _: &CallContext,
        _: sqs::SendMessageBatchRequest,
    ) -> Result<sqs::SendMessageBatchResult, Fault> {
        self.broken("a call that is not the poller's business")
    }
    async fn set_queue_attributes(
        &self,
        _: &CallContext,
        _: sqs::SetQueueAttributesRequest,
    ) -> Result<sqs::SetQueueAttributesResponse, Fault> {
        self.broken("a call that is not the poller's business")
    }
    async fn tag_queue(
        &self,
        _: &CallContext,
        _: sqs::TagQueueRequest,
    ) -> Result<sqs::TagQueueResponse, Fault> {
        self.broken("a call that is not the poller's business")
    }
    async fn untag_queue(
        &self,
        _: &CallContext,
        _: sqs::UntagQueueRequest,
    ) -> Result<sqs::UntagQueueResponse, Fault> {
        self.broken("a call that is not the poller's business")
    }
}
