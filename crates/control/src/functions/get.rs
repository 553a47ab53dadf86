//! GetFunction and GetFunctionConfiguration.

use std::sync::Arc;

use lambfold_api::lambda::{
    FunctionCodeLocation, FunctionConfiguration, GetFunctionConfigurationRequest, GetFunctionRequest,
    GetFunctionResponse,
};
use lambfold_api::{CallContext, Fault, FunctionTarget};

use super::render;
use crate::packages;
use crate::record::FunctionRecord;
use crate::service::Shared;

/// The record that a target names.
pub(super) async fn find(shared: &Arc<Shared>, target: &FunctionTarget) -> Result<FunctionRecord, Fault> {
    let (scope, name) = (target.scope.clone(), target.name.clone());
    let found = shared.store(move |store| store.function(&scope, &name)).await?;
    found.filter(|_| target.is_latest()).ok_or_else(|| target.not_found())
}

pub(crate) async fn get(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: GetFunctionRequest,
) -> Result<GetFunctionResponse, Fault> {
    let target =
        FunctionTarget::read(ctx, &input.function_name.unwrap_or_default(), input.qualifier.as_deref())?;
    let record = find(shared, &target).await?;
    let code = match &record.configuration.image {
        Some(image) => FunctionCodeLocation {
            repository_type: Some("ECR".to_owned()),
            image_uri: Some(image.uri.clone()),
            resolved_image_uri: Some(image.resolved_uri.clone()),
            ..FunctionCodeLocation::default()
        },
        None => FunctionCodeLocation {
            repository_type: Some("S3".to_owned()),
            location: Some(packages::link(ctx, &record.configuration.code_sha256)),
            ..FunctionCodeLocation::default()
        },
    };
    let configuration = render::configuration(&*shared.sealer, target.name.as_str(), target.arn(), &record)?;
    Ok(GetFunctionResponse {
        configuration: Some(configuration),
        code: Some(code),
        tags: Some(record.tags).filter(|tags| !tags.is_empty()).map(Into::into),
        ..GetFunctionResponse::default()
    })
}

pub(crate) async fn get_configuration(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: GetFunctionConfigurationRequest,
) -> Result<FunctionConfiguration, Fault> {
    let target =
        FunctionTarget::read(ctx, &input.function_name.unwrap_or_default(), input.qualifier.as_deref())?;
    let record = find(shared, &target).await?;
    render::configuration(&*shared.sealer, target.name.as_str(), target.arn(), &record)
}
