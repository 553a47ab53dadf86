//! The operation table: everything that routing, authorisation, retries, limits and metrics know of an operation.

use prost_reflect::{MethodDescriptor, ServiceDescriptor};

use crate::options::{self, Aws};

/// The name of the static that describes a method.
pub(crate) fn static_name(service: &str, method: &str) -> String {
    use heck::ToShoutySnakeCase;
    format!("{}_{}", service.to_shouty_snake_case(), method.to_shouty_snake_case())
}

/// `pub static SQS_SEND_MESSAGE: Operation = …;`
pub(crate) fn definition(service: &ServiceDescriptor, index: usize, method: &MethodDescriptor) -> String {
    let operation = options::operation(method);
    let aws = options::aws(service)
        .unwrap_or_else(|| Aws { service: service.name().to_lowercase(), ..Aws::default() });
    let retry = match operation.retry.as_deref() {
        Some("IDEMPOTENT") => "Idempotent",
        Some("KEYED") => "Keyed",
        _ => "AtMostOnce",
    };
    let resource = match operation.resource.as_deref() {
        Some("QUEUE_URL") => "QueueUrl",
        Some("QUEUE_NAME") => "QueueName",
        Some("QUEUE_ARN" | "ARN" | "CODE_SIGNING_CONFIG") => "Arn",
        Some("FUNCTION") => "Function",
        Some("LAYER") => "Layer",
        Some("EVENT_SOURCE_MAPPING") => "EventSourceMapping",
        Some("CAPACITY_PROVIDER") => "CapacityProvider",
        Some("LOG_GROUP") => "LogGroup",
        _ => "Service",
    };
    let validation = match aws.validation.as_deref() {
        Some("QUERY") => "Query",
        Some("INVALID_PARAMETER") => "InvalidParameter",
        _ => "Framework",
    };
    let name = static_name(service.name(), method.name());
    let action = format!("{}:{}", aws.service, operation.action.as_deref().unwrap_or(method.name()));
    format!(
        "/// `{action}`\npub static {name}: crate::operation::Operation = crate::operation::Operation {{\n\
         \x20   service: {service:?},\n    name: {method:?},\n    index: {index},\n    action: {action:?},\n\
         \x20   rpc_path: {rpc:?},\n    api_version: {version:?},\n    target_prefix: {target:?},\n    json_version: {json:?},\n\
         \x20   http: {http},\n    retry: crate::operation::Retry::{retry},\n\
         \x20   resource: crate::operation::ResourceKind::{resource},\n    resource_member: {member:?},\n\
         \x20   validation: crate::operation::Validation::{validation},\n    planned: {planned},\n\
         \x20   max_request_bytes: {max_in},\n    max_response_bytes: {max_out},\n}};\n\n",
        service = aws.service,
        method = method.name(),
        rpc = format!("/{}/{}", service.full_name(), method.name()),
        version = aws.api_version,
        target = aws.target_prefix.unwrap_or_default(),
        json = aws.json_version.as_deref().unwrap_or("1.0"),
        http = http_binding(&operation),
        member = operation.resource_member.unwrap_or_default(),
        planned = operation.planned,
        max_in = operation.max_request_bytes.unwrap_or(DEFAULT_MESSAGE_BYTES),
        max_out = operation.max_response_bytes.unwrap_or(DEFAULT_MESSAGE_BYTES),
    )
}

/// 1 MiB of content (DESIGN §2), and room for what frames it.
const DEFAULT_MESSAGE_BYTES: u64 = (1 << 20) + (64 << 10);

fn http_binding(operation: &options::Operation) -> String {
    match (&operation.method, &operation.path) {
        (Some(method), Some(path)) => format!(
            "Some(crate::operation::HttpBinding {{ method: {method:?}, path: {path:?}, status: {} }})",
            operation.status.unwrap_or(200)
        ),
        _ => "None".to_owned(),
    }
}
