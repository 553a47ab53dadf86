//! The `Sqs` service on the engine's handle.

use std::sync::Arc;

use lambfold_api::interceptor::Input;
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
    RemovePermissionResponse, SQS_ADD_PERMISSION, SQS_CANCEL_MESSAGE_MOVE_TASK,
    SQS_CHANGE_MESSAGE_VISIBILITY, SQS_CHANGE_MESSAGE_VISIBILITY_BATCH, SQS_CREATE_QUEUE, SQS_DELETE_MESSAGE,
    SQS_DELETE_MESSAGE_BATCH, SQS_DELETE_QUEUE, SQS_GET_QUEUE_ATTRIBUTES, SQS_GET_QUEUE_URL,
    SQS_LIST_DEAD_LETTER_SOURCE_QUEUES, SQS_LIST_MESSAGE_MOVE_TASKS, SQS_LIST_QUEUE_TAGS, SQS_LIST_QUEUES,
    SQS_PEEK_PEEK_MESSAGES, SQS_PURGE_QUEUE, SQS_RECEIVE_MESSAGE, SQS_REMOVE_PERMISSION, SQS_SEND_MESSAGE,
    SQS_SEND_MESSAGE_BATCH, SQS_SET_QUEUE_ATTRIBUTES, SQS_START_MESSAGE_MOVE_TASK, SQS_TAG_QUEUE,
    SQS_UNTAG_QUEUE, SendMessageBatchRequest, SendMessageBatchResult, SendMessageRequest, SendMessageResult,
    SetQueueAttributesRequest, SetQueueAttributesResponse, Sqs, SqsPeek, StartMessageMoveTaskRequest,
    StartMessageMoveTaskResult, TagQueueRequest, TagQueueResponse, UntagQueueRequest, UntagQueueResponse,
};
use lambfold_api::{CallContext, Fault, Operation};
use lambfold_telemetry::{span, trace_of};
use lambfold_types::Clock;
use tracing::Instrument;

use super::routing::{Routed, Router};
use super::{faults, queue_url};
use crate::{Cluster, Error, HandleParts, Queue, QueueHandle};

/// SQS on a queue engine. Cheap to clone.
#[derive(Clone)]
pub struct SqsService {
    pub(super) engine: QueueHandle,
    /// Where nodes share the store.
    router: Option<Router>,
}

impl SqsService {
    /// Serves `engine`.
    pub fn new(engine: QueueHandle) -> Self {
        Self { engine, router: None }
    }

    /// Serves `engine` as one of several nodes: calls about queues of others are passed on to them.
    pub fn in_cluster(engine: QueueHandle, cluster: &Cluster, clock: Arc<dyn Clock>) -> Self {
        let router = Router::new(Arc::clone(&cluster.nodes), clock);
        Self { engine, router: Some(router) }
    }

    /// Where a call goes. What is about queues rather than messages goes by the latest that any node did.
    async fn route<In, Out>(
        &self,
        operation: &'static Operation,
        ctx: &CallContext,
        input: In,
        about_messages: bool,
    ) -> Result<Routed<In, Out>, Fault>
    where
        In: Input,
        Out: prost::Message + Default + 'static,
    {
        let Some(router) = &self.router else { return Ok(Routed::Here(input)) };
        // Apart: what a call to another node takes would be a part of every call's future.
        let routed = Box::pin(router.route(&self.engine, operation, ctx, input)).await?;
        if let (Routed::Here(_), false) = (&routed, about_messages) {
            self.engine.catch_up().await.map_err(|error| faults::of_engine(&error, ""))?;
        }
        Ok(routed)
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
    ($($operation:ident = $row:ident($input:ty) -> $output:ty $(, $span:literal)?;)+) => {
        #[async_trait::async_trait]
        impl Sqs for SqsService {
            $(async fn $operation(&self, ctx: &CallContext, input: $input) -> Result<$output, Fault> {
                let about_messages = operations!(@is $($span)?);
                let input = match self.route(&$row, ctx, input, about_messages).await? {
                    Routed::Here(input) => input,
                    Routed::Answered(output) => return Ok(output),
                };
                operations!(@call self, ctx, input, $operation $(, $span)?)
            })+
        }
    };
    (@is) => { false };
    (@is $span:literal) => { true };
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
        let input = match self.route(&SQS_PEEK_PEEK_MESSAGES, ctx, input, true).await? {
            Routed::Here(input) => input,
            Routed::Answered(output) => return Ok(output),
        };
        super::operations::peek_messages(self, ctx, input).await
    }
}

operations! {
    add_permission = SQS_ADD_PERMISSION(AddPermissionRequest) -> AddPermissionResponse;
    cancel_message_move_task = SQS_CANCEL_MESSAGE_MOVE_TASK(CancelMessageMoveTaskRequest) -> CancelMessageMoveTaskResult;
    change_message_visibility = SQS_CHANGE_MESSAGE_VISIBILITY(ChangeMessageVisibilityRequest) -> ChangeMessageVisibilityResponse, "queue.change_visibility";
    change_message_visibility_batch = SQS_CHANGE_MESSAGE_VISIBILITY_BATCH(ChangeMessageVisibilityBatchRequest) -> ChangeMessageVisibilityBatchResult, "queue.change_visibility";
    create_queue = SQS_CREATE_QUEUE(CreateQueueRequest) -> CreateQueueResult;
    delete_message = SQS_DELETE_MESSAGE(DeleteMessageRequest) -> DeleteMessageResponse, "queue.delete";
    delete_message_batch = SQS_DELETE_MESSAGE_BATCH(DeleteMessageBatchRequest) -> DeleteMessageBatchResult, "queue.delete";
    delete_queue = SQS_DELETE_QUEUE(DeleteQueueRequest) -> DeleteQueueResponse;
    get_queue_attributes = SQS_GET_QUEUE_ATTRIBUTES(GetQueueAttributesRequest) -> GetQueueAttributesResult;
    get_queue_url = SQS_GET_QUEUE_URL(GetQueueUrlRequest) -> GetQueueUrlResult;
    list_dead_letter_source_queues = SQS_LIST_DEAD_LETTER_SOURCE_QUEUES(ListDeadLetterSourceQueuesRequest) -> ListDeadLetterSourceQueuesResult;
    list_message_move_tasks = SQS_LIST_MESSAGE_MOVE_TASKS(ListMessageMoveTasksRequest) -> ListMessageMoveTasksResult;
    list_queue_tags = SQS_LIST_QUEUE_TAGS(ListQueueTagsRequest) -> ListQueueTagsResult;
    list_queues = SQS_LIST_QUEUES(ListQueuesRequest) -> ListQueuesResult;
    purge_queue = SQS_PURGE_QUEUE(PurgeQueueRequest) -> PurgeQueueResponse;
    receive_message = SQS_RECEIVE_MESSAGE(ReceiveMessageRequest) -> ReceiveMessageResult, "queue.receive";
    remove_permission = SQS_REMOVE_PERMISSION(RemovePermissionRequest) -> RemovePermissionResponse;
    send_message = SQS_SEND_MESSAGE(SendMessageRequest) -> SendMessageResult, "queue.send";
    send_message_batch = SQS_SEND_MESSAGE_BATCH(SendMessageBatchRequest) -> SendMessageBatchResult, "queue.send";
    set_queue_attributes = SQS_SET_QUEUE_ATTRIBUTES(SetQueueAttributesRequest) -> SetQueueAttributesResponse;
    start_message_move_task = SQS_START_MESSAGE_MOVE_TASK(StartMessageMoveTaskRequest) -> StartMessageMoveTaskResult;
    tag_queue = SQS_TAG_QUEUE(TagQueueRequest) -> TagQueueResponse;
    untag_queue = SQS_UNTAG_QUEUE(UntagQueueRequest) -> UntagQueueResponse;
}
