//! What SQS answers when it refuses, to the letter. Sources: facts, SQS §10 and §11 (recorded from AWS, or quoted in
//! public trackers).

use std::time::Duration;

use lambfold_api::Fault;
use lambfold_api::sqs::ErrorCode;

use crate::store::StoreError;
use crate::{Error, HandleError};

/// What the engine refused, in AWS's words.
pub(crate) fn of_engine(error: &Error, queue_name: &str) -> Fault {
    match error {
        Error::NoSuchQueue => no_such_queue(),
        Error::QueueDeletedRecently => Fault::new(
            ErrorCode::QueueDeletedRecently,
            "You must wait 60 seconds after deleting a queue before you can create another with the same name.",
        ),
        Error::PurgeInProgress => Fault::new(
            ErrorCode::PurgeQueueInProgress,
            format!("Only one PurgeQueue operation on {queue_name} is allowed every 60 seconds."),
        ),
        Error::MoveInProgress => invalid_parameter(
            "There is already a task running. Only one active task is allowed for a source queue arn at a given time.",
        ),
        Error::OverLimit => Fault::new(
            ErrorCode::OverLimit,
            "Too many messages have been received without being deleted. Please delete your received messages or let \
             them timeout before receiving more.",
        ),
        Error::Overloaded => Fault::new(ErrorCode::RequestThrottled, "The service is busy; try again.")
            .with_retry_after(Duration::from_millis(50)),
        Error::StorageFull => Fault::new(
            ErrorCode::ServiceUnavailable,
            "The disk is full: new messages are refused until there is room. Receives and deletes go on.",
        ),
        Error::Store(cause) if matches!(**cause, StoreError::Fenced(_) | StoreError::LeaseLost) => {
            Fault::unavailable()
        }
        Error::Store(cause) => {
            tracing::error!(error = %cause, queue.name = queue_name, "the queue store failed");
            Fault::internal()
        }
        Error::OwnedElsewhere(_) | Error::OwnerChanges => owner_changes(),
        Error::Stopping => Fault::unavailable(),
    }
}

const OWNER: &str = "QueueOwner";

/// Another node answers for the queue, or soon will: nothing was done.
pub(crate) fn owner_changes() -> Fault {
    Fault::new(ErrorCode::ServiceUnavailable, "The queue is moving to another node. Try again.")
        .with_member(OWNER, "changes")
        .with_retry_after(Duration::from_millis(200))
}

/// Whether `fault` says that nothing was done since the queue has another owner.
pub(crate) fn is_owner_changes(fault: &Fault) -> bool {
    fault.members().contains_key(OWNER)
}

pub(super) fn no_such_queue() -> Fault {
    Fault::new(ErrorCode::QueueDoesNotExist, "The specified queue does not exist.")
}

/// A URL without a queue.
pub(super) fn invalid_address(address: &str) -> Fault {
    Fault::new(ErrorCode::InvalidAddress, format!("The address {address} is not valid for this endpoint."))
}

pub(super) fn not_found(text: impl Into<String>) -> Fault {
    Fault::new(ErrorCode::ResourceNotFoundException, text)
}

pub(super) fn invalid_value(value: &str, parameter: &str, reason: &str) -> Fault {
    let text = format!("Value {value} for parameter {parameter} is invalid. Reason: {reason}");
    Fault::new(ErrorCode::InvalidParameterValueException, text)
}

pub(super) fn invalid_parameter(text: impl Into<String>) -> Fault {
    Fault::new(ErrorCode::InvalidParameterValueException, text)
}

/// A name that no queue, or no FIFO queue, can have.
pub(super) fn queue_name(fifo: bool) -> Fault {
    if fifo {
        invalid_parameter(
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with \
             .fifo suffix and be 1 to 80 in length",
        )
    } else {
        invalid_parameter(lambfold_types::InvalidQueueName.to_string())
    }
}

pub(super) fn no_queue_name() -> Fault {
    invalid_parameter("Value for parameter QueueName is invalid. Reason: Must specify a queue name.")
}

/// A receipt handle that is not there has another name (aws-sdk-js-v3, issue 5478).
pub(super) fn no_handle() -> Fault {
    missing("MessageHandle")
}

pub(super) fn missing(parameter: &str) -> Fault {
    Fault::new(
        ErrorCode::MissingRequiredParameterException,
        format!("The request must contain the parameter {parameter}."),
    )
}

pub(super) fn unknown_attribute(name: &str) -> Fault {
    Fault::new(ErrorCode::InvalidAttributeName, format!("Unknown Attribute {name}."))
}

pub(super) fn attribute_name(text: impl Into<String>) -> Fault {
    Fault::new(ErrorCode::InvalidAttributeName, text)
}

pub(super) fn attribute_value(name: &str) -> Fault {
    Fault::new(ErrorCode::InvalidAttributeValue, format!("Invalid value for the parameter {name}."))
}

/// The same with a reason.
pub(super) fn attribute_value_for(name: &str, reason: &str) -> Fault {
    let text = format!("Invalid value for the parameter {name}. Reason: {reason}");
    Fault::new(ErrorCode::InvalidAttributeValue, text)
}

pub(super) fn name_exists(attribute: &str) -> Fault {
    Fault::new(
        ErrorCode::QueueNameExists,
        format!("A queue already exists with the same name and a different value for attribute {attribute}"),
    )
}

pub(super) fn invalid_characters() -> Fault {
    Fault::new(
        ErrorCode::InvalidMessageContents,
        "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD \
         | #x10000 to #x10FFFF",
    )
}

pub(super) fn handle_malformed(handle: &str) -> Fault {
    Fault::new(
        ErrorCode::ReceiptHandleIsInvalid,
        format!("The input receipt handle \"{handle}\" is not a valid receipt handle."),
    )
}

/// What a handle was refused for when it was used to delete.
pub(super) fn handle(error: HandleError, handle: &str) -> Fault {
    match error {
        HandleError::OtherQueue => handle_of_other_queue(handle),
        HandleError::Expired => invalid_value(handle, "ReceiptHandle", "The receipt handle has expired."),
    }
}

pub(super) fn handle_of_other_queue(handle: &str) -> Fault {
    Fault::new(
        ErrorCode::ReceiptHandleIsInvalid,
        format!("The receipt handle \"{handle}\" is not valid for this queue."),
    )
}
