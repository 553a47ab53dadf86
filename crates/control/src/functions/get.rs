//! GetFunction and GetFunctionConfiguration.

use std::sync::Arc;

use lambfold_api::lambda::{
    Concurrency, FunctionCodeLocation, FunctionConfiguration, GetFunctionCodeSigningConfigRequest,
    GetFunctionCodeSigningConfigResponse, GetFunctionConfigurationRequest, GetFunctionRequest,
    GetFunctionResponse,
};
use lambfold_api::{CallContext, Fault, FunctionTarget};
use lambfold_types::Qualifier;

use super::render;
use crate::record::FunctionRecord;
use crate::service::Shared;
use crate::{faults, packages};

/// What a target names: the function as it is now, or one of its versions in the place of it.
pub(crate) struct Found {
    pub(crate) record: FunctionRecord,
    pub(crate) version: Qualifier,
}

/// Finds what a target names.
pub(crate) async fn find(shared: &Arc<Shared>, target: &FunctionTarget) -> Result<Found, Fault> {
    let not_found = || target.not_found();
    let record = function(shared, target).await?.ok_or_else(not_found)?;
    let version = match &target.qualifier {
        None | Some(Qualifier::Latest) => Qualifier::Latest,
        Some(Qualifier::Version(number)) => Qualifier::Version(*number),
        Some(Qualifier::Alias(name)) => {
            let alias = record.aliases.get(&**name).ok_or_else(not_found)?;
            alias.version.parse().map_err(|()| Fault::internal())?
        }
    };
    let Qualifier::Version(number) = version else { return Ok(Found { record, version }) };
    let (scope, name) = (target.scope.clone(), target.name.clone());
    let published = shared.store(move |store| store.function_version(&scope, &name, number)).await?;
    Ok(Found { record: published.ok_or_else(not_found)?.in_place_of(record), version })
}

/// The function of a target, whatever qualifier it has.
pub(crate) async fn function(
    shared: &Arc<Shared>,
    target: &FunctionTarget,
) -> Result<Option<FunctionRecord>, Fault> {
    let (scope, name) = (target.scope.clone(), target.name.clone());
    shared.store(move |store| store.function(&scope, &name)).await
}

/// The function of an operation that is about functions as a whole.
pub(crate) fn whole(ctx: &CallContext, name: Option<String>) -> Result<FunctionTarget, Fault> {
    let target = FunctionTarget::read(ctx, &name.unwrap_or_default(), None)?;
    if target.qualifier.is_some() { Err(faults::functions_only()) } else { Ok(target) }
}

pub(crate) async fn get(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: GetFunctionRequest,
) -> Result<GetFunctionResponse, Fault> {
    let target =
        FunctionTarget::read(ctx, &input.function_name.unwrap_or_default(), input.qualifier.as_deref())?;
    let Found { record, version } = find(shared, &target).await?;
    let code = match &record.configuration.image {
        Some(image) => FunctionCodeLocation {
            repository_type: Some("ECR".to_owned()),
            image_uri: Some(image.uri.clone()),
            resolved_image_uri: Some(image.resolved_uri.clone()),
            ..FunctionCodeLocation::default()
        },
        None => FunctionCodeLocation {
            repository_type: Some("S3".to_owned()),
            location: Some(match &record.configuration.hot_reload {
                Some(directory) => format!("file://{directory}"),
                None => packages::link(ctx, &record.configuration.code_sha256),
            }),
            ..FunctionCodeLocation::default()
        },
    };
    let configuration = render::configuration(&*shared.sealer, &target, &version, &record)?;
    let reserved = record.concurrency.reserved.and_then(|reserved| i32::try_from(reserved).ok());
    Ok(GetFunctionResponse {
        concurrency: reserved.map(|reserved| Concurrency { reserved_concurrent_executions: Some(reserved) }),
        configuration: Some(configuration),
        code: Some(code),
        tags: Some(record.tags).filter(|tags| !tags.is_empty()).map(Into::into),
        ..GetFunctionResponse::default()
    })
}

/// No function has a code signing configuration, which is what Terraform asks for after each function that it makes.
pub(crate) async fn get_code_signing(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: GetFunctionCodeSigningConfigRequest,
) -> Result<GetFunctionCodeSigningConfigResponse, Fault> {
    let target = whole(ctx, input.function_name)?;
    function(shared, &target).await?.ok_or_else(|| target.not_found())?;
    Ok(GetFunctionCodeSigningConfigResponse {
        code_signing_config_arn: None,
        function_name: Some(target.name.to_string()),
    })
}

pub(crate) async fn get_configuration(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: GetFunctionConfigurationRequest,
) -> Result<FunctionConfiguration, Fault> {
    let target =
        FunctionTarget::read(ctx, &input.function_name.unwrap_or_default(), input.qualifier.as_deref())?;
    let Found { record, version } = find(shared, &target).await?;
    render::configuration(&*shared.sealer, &target, &version, &record)
}
