//! One row of the operation table.

/// Everything that routing, authorisation, retries, limits, metrics and the coverage page know of an operation.
/// Generated from the options of its rpc; there is no second list.
#[derive(Debug)]
pub struct Operation {
    /// The AWS service: `sqs`, `lambda`.
    pub service: &'static str,
    /// The name that AWS gives it.
    pub name: &'static str,
    /// Its place in its service's table.
    pub index: usize,
    /// The IAM action, such as `sqs:SendMessage`.
    pub action: &'static str,
    /// The gRPC path.
    pub rpc_path: &'static str,
    /// The AWS API version, such as `2012-11-05`.
    pub api_version: &'static str,
    /// The prefix of `X-Amz-Target` where the service has one.
    pub target_prefix: &'static str,
    /// The version of AWS JSON that the service speaks: `1.0`, `1.1`.
    pub json_version: &'static str,
    /// The REST binding where the service has one.
    pub http: Option<HttpBinding>,
    /// Whether a call whose answer was lost may be made again.
    pub retry: Retry,
    /// What kind of resource it acts on.
    pub resource: ResourceKind,
    /// The input member that names the resource; empty where none does.
    pub resource_member: &'static str,
    /// How a broken constraint is worded.
    pub validation: Validation,
    /// True while it only answers that it is not there yet (docs/gaps.md).
    pub planned: bool,
    /// The largest request, in bytes of protobuf.
    pub max_request_bytes: usize,
    /// The largest answer, in bytes of protobuf.
    pub max_response_bytes: usize,
}

/// Method, path template and success status of a REST operation.
#[derive(Debug)]
pub struct HttpBinding {
    /// `GET`, `POST`, …
    pub method: &'static str,
    /// `/2015-03-31/functions/{FunctionName}`, perhaps with a fixed query such as `?find=LayerVersion`.
    pub path: &'static str,
    /// The status of success.
    pub status: u16,
}

/// Whether a call whose answer was lost may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Twice is the same as once.
    Idempotent,
    /// Never again.
    AtMostOnce,
    /// Again with the same operation id, which the receiver remembers.
    Keyed,
}

/// How the resource member becomes an ARN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    /// The operation acts on the service as a whole.
    Service,
    /// A queue URL, or a bare name.
    QueueUrl,
    /// A queue's name.
    QueueName,
    /// A function's name, partial or full ARN.
    Function,
    /// A layer's name or ARN.
    Layer,
    /// A mapping's UUID.
    EventSourceMapping,
    /// A capacity provider's name or ARN.
    CapacityProvider,
    /// A log group's name.
    LogGroup,
    /// It is an ARN.
    Arn,
}

/// How a service words a broken constraint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// `MissingParameter`: SQS checks presence only; ranges have texts of their own.
    Query,
    /// `ValidationException`: the texts of AWS's request framework.
    Framework,
    /// `InvalidParameterException` with the same texts, as CloudWatch Logs has it.
    InvalidParameter,
}
