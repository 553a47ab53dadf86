//! Services that remember, echo, fail or wait.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use lambfold_api::lambda::*;
use lambfold_api::sqs::{self, *};
use lambfold_api::telemetry::{GetTraceRequest, GetTraceResponse, Span, Traces};
use lambfold_api::{BoxStream, CallContext, Fault};
use tokio::sync::Notify;

/// Writes a service whose operations answer as the named method says, or with an empty output.
macro_rules! fake {
    ($service:ident for $fake:ident { $($name:ident($input:ty) -> $output:ty $(= $($by:ident)+)?;)* }) => {
        #[async_trait]
        impl $service for $fake {
            $(async fn $name(&self, ctx: &CallContext, input: $input) -> Result<$output, Fault> {
                fake!(@answer self, ctx, input, $($($by)+)?)
            })*
        }
    };
    (@answer $this:ident, $ctx:ident, $input:ident, waits $by:ident) => { $this.$by($ctx, $input).await };
    (@answer $this:ident, $ctx:ident, $input:ident, $by:ident) => { $this.$by($ctx, $input) };
    (@answer $this:ident, $ctx:ident, $input:ident,) => {{ let _ = ($ctx, $input); Ok(Default::default()) }};
}

/// SQS that remembers contexts; a receive waits until it is dropped.
#[derive(Default)]
pub(crate) struct FakeSqs {
    pub(crate) contexts: Mutex<Vec<CallContext>>,
    pub(crate) waiting: Arc<AtomicUsize>,
    pub(crate) panics: AtomicBool,
    /// Lets an untagging go on that waits for it.
    pub(crate) go_on: Notify,
}

struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl FakeSqs {
    pub(crate) fn last(&self) -> CallContext {
        self.contexts.lock().unwrap().last().expect("a call came").clone()
    }

    fn send(&self, ctx: &CallContext, input: SendMessageRequest) -> Result<SendMessageResult, Fault> {
        self.contexts.lock().unwrap().push(ctx.clone());
        Ok(SendMessageResult { message_id: input.message_body, ..SendMessageResult::default() })
    }

    fn create(&self, ctx: &CallContext, input: CreateQueueRequest) -> Result<CreateQueueResult, Fault> {
        self.contexts.lock().unwrap().push(ctx.clone());
        let name = input.queue_name.unwrap_or_default();
        Ok(CreateQueueResult { queue_url: Some(format!("{}/{}/{name}", ctx.endpoint, ctx.scope.account)) })
    }

    fn url(&self, _: &CallContext, _: GetQueueUrlRequest) -> Result<GetQueueUrlResult, Fault> {
        let code = lambfold_api::sqs::ErrorCode::QueueDoesNotExist;
        Err(Fault::new(code, "The specified queue does not exist."))
    }

    async fn receive(
        &self,
        _: &CallContext,
        _: ReceiveMessageRequest,
    ) -> Result<ReceiveMessageResult, Fault> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(self.waiting.clone());
        std::future::pending().await
    }

    async fn untag(&self, _: &CallContext, _: UntagQueueRequest) -> Result<UntagQueueResponse, Fault> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.go_on.notified().await;
        Ok(UntagQueueResponse {})
    }

    fn purge(&self, _: &CallContext, _: PurgeQueueRequest) -> Result<PurgeQueueResponse, Fault> {
        assert!(!self.panics.load(Ordering::SeqCst), "told to");
        Err(Fault::internal())
    }
}

fake! { Sqs for FakeSqs {
    start_message_move_task(StartMessageMoveTaskRequest) -> StartMessageMoveTaskResult;
    list_message_move_tasks(ListMessageMoveTasksRequest) -> ListMessageMoveTasksResult;
    cancel_message_move_task(CancelMessageMoveTaskRequest) -> CancelMessageMoveTaskResult;
    add_permission(sqs::AddPermissionRequest) -> sqs::AddPermissionResponse;
    change_message_visibility(ChangeMessageVisibilityRequest) -> ChangeMessageVisibilityResponse;
    change_message_visibility_batch(ChangeMessageVisibilityBatchRequest) -> ChangeMessageVisibilityBatchResult;
    create_queue(CreateQueueRequest) -> CreateQueueResult = create;
    delete_message(DeleteMessageRequest) -> DeleteMessageResponse;
    delete_message_batch(DeleteMessageBatchRequest) -> DeleteMessageBatchResult;
    delete_queue(DeleteQueueRequest) -> DeleteQueueResponse;
    get_queue_attributes(GetQueueAttributesRequest) -> GetQueueAttributesResult;
    get_queue_url(GetQueueUrlRequest) -> GetQueueUrlResult = url;
    list_dead_letter_source_queues(ListDeadLetterSourceQueuesRequest) -> ListDeadLetterSourceQueuesResult;
    list_queue_tags(ListQueueTagsRequest) -> ListQueueTagsResult;
    list_queues(ListQueuesRequest) -> ListQueuesResult;
    purge_queue(PurgeQueueRequest) -> PurgeQueueResponse = purge;
    receive_message(ReceiveMessageRequest) -> ReceiveMessageResult = waits receive;
    remove_permission(sqs::RemovePermissionRequest) -> sqs::RemovePermissionResponse;
    send_message(SendMessageRequest) -> SendMessageResult = send;
    send_message_batch(SendMessageBatchRequest) -> SendMessageBatchResult;
    set_queue_attributes(SetQueueAttributesRequest) -> SetQueueAttributesResponse;
    tag_queue(TagQueueRequest) -> TagQueueResponse;
    untag_queue(UntagQueueRequest) -> UntagQueueResponse = waits untag;
} }

/// Lambda without functions but for `get_function`, which names its input.
#[derive(Default)]
pub(crate) struct FakeLambda;

impl FakeLambda {
    fn configuration(
        &self,
        _: &CallContext,
        input: GetFunctionConfigurationRequest,
    ) -> Result<FunctionConfiguration, Fault> {
        Ok(FunctionConfiguration { function_name: input.function_name, ..FunctionConfiguration::default() })
    }

    fn create(&self, _: &CallContext, input: CreateFunctionRequest) -> Result<FunctionConfiguration, Fault> {
        let size = input.code.and_then(|code| code.zip_file).map(|zip| zip.len());
        let code_size = size.and_then(|size| i64::try_from(size).ok());
        Ok(FunctionConfiguration { code_size, ..FunctionConfiguration::default() })
    }
}

fake! { Lambda for FakeLambda {
    create_function_url_config(CreateFunctionUrlConfigRequest) -> CreateFunctionUrlConfigResponse;
    delete_function_url_config(DeleteFunctionUrlConfigRequest) -> DeleteFunctionUrlConfigResponse;
    get_function_url_config(GetFunctionUrlConfigRequest) -> GetFunctionUrlConfigResponse;
    list_function_url_configs(ListFunctionUrlConfigsRequest) -> ListFunctionUrlConfigsResponse;
    update_function_url_config(UpdateFunctionUrlConfigRequest) -> UpdateFunctionUrlConfigResponse;
    create_alias(CreateAliasRequest) -> AliasConfiguration;
    delete_alias(DeleteAliasRequest) -> DeleteAliasResponse;
    delete_function_concurrency(DeleteFunctionConcurrencyRequest) -> DeleteFunctionConcurrencyResponse;
    delete_provisioned_concurrency_config(DeleteProvisionedConcurrencyConfigRequest) -> DeleteProvisionedConcurrencyConfigResponse;
    get_alias(GetAliasRequest) -> AliasConfiguration;
    get_function_code_signing_config(GetFunctionCodeSigningConfigRequest) -> GetFunctionCodeSigningConfigResponse;
    get_function_concurrency(GetFunctionConcurrencyRequest) -> GetFunctionConcurrencyResponse;
    get_provisioned_concurrency_config(GetProvisionedConcurrencyConfigRequest) -> GetProvisionedConcurrencyConfigResponse;
    list_aliases(ListAliasesRequest) -> ListAliasesResponse;
    list_provisioned_concurrency_configs(ListProvisionedConcurrencyConfigsRequest) -> ListProvisionedConcurrencyConfigsResponse;
    list_versions_by_function(ListVersionsByFunctionRequest) -> ListVersionsByFunctionResponse;
    publish_version(PublishVersionRequest) -> FunctionConfiguration;
    put_function_concurrency(PutFunctionConcurrencyRequest) -> Concurrency;
    put_provisioned_concurrency_config(PutProvisionedConcurrencyConfigRequest) -> PutProvisionedConcurrencyConfigResponse;
    update_alias(UpdateAliasRequest) -> AliasConfiguration;
    add_layer_version_permission(AddLayerVersionPermissionRequest) -> AddLayerVersionPermissionResponse;
    delete_layer_version(DeleteLayerVersionRequest) -> DeleteLayerVersionResponse;
    get_layer_version(GetLayerVersionRequest) -> GetLayerVersionResponse;
    get_layer_version_by_arn(GetLayerVersionByArnRequest) -> GetLayerVersionResponse;
    get_layer_version_policy(GetLayerVersionPolicyRequest) -> GetLayerVersionPolicyResponse;
    list_layer_versions(ListLayerVersionsRequest) -> ListLayerVersionsResponse;
    list_layers(ListLayersRequest) -> ListLayersResponse;
    publish_layer_version(PublishLayerVersionRequest) -> PublishLayerVersionResponse;
    remove_layer_version_permission(RemoveLayerVersionPermissionRequest) -> RemoveLayerVersionPermissionResponse;
    create_event_source_mapping(CreateEventSourceMappingRequest) -> EventSourceMappingConfiguration;
    create_function(CreateFunctionRequest) -> FunctionConfiguration = create;
    delete_event_source_mapping(DeleteEventSourceMappingRequest) -> EventSourceMappingConfiguration;
    delete_function(DeleteFunctionRequest) -> DeleteFunctionResponse;
    get_event_source_mapping(GetEventSourceMappingRequest) -> EventSourceMappingConfiguration;
    get_function(GetFunctionRequest) -> GetFunctionResponse;
    get_function_configuration(GetFunctionConfigurationRequest) -> FunctionConfiguration = configuration;
    list_event_source_mappings(ListEventSourceMappingsRequest) -> ListEventSourceMappingsResponse;
    list_functions(ListFunctionsRequest) -> ListFunctionsResponse;
    list_tags(ListTagsRequest) -> ListTagsResponse;
    tag_resource(TagResourceRequest) -> TagResourceResponse;
    untag_resource(UntagResourceRequest) -> UntagResourceResponse;
    update_event_source_mapping(UpdateEventSourceMappingRequest) -> EventSourceMappingConfiguration;
    update_function_code(UpdateFunctionCodeRequest) -> FunctionConfiguration;
    update_function_configuration(UpdateFunctionConfigurationRequest) -> FunctionConfiguration;
} }

/// Answers with what it was sent.
#[derive(Default)]
pub(crate) struct FakeInvoke;

impl FakeInvoke {
    fn echo(&self, _: &CallContext, input: InvocationRequest) -> Result<InvocationResponse, Fault> {
        Ok(InvocationResponse {
            status_code: Some(200),
            payload: input.payload,
            executed_version: Some("$LATEST".to_owned()),
            ..InvocationResponse::default()
        })
    }
}

#[async_trait]
impl LambdaInvoke for FakeInvoke {
    async fn invoke(&self, ctx: &CallContext, input: InvocationRequest) -> Result<InvocationResponse, Fault> {
        self.echo(ctx, input)
    }

    async fn invoke_with_response_stream(
        &self,
        _: &CallContext,
        input: InvokeWithResponseStreamRequest,
    ) -> Result<BoxStream<Result<InvokeWithResponseStreamFrame, Fault>>, Fault> {
        use lambfold_api::lambda::invoke_with_response_stream_frame::Frame;
        let head = InvokeWithResponseStreamHead {
            status_code: Some(200),
            executed_version: Some("$LATEST".to_owned()),
            ..InvokeWithResponseStreamHead::default()
        };
        let chunk = InvokeResponseStreamUpdate { payload: input.payload };
        let frames = [
            Frame::Head(head),
            Frame::Chunk(chunk),
            Frame::Complete(InvokeWithResponseStreamCompleteEvent::default()),
        ];
        let frames = frames.map(|frame| Ok(InvokeWithResponseStreamFrame { frame: Some(frame) }));
        Ok(Box::pin(futures_util::stream::iter(frames)))
    }
}

/// One span, whatever is asked.
pub(crate) struct FakeTraces;

#[async_trait]
impl Traces for FakeTraces {
    async fn get_trace(&self, _: &CallContext, input: GetTraceRequest) -> Result<GetTraceResponse, Fault> {
        let span =
            Span { trace_id: input.trace_id, name: "queue.send".to_owned(), start_us: 7, ..Span::default() };
        Ok(GetTraceResponse { spans: vec![span] })
    }
}

/// Three messages on two pages, the second and third of which are not visible.
pub(crate) struct FakePeek;

#[async_trait]
impl SqsPeek for FakePeek {
    async fn peek_messages(
        &self,
        ctx: &CallContext,
        input: PeekMessagesRequest,
    ) -> Result<PeekMessagesResult, Fault> {
        let Some(url) = input.queue_url else {
            return Err(Fault::new(
                sqs::ErrorCode::MissingRequiredParameterException,
                "QueueUrl is missing.",
            ));
        };
        let peeked = |body: &str, state: &str| PeekedMessage {
            message: Some(Message {
                body: Some(format!("{body} of {url} in {}", ctx.scope.region)),
                attributes: [("SentTimestamp".to_owned(), "7".to_owned())].into(),
                ..Message::default()
            }),
            state: Some(state.to_owned()),
            visible_at: None,
        };
        Ok(match input.next_token.as_deref() {
            None => PeekMessagesResult {
                messages: vec![peeked("one", "visible"), peeked("two", "in flight")],
                next_token: Some("2".to_owned()),
            },
            Some(_) => PeekMessagesResult { messages: vec![peeked("three", "delayed")], next_token: None },
        })
    }
}
