//! Inputs and outputs of every operation, for code that has only its name.

use bytes::Bytes;
use http::Response;
use lambfold_api::schema::Shape;
use lambfold_api::wire::WireCodec;
use lambfold_api::{Fault, Operation, lambda, logs, sqs};
use lambfold_aws_wire::{AwsJson, AwsQuery, QueryFormat, QueryRequest, RestJson, RestRequest};
use serde_json::Value;
use uuid::Uuid;

use crate::EncodeError;

/// A request, read as far as its protocol.
pub(crate) enum Raw {
    Json(Bytes),
    Query(QueryRequest),
    Rest(Box<RestRequest>),
}

impl Raw {
    fn read<T: Shape>(self, operation: &'static Operation) -> Result<Value, Fault> {
        let input: T = match self {
            Self::Json(body) => AwsJson.decode(operation, body)?,
            Self::Query(request) => {
                AwsQuery { format: QueryFormat::Xml, request_id: Uuid::nil() }.decode(operation, request)?
            }
            Self::Rest(request) => RestJson.decode(operation, *request)?,
        };
        serde_json::to_value(input).map_err(|_| Fault::internal())
    }
}

/// Writes by a codec.
pub(crate) struct Written<C>(pub(crate) C);

impl<C: WireCodec<Response = Response<Bytes>>> Written<C> {
    fn write<T: Shape>(
        &self,
        operation: &'static Operation,
        output: Value,
    ) -> Result<Response<Bytes>, EncodeError> {
        let output: T = serde_json::from_value(output).map_err(EncodeError::Shape)?;
        self.0.encode(operation, output).map_err(EncodeError::Fault)
    }
}

macro_rules! shapes {
    ($($service:ident: $operation:ident, $input:ident $(=> $output:ident)?;)*) => {
        /// The operation of that name.
        pub(crate) fn operation(service: &str, name: &str) -> Option<&'static Operation> {
            let all: &[&'static Operation] = &[$(&$service::$operation),*];
            all.iter().copied().find(|it| it.service == service && it.name == name)
        }

        /// Reads the input of `operation`.
        pub(crate) fn decode(operation: &'static Operation, raw: Raw) -> Result<Value, Fault> {
            $(if std::ptr::eq(operation, &raw const $service::$operation) {
                return raw.read::<$service::$input>(operation);
            })*
            Err(Fault::unknown_operation(operation.name))
        }

        /// Writes the output of `operation`. Streams have none.
        pub(crate) fn encode<C: WireCodec<Response = Response<Bytes>>>(
            operation: &'static Operation,
            codec: &Written<C>,
            output: Value,
        ) -> Result<Response<Bytes>, EncodeError> {
            $($(if std::ptr::eq(operation, &raw const $service::$operation) {
                return codec.write::<$service::$output>(operation, output);
            })?)*
            Err(EncodeError::Fault(Fault::unknown_operation(operation.name)))
        }
    };
}

shapes! {
    logs: LOGS_CREATE_LOG_GROUP, CreateLogGroupRequest => CreateLogGroupResponse;
    logs: LOGS_CREATE_LOG_STREAM, CreateLogStreamRequest => CreateLogStreamResponse;
    logs: LOGS_DELETE_LOG_GROUP, DeleteLogGroupRequest => DeleteLogGroupResponse;
    logs: LOGS_DELETE_LOG_STREAM, DeleteLogStreamRequest => DeleteLogStreamResponse;
    logs: LOGS_DELETE_RETENTION_POLICY, DeleteRetentionPolicyRequest => DeleteRetentionPolicyResponse;
    logs: LOGS_DESCRIBE_LOG_GROUPS, DescribeLogGroupsRequest => DescribeLogGroupsResponse;
    logs: LOGS_DESCRIBE_LOG_STREAMS, DescribeLogStreamsRequest => DescribeLogStreamsResponse;
    logs: LOGS_FILTER_LOG_EVENTS, FilterLogEventsRequest => FilterLogEventsResponse;
    logs: LOGS_GET_LOG_EVENTS, GetLogEventsRequest => GetLogEventsResponse;
    logs: LOGS_LIST_TAGS_FOR_RESOURCE, ListTagsForResourceRequest => ListTagsForResourceResponse;
    logs: LOGS_LIST_TAGS_LOG_GROUP, ListTagsLogGroupRequest => ListTagsLogGroupResponse;
    logs: LOGS_PUT_LOG_EVENTS, PutLogEventsRequest => PutLogEventsResponse;
    logs: LOGS_PUT_RETENTION_POLICY, PutRetentionPolicyRequest => PutRetentionPolicyResponse;
    logs: LOGS_START_LIVE_TAIL, StartLiveTailRequest;
    logs: LOGS_TAG_LOG_GROUP, TagLogGroupRequest => TagLogGroupResponse;
    logs: LOGS_TAG_RESOURCE, TagResourceRequest => TagResourceResponse;
    logs: LOGS_UNTAG_LOG_GROUP, UntagLogGroupRequest => UntagLogGroupResponse;
    logs: LOGS_UNTAG_RESOURCE, UntagResourceRequest => UntagResourceResponse;
    sqs: SQS_ADD_PERMISSION, AddPermissionRequest => AddPermissionResponse;
    sqs: SQS_CANCEL_MESSAGE_MOVE_TASK, CancelMessageMoveTaskRequest => CancelMessageMoveTaskResult;
    sqs: SQS_CHANGE_MESSAGE_VISIBILITY, ChangeMessageVisibilityRequest => ChangeMessageVisibilityResponse;
    sqs: SQS_CHANGE_MESSAGE_VISIBILITY_BATCH, ChangeMessageVisibilityBatchRequest => ChangeMessageVisibilityBatchResult;
    sqs: SQS_CREATE_QUEUE, CreateQueueRequest => CreateQueueResult;
    sqs: SQS_DELETE_MESSAGE, DeleteMessageRequest => DeleteMessageResponse;
    sqs: SQS_DELETE_MESSAGE_BATCH, DeleteMessageBatchRequest => DeleteMessageBatchResult;
    sqs: SQS_DELETE_QUEUE, DeleteQueueRequest => DeleteQueueResponse;
    sqs: SQS_GET_QUEUE_ATTRIBUTES, GetQueueAttributesRequest => GetQueueAttributesResult;
    sqs: SQS_GET_QUEUE_URL, GetQueueUrlRequest => GetQueueUrlResult;
    sqs: SQS_LIST_DEAD_LETTER_SOURCE_QUEUES, ListDeadLetterSourceQueuesRequest => ListDeadLetterSourceQueuesResult;
    sqs: SQS_LIST_MESSAGE_MOVE_TASKS, ListMessageMoveTasksRequest => ListMessageMoveTasksResult;
    sqs: SQS_LIST_QUEUE_TAGS, ListQueueTagsRequest => ListQueueTagsResult;
    sqs: SQS_LIST_QUEUES, ListQueuesRequest => ListQueuesResult;
    sqs: SQS_PURGE_QUEUE, PurgeQueueRequest => PurgeQueueResponse;
    sqs: SQS_RECEIVE_MESSAGE, ReceiveMessageRequest => ReceiveMessageResult;
    sqs: SQS_REMOVE_PERMISSION, RemovePermissionRequest => RemovePermissionResponse;
    sqs: SQS_SEND_MESSAGE, SendMessageRequest => SendMessageResult;
    sqs: SQS_SEND_MESSAGE_BATCH, SendMessageBatchRequest => SendMessageBatchResult;
    sqs: SQS_SET_QUEUE_ATTRIBUTES, SetQueueAttributesRequest => SetQueueAttributesResponse;
    sqs: SQS_START_MESSAGE_MOVE_TASK, StartMessageMoveTaskRequest => StartMessageMoveTaskResult;
    sqs: SQS_TAG_QUEUE, TagQueueRequest => TagQueueResponse;
    sqs: SQS_UNTAG_QUEUE, UntagQueueRequest => UntagQueueResponse;
    lambda: LAMBDA_ADD_LAYER_VERSION_PERMISSION, AddLayerVersionPermissionRequest => AddLayerVersionPermissionResponse;
    lambda: LAMBDA_ADD_PERMISSION, AddPermissionRequest => AddPermissionResponse;
    lambda: LAMBDA_CHECKPOINT_DURABLE_EXECUTION, CheckpointDurableExecutionRequest => CheckpointDurableExecutionResponse;
    lambda: LAMBDA_CREATE_ALIAS, CreateAliasRequest => AliasConfiguration;
    lambda: LAMBDA_CREATE_CAPACITY_PROVIDER, CreateCapacityProviderRequest => CreateCapacityProviderResponse;
    lambda: LAMBDA_CREATE_CODE_SIGNING_CONFIG, CreateCodeSigningConfigRequest => CreateCodeSigningConfigResponse;
    lambda: LAMBDA_CREATE_EVENT_SOURCE_MAPPING, CreateEventSourceMappingRequest => EventSourceMappingConfiguration;
    lambda: LAMBDA_CREATE_FUNCTION, CreateFunctionRequest => FunctionConfiguration;
    lambda: LAMBDA_CREATE_FUNCTION_URL_CONFIG, CreateFunctionUrlConfigRequest => CreateFunctionUrlConfigResponse;
    lambda: LAMBDA_DELETE_ALIAS, DeleteAliasRequest => DeleteAliasResponse;
    lambda: LAMBDA_DELETE_CAPACITY_PROVIDER, DeleteCapacityProviderRequest => DeleteCapacityProviderResponse;
    lambda: LAMBDA_DELETE_CODE_SIGNING_CONFIG, DeleteCodeSigningConfigRequest => DeleteCodeSigningConfigResponse;
    lambda: LAMBDA_DELETE_EVENT_SOURCE_MAPPING, DeleteEventSourceMappingRequest => EventSourceMappingConfiguration;
    lambda: LAMBDA_DELETE_FUNCTION, DeleteFunctionRequest => DeleteFunctionResponse;
    lambda: LAMBDA_DELETE_FUNCTION_CODE_SIGNING_CONFIG, DeleteFunctionCodeSigningConfigRequest => DeleteFunctionCodeSigningConfigResponse;
    lambda: LAMBDA_DELETE_FUNCTION_CONCURRENCY, DeleteFunctionConcurrencyRequest => DeleteFunctionConcurrencyResponse;
    lambda: LAMBDA_DELETE_FUNCTION_EVENT_INVOKE_CONFIG, DeleteFunctionEventInvokeConfigRequest => DeleteFunctionEventInvokeConfigResponse;
    lambda: LAMBDA_DELETE_FUNCTION_URL_CONFIG, DeleteFunctionUrlConfigRequest => DeleteFunctionUrlConfigResponse;
    lambda: LAMBDA_DELETE_LAYER_VERSION, DeleteLayerVersionRequest => DeleteLayerVersionResponse;
    lambda: LAMBDA_DELETE_PROVISIONED_CONCURRENCY_CONFIG, DeleteProvisionedConcurrencyConfigRequest => DeleteProvisionedConcurrencyConfigResponse;
    lambda: LAMBDA_GET_ACCOUNT_SETTINGS, GetAccountSettingsRequest => GetAccountSettingsResponse;
    lambda: LAMBDA_GET_ALIAS, GetAliasRequest => AliasConfiguration;
    lambda: LAMBDA_GET_CAPACITY_PROVIDER, GetCapacityProviderRequest => GetCapacityProviderResponse;
    lambda: LAMBDA_GET_CODE_SIGNING_CONFIG, GetCodeSigningConfigRequest => GetCodeSigningConfigResponse;
    lambda: LAMBDA_GET_DURABLE_EXECUTION, GetDurableExecutionRequest => GetDurableExecutionResponse;
    lambda: LAMBDA_GET_DURABLE_EXECUTION_HISTORY, GetDurableExecutionHistoryRequest => GetDurableExecutionHistoryResponse;
    lambda: LAMBDA_GET_DURABLE_EXECUTION_STATE, GetDurableExecutionStateRequest => GetDurableExecutionStateResponse;
    lambda: LAMBDA_GET_EVENT_SOURCE_MAPPING, GetEventSourceMappingRequest => EventSourceMappingConfiguration;
    lambda: LAMBDA_GET_FUNCTION, GetFunctionRequest => GetFunctionResponse;
    lambda: LAMBDA_GET_FUNCTION_CODE_SIGNING_CONFIG, GetFunctionCodeSigningConfigRequest => GetFunctionCodeSigningConfigResponse;
    lambda: LAMBDA_GET_FUNCTION_CONCURRENCY, GetFunctionConcurrencyRequest => GetFunctionConcurrencyResponse;
    lambda: LAMBDA_GET_FUNCTION_CONFIGURATION, GetFunctionConfigurationRequest => FunctionConfiguration;
    lambda: LAMBDA_GET_FUNCTION_EVENT_INVOKE_CONFIG, GetFunctionEventInvokeConfigRequest => FunctionEventInvokeConfig;
    lambda: LAMBDA_GET_FUNCTION_RECURSION_CONFIG, GetFunctionRecursionConfigRequest => GetFunctionRecursionConfigResponse;
    lambda: LAMBDA_GET_FUNCTION_SCALING_CONFIG, GetFunctionScalingConfigRequest => GetFunctionScalingConfigResponse;
    lambda: LAMBDA_GET_FUNCTION_URL_CONFIG, GetFunctionUrlConfigRequest => GetFunctionUrlConfigResponse;
    lambda: LAMBDA_GET_LAYER_VERSION, GetLayerVersionRequest => GetLayerVersionResponse;
    lambda: LAMBDA_GET_LAYER_VERSION_BY_ARN, GetLayerVersionByArnRequest => GetLayerVersionResponse;
    lambda: LAMBDA_GET_LAYER_VERSION_POLICY, GetLayerVersionPolicyRequest => GetLayerVersionPolicyResponse;
    lambda: LAMBDA_GET_POLICY, GetPolicyRequest => GetPolicyResponse;
    lambda: LAMBDA_GET_PROVISIONED_CONCURRENCY_CONFIG, GetProvisionedConcurrencyConfigRequest => GetProvisionedConcurrencyConfigResponse;
    lambda: LAMBDA_GET_RUNTIME_MANAGEMENT_CONFIG, GetRuntimeManagementConfigRequest => GetRuntimeManagementConfigResponse;
    lambda: LAMBDA_LIST_ALIASES, ListAliasesRequest => ListAliasesResponse;
    lambda: LAMBDA_LIST_CAPACITY_PROVIDERS, ListCapacityProvidersRequest => ListCapacityProvidersResponse;
    lambda: LAMBDA_LIST_CODE_SIGNING_CONFIGS, ListCodeSigningConfigsRequest => ListCodeSigningConfigsResponse;
    lambda: LAMBDA_LIST_DURABLE_EXECUTIONS_BY_FUNCTION, ListDurableExecutionsByFunctionRequest => ListDurableExecutionsByFunctionResponse;
    lambda: LAMBDA_LIST_EVENT_SOURCE_MAPPINGS, ListEventSourceMappingsRequest => ListEventSourceMappingsResponse;
    lambda: LAMBDA_LIST_FUNCTION_EVENT_INVOKE_CONFIGS, ListFunctionEventInvokeConfigsRequest => ListFunctionEventInvokeConfigsResponse;
    lambda: LAMBDA_LIST_FUNCTION_URL_CONFIGS, ListFunctionUrlConfigsRequest => ListFunctionUrlConfigsResponse;
    lambda: LAMBDA_LIST_FUNCTION_VERSIONS_BY_CAPACITY_PROVIDER, ListFunctionVersionsByCapacityProviderRequest => ListFunctionVersionsByCapacityProviderResponse;
    lambda: LAMBDA_LIST_FUNCTIONS, ListFunctionsRequest => ListFunctionsResponse;
    lambda: LAMBDA_LIST_FUNCTIONS_BY_CODE_SIGNING_CONFIG, ListFunctionsByCodeSigningConfigRequest => ListFunctionsByCodeSigningConfigResponse;
    lambda: LAMBDA_LIST_LAYER_VERSIONS, ListLayerVersionsRequest => ListLayerVersionsResponse;
    lambda: LAMBDA_LIST_LAYERS, ListLayersRequest => ListLayersResponse;
    lambda: LAMBDA_LIST_PROVISIONED_CONCURRENCY_CONFIGS, ListProvisionedConcurrencyConfigsRequest => ListProvisionedConcurrencyConfigsResponse;
    lambda: LAMBDA_LIST_TAGS, ListTagsRequest => ListTagsResponse;
    lambda: LAMBDA_LIST_VERSIONS_BY_FUNCTION, ListVersionsByFunctionRequest => ListVersionsByFunctionResponse;
    lambda: LAMBDA_PUBLISH_LAYER_VERSION, PublishLayerVersionRequest => PublishLayerVersionResponse;
    lambda: LAMBDA_PUBLISH_VERSION, PublishVersionRequest => FunctionConfiguration;
    lambda: LAMBDA_PUT_FUNCTION_CODE_SIGNING_CONFIG, PutFunctionCodeSigningConfigRequest => PutFunctionCodeSigningConfigResponse;
    lambda: LAMBDA_PUT_FUNCTION_CONCURRENCY, PutFunctionConcurrencyRequest => Concurrency;
    lambda: LAMBDA_PUT_FUNCTION_EVENT_INVOKE_CONFIG, PutFunctionEventInvokeConfigRequest => FunctionEventInvokeConfig;
    lambda: LAMBDA_PUT_FUNCTION_RECURSION_CONFIG, PutFunctionRecursionConfigRequest => PutFunctionRecursionConfigResponse;
    lambda: LAMBDA_PUT_FUNCTION_SCALING_CONFIG, PutFunctionScalingConfigRequest => PutFunctionScalingConfigResponse;
    lambda: LAMBDA_PUT_PROVISIONED_CONCURRENCY_CONFIG, PutProvisionedConcurrencyConfigRequest => PutProvisionedConcurrencyConfigResponse;
    lambda: LAMBDA_PUT_RUNTIME_MANAGEMENT_CONFIG, PutRuntimeManagementConfigRequest => PutRuntimeManagementConfigResponse;
    lambda: LAMBDA_REMOVE_LAYER_VERSION_PERMISSION, RemoveLayerVersionPermissionRequest => RemoveLayerVersionPermissionResponse;
    lambda: LAMBDA_REMOVE_PERMISSION, RemovePermissionRequest => RemovePermissionResponse;
    lambda: LAMBDA_SEND_DURABLE_EXECUTION_CALLBACK_FAILURE, SendDurableExecutionCallbackFailureRequest => SendDurableExecutionCallbackFailureResponse;
    lambda: LAMBDA_SEND_DURABLE_EXECUTION_CALLBACK_HEARTBEAT, SendDurableExecutionCallbackHeartbeatRequest => SendDurableExecutionCallbackHeartbeatResponse;
    lambda: LAMBDA_SEND_DURABLE_EXECUTION_CALLBACK_SUCCESS, SendDurableExecutionCallbackSuccessRequest => SendDurableExecutionCallbackSuccessResponse;
    lambda: LAMBDA_STOP_DURABLE_EXECUTION, StopDurableExecutionRequest => StopDurableExecutionResponse;
    lambda: LAMBDA_TAG_RESOURCE, TagResourceRequest => TagResourceResponse;
    lambda: LAMBDA_UNTAG_RESOURCE, UntagResourceRequest => UntagResourceResponse;
    lambda: LAMBDA_UPDATE_ALIAS, UpdateAliasRequest => AliasConfiguration;
    lambda: LAMBDA_UPDATE_CAPACITY_PROVIDER, UpdateCapacityProviderRequest => UpdateCapacityProviderResponse;
    lambda: LAMBDA_UPDATE_CODE_SIGNING_CONFIG, UpdateCodeSigningConfigRequest => UpdateCodeSigningConfigResponse;
    lambda: LAMBDA_UPDATE_EVENT_SOURCE_MAPPING, UpdateEventSourceMappingRequest => EventSourceMappingConfiguration;
    lambda: LAMBDA_UPDATE_FUNCTION_CODE, UpdateFunctionCodeRequest => FunctionConfiguration;
    lambda: LAMBDA_UPDATE_FUNCTION_CONFIGURATION, UpdateFunctionConfigurationRequest => FunctionConfiguration;
    lambda: LAMBDA_UPDATE_FUNCTION_EVENT_INVOKE_CONFIG, UpdateFunctionEventInvokeConfigRequest => FunctionEventInvokeConfig;
    lambda: LAMBDA_UPDATE_FUNCTION_URL_CONFIG, UpdateFunctionUrlConfigRequest => UpdateFunctionUrlConfigResponse;
    lambda: LAMBDA_INVOKE_INVOKE, InvocationRequest => InvocationResponse;
    lambda: LAMBDA_INVOKE_INVOKE_ASYNC, InvokeAsyncRequest => InvokeAsyncResponse;
    lambda: LAMBDA_INVOKE_INVOKE_WITH_RESPONSE_STREAM, InvokeWithResponseStreamRequest;
}
