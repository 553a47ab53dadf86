//! Every declared error, for code that has only its name.

use lambfold_api::{Fault, lambda, logs, sqs};

macro_rules! errors {
    ($service:ident, $code:expr, $message:expr, $($name:ident)*) => {
        match $code {
            $(stringify!($name) => Some(Fault::new($service::ErrorCode::$name, $message)),)*
            _ => None,
        }
    };
}

/// The error of that code.
pub(crate) fn fault(service: &str, code: &str, message: &str) -> Option<Fault> {
    match service {
        "sqs" => errors! { sqs, code, message,
            AccessDeniedException BatchEntryIdsNotDistinct BatchRequestTooLong EmptyBatchRequest InternalFailure InvalidActionException InvalidAddress InvalidAttributeName InvalidAttributeValue InvalidBatchEntryId InvalidIdFormat InvalidMessageContents InvalidParameterValueException InvalidSecurity KmsAccessDenied KmsDisabled KmsInvalidKeyUsage KmsInvalidState KmsNotFound KmsOptInRequired KmsThrottled MessageNotInflight MissingRequiredParameterException OverLimit PurgeQueueInProgress QueueDeletedRecently QueueDoesNotExist QueueNameExists ReceiptHandleIsInvalid RequestEntityTooLargeException RequestThrottled ResourceNotFoundException SerializationException ServiceUnavailable TooManyEntriesInBatchRequest UnknownOperationException UnsupportedOperation
        },
        "logs" => errors! { logs, code, message,
            AccessDeniedException DataAlreadyAcceptedException InvalidOperationException InvalidParameterException InvalidSequenceTokenException LimitExceededException OperationAbortedException ResourceAlreadyExistsException ResourceNotFoundException ServiceUnavailableException SessionStreamingException SessionTimeoutException TooManyTagsException UnrecognizedClientException ValidationException
        },
        _ => errors! { lambda, code, message,
            AccessDeniedException CallbackTimeoutException CapacityProviderLimitExceededException CodeSigningConfigNotFoundException CodeStorageExceededException CodeVerificationFailedException DurableExecutionAlreadyStartedException EC2AccessDeniedException EC2ThrottledException EC2UnexpectedException EFSIOException EFSMountConnectivityException EFSMountFailureException EFSMountTimeoutException ENILimitReachedException FunctionVersionsPerCapacityProviderLimitExceededException InternalFailure InvalidCodeSignatureException InvalidParameterValueException InvalidRequestContentException InvalidRuntimeException InvalidSecurityGroupIDException InvalidSubnetIDException InvalidZipFileException KMSAccessDeniedException KMSDisabledException KMSInvalidStateException KMSNotFoundException MissingAuthenticationTokenException NoPublishedVersionException NotImplementedException PolicyLengthExceededException PreconditionFailedException ProvisionedConcurrencyConfigNotFoundException RecursiveInvocationException RequestEntityTooLargeException RequestTooLargeException ResourceConflictException ResourceInUseException ResourceNotFoundException ResourceNotReadyException S3FilesMountConnectivityException S3FilesMountFailureException S3FilesMountTimeoutException SerializationException SerializedRequestEntityTooLargeException ServiceException SnapStartException SnapStartNotReadyException SnapStartTimeoutException SubnetIPAddressLimitReachedException TooManyRequestsException UnknownOperationException UnsupportedMediaTypeException ValidationException
        },
    }
}
