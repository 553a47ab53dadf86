//! The `Sqs` service on the engine's handle.

use lambfold_api::sqs::{
    AddPermissionRequest, AddPermissionResponse, CancelMessageMoveTaskRequest, CancelMessageMoveTaskResult,
    ChangeMessageVisibilityBatchRequest, ChangeMessageVisibilityBatchResult, ChangeMessageVisibilityRequest,
    ChangeMessageVisibilityResponse, CreateQueueRequest, CreateQueueResult, DeleteMessageBatchRequest,
    DeleteMessageBatchResult, DeleteMessageRequest, DeleteMessageResponse, DeleteQueueRequest,
    DeleteQueueResponse, GetQueueAttributesRequest, GetQueueAttributesResult, GetQueueUrlRequest,
    GetQueueUrlResult, ListDeadLetterSourceQueuesRequest, ListDeadLetterSourceQueuesResult,
    ListMessageMoveTasksRequest, ListMessageMoveTasksResult, ListQueueTagsRequest, ListQueueTagsResult,
    ListQueuesRequest, ListQueuesResult, PeekMessagesRequest, PeekMessagesResult, PurgeQueueRequest,
    PurgeQueueResponse, ReceiveMessageRequest, ReceiveMessageResult, RemovePermissionRequest,
    RemovePermissionResponse, SendMessageBatchRequest, SendMessageBatchResult, SendMessageRequest,
    SendMessageResult, SetQueueAttributesRequest, SetQueueAttributesResponse, Sqs, SqsPeek,
    StartMessageMoveTaskRequest, StartMessageMoveTaskResult, TagQueueRequest, TagQueueResponse,
    UntagQueueRequest, UntagQueueResponse,
};
use lambfold_api::{CallContext, Fault};
use lambfold_telemetry::{span, trace_of};
use tracing::Instrument;

use super::{faults, queue_url};
use crate::{Error, HandleParts, Queue, QueueHandle};

/// SQS on a queue engine. Cheap to clone.
#[derive(Clone)]
pub struct SqsService {
    pub(super) engine: QueueHandle,
}

impl SqsService {
    /// Serves `engine`.
    pub fn new(engine: QueueHandle) -> Self {
        Self { engine }
    }

    /// The queue that a `QueueUrl` names.
    pub(super) fn queue(&self, ctx: &CallContext, url: Option<&str>) -> Result<Queue, Fault> {
        let (scope, name) = queue_url::parse(ctx, url.unwrap_or_default())?;
        self.engine.queue(&scope, &name).map_err(|error| faults::of_engine(&error, name.as_str()))
    }

    /// What a receipt handle says, if it is of `queue`.
    pub(super) fn handle(&self, queue: &Queue, text: &str) -> Result<HandleParts, Fault> {
        let parts = super::receipt_handle::decode(self.engine.mac_keys(), text)?;
        if parts.incarnation == queue.incarnation() {
            Ok(parts)
        } else {
            Err(faults::handle_of_other_queue(text))
        }
    }
}

/// Words an error of the engine about `queue`.
pub(super) fn fault(queue: &Queue) -> impl Fn(Error) -> Fault {
    move |error| faults::of_engine(&error, queue.name().as_str())
}

/// Declares the operations: each calls the function of its file, inside a span of the caller's trace where it takes
/// part in the life of a message.
macro_rules! operations {
    ($($operation:ident($input:ty) -> $output:ty $(, $span:literal)?;)+) => {
        #[async_trait::async_trait]
        impl Sqs for SqsService {
            $(async fn $operation(&self, ctx: &CallContext, input: $input) -> Result<$output, Fault> {
                operations!(@call self, ctx, input, $operation $(, $span)?)
            })+
        }
    };
    (@call $self:ident, $ctx:ident, $input:ident, $operation:ident) => {
        super::operations::$operation($self, $ctx, $input).await
    };
    (@call $self:ident, $ctx:ident, $input:ident, $operation:ident, $span:literal) => {{
        if !$ctx.trace.is_some_and(|trace| trace.sampled) {
            return super::operations::$operation($self, $ctx, $input).await;
        }
        let url = $input.queue_url.clone().unwrap_or_default();
        let name = url.rsplit('/').next().unwrap_or_default();
        let span = span!($ctx.trace, $span, "messaging.system" = "aws_sqs", "messaging.destination.name" = name);
        let ctx = $ctx.with_trace(trace_of(&span).or($ctx.trace));
        super::operations::$operation($self, &ctx, $input).instrument(span).await
    }};
}

#[async_trait::async_trait]
impl SqsPeek for SqsService {
    async fn peek_messages(
        &self,
        ctx: &CallContext,
        input: PeekMessagesRequest,
    ) -> Result<PeekMessagesResult, Fault> {
        super::operations::peek_messages(self, ctx, input).await
    }
}

operations! {
    add_permission(AddPermissionRequest) -> AddPermissionResponse;
    cancel_message_move_task(CancelMessageMoveTaskRequest) -> CancelMessageMoveTaskResult;
    change_message_visibility(ChangeMessageVisibilityRequest) -> ChangeMessageVisibilityResponse, "queue.change_visibility";
    change_message_visibility_batch(ChangeMessageVisibilityBatchRequest) -> ChangeMessageVisibilityBatchResult, "queue.change_visibility";
    create_queue(CreateQueueRequest) -> CreateQueueResult;
    delete_message(DeleteMessageRequest) -> DeleteMessageResponse, "queue.delete";
    delete_message_batch(DeleteMessageBatchRequest) -> DeleteMessageBatchResult, "queue.delete";
    delete_queue(DeleteQueueRequest) -> DeleteQueueResponse;
    get_queue_attributes(GetQueueAttributesRequest) -> GetQueueAttributesResult;
    get_queue_url(GetQueueUrlRequest) -> GetQueueUrlResult;
    list_dead_letter_source_queues(ListDeadLetterSourceQueuesRequest) -> ListDeadLetterSourceQueuesResult;
    list_message_move_tasks(ListMessageMoveTasksRequest) -> ListMessageMoveTasksResult;
    list_queue_tags(ListQueueTagsRequest) -> ListQueueTagsResult;
    list_queues(ListQueuesRequest) -> ListQueuesResult;
    purge_queue(PurgeQueueRequest) -> PurgeQueueResponse;
    receive_message(ReceiveMessageRequest) -> ReceiveMessageResult, "queue.receive";
    remove_permission(RemovePermissionRequest) -> RemovePermissionResponse;
    send_message(SendMessageRequest) -> SendMessageResult, "queue.send";
    send_message_batch(SendMessageBatchRequest) -> SendMessageBatchResult, "queue.send";
    set_queue_attributes(SetQueueAttributesRequest) -> SetQueueAttributesResponse;
    start_message_move_task(StartMessageMoveTaskRequest) -> StartMessageMoveTaskResult;
    tag_queue(TagQueueRequest) -> TagQueueResponse;
    untag_queue(UntagQueueRequest) -> UntagQueueResponse;
}
