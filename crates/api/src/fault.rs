//! Errors that a caller sees.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::operation::Operation;

/// A generated `ErrorCode`: what AWS calls the error, in either protocol family, and its status.
pub trait AwsErrorCode: Copy {
    /// The shape's name, such as `QueueDoesNotExist`.
    fn code(self) -> &'static str;
    /// The code in the Query protocol, such as `AWS.SimpleQueueService.NonExistentQueue`.
    fn query_code(self) -> &'static str;
    /// The HTTP status.
    fn http_status(self) -> u16;
}

/// An AWS error, the same over HTTP, gRPC and the local path. Its text is for the caller: it never carries
/// internals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    code: Cow<'static, str>,
    query_code: Cow<'static, str>,
    http_status: u16,
    message: String,
    sender: bool,
    retry_after: Option<Duration>,
    members: BTreeMap<String, String>,
}

impl Fault {
    /// An error of `code`, blamed on the caller when its status is 4xx.
    pub fn new(code: impl AwsErrorCode, message: impl Into<String>) -> Self {
        Self::raw(code.code(), code.query_code(), code.http_status(), message)
    }

    /// An error by its parts; for codes that no single service declares.
    pub fn raw(
        code: impl Into<Cow<'static, str>>,
        query_code: impl Into<Cow<'static, str>>,
        http_status: u16,
        message: impl Into<String>,
    ) -> Self {
        Self(Box::new(Inner {
            code: code.into(),
            query_code: query_code.into(),
            http_status,
            message: message.into(),
            sender: (400..500).contains(&http_status),
            retry_after: None,
            members: BTreeMap::new(),
        }))
    }

    /// The operation stands in the table, but Lambfold does not do it yet.
    pub fn planned(operation: &Operation) -> Self {
        Self::raw(
            "NotImplementedException",
            "NotImplemented",
            501,
            format!("Lambfold does not support {} yet; see docs/gaps.md.", operation.action),
        )
    }

    /// No such operation.
    pub fn unknown_operation(name: &str) -> Self {
        let name: String = name.chars().take(128).collect();
        Self::raw(
            "UnknownOperationException",
            "InvalidAction",
            404,
            format!("The action {name} is not valid for this endpoint."),
        )
    }

    /// Bytes that are not what the protocol asks for.
    pub fn serialization(message: impl Into<String>) -> Self {
        Self::raw("SerializationException", "MalformedInput", 400, message)
    }

    /// Something of ours went wrong. The cause is logged by who calls this, never sent.
    pub fn internal() -> Self {
        Self::raw(
            "InternalFailure",
            "InternalFailure",
            500,
            "An internal error occurred. The request id finds it in the log.",
        )
    }

    /// Something could not be written or read: [`internal`](Self::internal), or what to do about it, where the causes of `error`
    /// say that the disk is full.
    pub fn of_storage(error: &(dyn Error + 'static)) -> Self {
        let is_full = |error: &(dyn Error + 'static)| {
            let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
            matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
        };
        let mut cause = Some(error);
        while let Some(error) = cause {
            if is_full(error) {
                let mut fault = Self::internal();
                "The disk is full: nothing new is stored until there is room."
                    .clone_into(&mut fault.0.message);
                return fault;
            }
            cause = error.source();
        }
        Self::internal()
    }

    /// A part that is needed is away for the moment.
    pub fn unavailable() -> Self {
        Self::raw(
            "ServiceUnavailable",
            "ServiceUnavailable",
            503,
            "The service is unavailable for the moment. Try again.",
        )
    }

    /// A buffer is full; each service's edge words it as its own throttle.
    pub fn overloaded(retry_after: Duration) -> Self {
        Self::raw("ThrottlingException", "Throttling", 429, "Rate exceeded").with_retry_after(retry_after)
    }

    /// The deadline that the caller set has passed.
    pub fn deadline_exceeded() -> Self {
        Self::raw(
            "RequestTimeout",
            "RequestTimeout",
            408,
            "The request did not complete before its deadline.",
        )
    }

    /// The request is larger than its operation allows.
    pub fn too_large(limit: usize) -> Self {
        Self::raw(
            "RequestEntityTooLargeException",
            "RequestEntityTooLarge",
            413,
            format!("Request must be smaller than {limit} bytes for this operation"),
        )
    }

    /// Blames the service (`Receiver`) whatever the status.
    pub fn blame_receiver(mut self) -> Self {
        self.0.sender = false;
        self
    }

    /// Says how long to wait before the next attempt.
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Adds a member to the error's body, such as `Reason`.
    pub fn with_member(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    /// The code as the JSON protocols show it.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The code as the Query protocol shows it.
    pub fn query_code(&self) -> &str {
        &self.0.query_code
    }

    /// The HTTP status.
    pub fn http_status(&self) -> u16 {
        self.0.http_status
    }

    /// The text for the caller.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether the caller is to blame.
    pub fn is_sender(&self) -> bool {
        self.0.sender
    }

    /// How long to wait before the next attempt, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Further members of the error's body.
    pub fn members(&self) -> &BTreeMap<String, String> {
        &self.0.members
    }

    /// Whether this is the error of that code.
    pub fn is(&self, code: impl AwsErrorCode) -> bool {
        self.0.code == code.code()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.message)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the store failed")]
    struct Failed(#[source] io::Error);

    #[test]
    fn a_full_disk_is_told_of_and_no_other_cause() {
        let told = |kind| Fault::of_storage(&Failed(io::Error::new(kind, "secret"))).message().to_owned();
        assert!(told(io::ErrorKind::StorageFull).starts_with("The disk is full"));
        assert_eq!(told(io::ErrorKind::PermissionDenied), Fault::internal().message());
    }
}
