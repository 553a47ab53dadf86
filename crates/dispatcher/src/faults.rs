//! The dispatcher's errors in AWS's words (facts: Lambda API §7 and §16).

use std::time::Duration;

use lambfold_api::lambda::ErrorCode;
use lambfold_api::{Fault, FunctionTarget};
use lambfold_types::{Arn, Qualifier};

/// AWS's limit of a synchronous request.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 6_291_456;

/// Invoke says the qualifier always.
pub(crate) fn not_found(target: &FunctionTarget) -> Fault {
    let qualifier = target.qualifier.as_ref().unwrap_or(&Qualifier::Latest).to_string();
    let arn = Arn::function(&target.scope, target.name.as_str(), Some(&qualifier));
    Fault::new(ErrorCode::ResourceNotFoundException, format!("Function not found: {arn}"))
}

pub(crate) fn not_invocable(state: &str) -> Fault {
    let text = format!(
        "The operation cannot be performed at this time. The function is currently in the following state: {state}"
    );
    Fault::new(ErrorCode::ResourceConflictException, text)
}

pub(crate) fn payload_too_large() -> Fault {
    Fault::raw(
        "RequestEntityTooLargeException",
        "RequestEntityTooLarge",
        413,
        format!("Request must be smaller than {MAX_PAYLOAD_BYTES} bytes for the InvokeFunction operation"),
    )
}

pub(crate) fn payload_not_json(reason: &str) -> Fault {
    let text = format!("Could not parse request body into json: Could not parse payload into json: {reason}");
    Fault::new(ErrorCode::InvalidRequestContentException, text)
}

pub(crate) fn client_context(reason: &str) -> Fault {
    Fault::new(ErrorCode::InvalidRequestContentException, format!("Client context must be {reason}"))
}

pub(crate) fn asynchronous() -> Fault {
    Fault::raw(
        "NotImplementedException",
        "NotImplemented",
        501,
        "Lambfold does not support asynchronous invocation (InvocationType Event) yet; see docs/gaps.md.",
    )
}

/// More at once than the account may, or than the machines can.
pub(crate) fn throttled(retry_after: Duration) -> Fault {
    Fault::new(ErrorCode::TooManyRequestsException, "Rate Exceeded.")
        .with_member("Reason", "ConcurrentInvocationLimitExceeded")
        .with_member("Type", "User")
        .with_retry_after(retry_after)
}

/// More at once than is reserved for the function.
pub(crate) fn reserved_exhausted(retry_after: Duration) -> Fault {
    Fault::new(ErrorCode::TooManyRequestsException, "Rate Exceeded.")
        .with_member("Reason", "ReservedFunctionConcurrentInvocationLimitExceeded")
        .with_member("Type", "User")
        .with_retry_after(retry_after)
}

/// The invocation may have begun, so it is not made again.
pub(crate) fn interrupted() -> Fault {
    Fault::new(
        ErrorCode::ServiceException,
        "The invocation was interrupted: the worker that ran it is gone. It may have run in part.",
    )
}
