//! What CloudWatch Logs answers when it refuses.

use lambfold_api::Fault;
use lambfold_api::logs::ErrorCode;

use crate::pattern::PatternError;
use crate::store::StoreError;

pub(crate) fn of_store(error: &StoreError) -> Fault {
    tracing::error!(error = error as &dyn std::error::Error, "the store of logs failed");
    Fault::of_storage(error)
}

pub(crate) fn invalid(text: impl Into<String>) -> Fault {
    Fault::new(ErrorCode::InvalidParameterException, text)
}

pub(crate) fn invalid_pattern(error: &PatternError) -> Fault {
    invalid(error.to_string())
}

pub(crate) fn invalid_token() -> Fault {
    invalid("The specified nextToken is invalid.")
}

pub(crate) fn no_group() -> Fault {
    Fault::new(ErrorCode::ResourceNotFoundException, "The specified log group does not exist.")
}

pub(crate) fn no_stream() -> Fault {
    Fault::new(ErrorCode::ResourceNotFoundException, "The specified log stream does not exist.")
}

pub(crate) fn no_resource() -> Fault {
    Fault::new(ErrorCode::ResourceNotFoundException, "The specified resource does not exist.")
}

pub(crate) fn group_exists() -> Fault {
    Fault::new(ErrorCode::ResourceAlreadyExistsException, "The specified log group already exists")
}

pub(crate) fn stream_exists() -> Fault {
    Fault::new(ErrorCode::ResourceAlreadyExistsException, "The specified log stream already exists")
}
