//! What Lambda's control plane answers when it refuses, to the letter (facts, Lambda API §16).

use lambfold_api::Fault;
use lambfold_api::lambda::ErrorCode;
use lambfold_image::ImageError;
use lambfold_types::{Arn, Scope};

use crate::store::StoreError;

pub(crate) fn of_store(error: &StoreError) -> Fault {
    tracing::error!(error = error as &dyn std::error::Error, "the control store failed");
    Fault::of_storage(error)
}

pub(crate) fn invalid_parameter(text: impl Into<String>) -> Fault {
    Fault::new(ErrorCode::InvalidParameterValueException, text).with_member("Type", "User")
}

pub(crate) fn conflict(text: impl Into<String>) -> Fault {
    Fault::new(ErrorCode::ResourceConflictException, text).with_member("Type", "User")
}

pub(crate) fn not_found(text: impl Into<String>) -> Fault {
    Fault::new(ErrorCode::ResourceNotFoundException, text).with_member("Type", "User")
}

pub(crate) fn resource_not_found() -> Fault {
    not_found("The resource you requested does not exist.")
}

pub(crate) fn function_not_found(scope: &Scope, name: &str, qualifier: Option<&str>) -> Fault {
    not_found(format!("Function not found: {}", Arn::function(scope, name, qualifier)))
}

pub(crate) fn other_account() -> Fault {
    Fault::new(ErrorCode::AccessDeniedException, "")
}

pub(crate) fn stale_revision() -> Fault {
    Fault::new(
        ErrorCode::PreconditionFailedException,
        "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve \
         the latest Revision Id",
    )
    .with_member("Type", "User")
}

pub(crate) fn stale_layer_revision() -> Fault {
    Fault::new(
        ErrorCode::PreconditionFailedException,
        "The Revision Id provided does not match the latest Revision Id. Call the GetLayerPolicy API to retrieve the \
         latest Revision Id",
    )
    .with_member("Type", "User")
}

pub(crate) fn no_layer_version(arn: &str) -> Fault {
    not_found(format!("Layer version {arn} does not exist."))
}

pub(crate) fn in_progress(arn: &str) -> Fault {
    conflict(format!(
        "The operation cannot be performed at this time. An update is in progress for resource: {arn}"
    ))
}

pub(crate) fn pending() -> Fault {
    conflict(
        "The operation cannot be performed at this time. The function is currently in the following state: Pending",
    )
}

/// Why a container image cannot be taken, with what would help after AWS's own words.
pub(crate) fn of_image(uri: &str, error: &ImageError) -> Fault {
    match error {
        ImageError::NotFound(_) => {
            invalid_parameter(format!("Source image {uri} does not exist. Provide a valid source image."))
        }
        ImageError::MediaType(_) => invalid_parameter(format!(
            "The image manifest, config or layer media type for the source image {uri} is not supported."
        )),
        ImageError::InvalidName(why) | ImageError::Invalid(why) => {
            invalid_parameter(format!("Source image {uri} is not valid. Provide a valid source image. {why}"))
        }
        ImageError::Denied(why) => Fault::new(
            ErrorCode::AccessDeniedException,
            format!(
                "Lambda does not have permission to access the ECR image. Check the ECR permissions. {why}"
            ),
        ),
        ImageError::Unavailable(why) => Fault::new(ErrorCode::ServiceException, why.clone()),
    }
}

/// Of operations that change or limit a function as a whole.
pub(crate) fn functions_only() -> Fault {
    invalid_parameter(
        "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. \
         Please specify either a function name or an unqualified function ARN.",
    )
}

pub(crate) fn aliases_have_their_own_deletion() -> Fault {
    invalid_parameter("Deletion of aliases is not currently supported.")
}

pub(crate) fn version_in_use(aliases: &[String]) -> Fault {
    let aliases = aliases.join(", ");
    conflict(format!("Unable to delete version because the following aliases reference it: [{aliases}]"))
}

pub(crate) fn no_alias(arn: &str) -> Fault {
    not_found(format!("Cannot find alias arn: {arn}"))
}

pub(crate) fn not_supported(what: &str) -> Fault {
    invalid_parameter(format!("Lambfold does not support {what} yet; see docs/gaps.md."))
}

pub(crate) fn in_use(text: impl Into<String>) -> Fault {
    Fault::new(ErrorCode::ResourceInUseException, text).with_member("Type", "User")
}
