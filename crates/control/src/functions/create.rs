//! CreateFunction.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use lambfold_api::lambda::{CreateFunctionRequest, FunctionConfiguration};
use lambfold_api::{CallContext, Fault, FunctionTarget};
use lambfold_types::Qualifier;

use super::settings::{self, Unsupported};
use super::{environment, hot_reload, image, render, runtime, timestamp};
use crate::packages::Stored;
use crate::record::{
    Configuration, FORMAT, Function, FunctionConcurrency, FunctionRecord, Logging, State, Versions,
};
use crate::service::Shared;
use crate::{faults, layers, packages, sweep, tags};

pub(crate) async fn create(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: CreateFunctionRequest,
) -> Result<FunctionConfiguration, Fault> {
    let text = input.function_name.clone().unwrap_or_default();
    let bare = text.rsplit(':').next().unwrap_or_default();
    if bare.len() > 64 {
        return Err(faults::invalid_parameter(format!(
            "1 validation error detected: Value '{bare}' at 'functionName' failed to satisfy constraint: Member must have \
             length less than or equal to 64"
        )));
    }
    let target = FunctionTarget::read(ctx, &text, None)?;
    let configuration = configuration(shared, &input)?;
    let layers = layers::resolve(shared, ctx, input.layers.as_ref()).await?.unwrap_or_default();
    let tags = input.tags.as_deref().cloned().unwrap_or_default();
    tags::check(&tags)?;
    let (configuration, package) = with_code(shared, &input, configuration).await?;
    let configuration = Configuration { layers, ..configuration };
    layers::fits(&configuration)?;
    settings::check_snap_start(&configuration)?;

    // Before the upload: a name that is taken needs none.
    let (scope, name) = (target.scope.clone(), target.name.clone());
    if shared.store(move |store| store.function(&scope, &name)).await?.is_some() {
        return Err(exists(&target));
    }
    let _held = sweep::hold(shared, &configuration.layers).await?;
    if let Some((stored, zip)) = package {
        packages::put(&shared.objects, &stored, zip).await?;
    }
    let record = FunctionRecord {
        format: FORMAT,
        incarnation: shared.uuid(),
        state: State::Pending,
        last_update: None,
        revision_id: shared.uuid(),
        last_modified: timestamp(shared.clock.now()),
        configuration,
        serving: None,
        urls: BTreeMap::new(),
        tags,
        versions: Versions { publish_when_active: input.publish == Some(true), ..Versions::default() },
        aliases: BTreeMap::new(),
        concurrency: FunctionConcurrency::default(),
    };
    // The version that will be there as soon as the function is.
    let shown = if record.versions.publish_when_active { Qualifier::Version(1) } else { Qualifier::Latest };
    let answer = render::configuration(&*shared.sealer, &target, &shown, &record)?;
    let function = Function { scope: target.scope.clone(), name: target.name.clone(), record };
    if !shared.change(move |store| store.create_function(&function)).await? {
        return Err(exists(&target));
    }
    shared.activations.add(target.scope, target.name);
    Ok(answer)
}

fn exists(target: &FunctionTarget) -> Fault {
    faults::conflict(format!("Function already exist: {}", target.name))
}

/// The configuration with what is known of its code, and the package that is to be stored.
async fn with_code(
    shared: &Arc<Shared>,
    input: &CreateFunctionRequest,
    configuration: Configuration,
) -> Result<(Configuration, Option<(Stored, Bytes)>), Fault> {
    if is_image(input) {
        let found = image::of_new(shared, input, &configuration.architecture).await?;
        return Ok((image::with(configuration, found), None));
    }
    let source = input.code.clone().unwrap_or_default();
    if source.image_uri.is_some() && (source.zip_file.is_some() || source.s3_bucket.is_some()) {
        return Err(faults::invalid_parameter(
            "Please don't provide ImageUri when creating a function with packageType Zip.",
        ));
    }
    let (bucket, key) = (source.s3_bucket.as_deref(), source.s3_key.as_deref());
    if let Some(found) = hot_reload::requested(shared, bucket, key, source.zip_file.is_some()).await? {
        return Ok((hot_reload::with(configuration, found), None));
    }
    let zip = code(input)?;
    let stored = packages::check(zip.clone()).await?;
    let configuration = Configuration {
        code_sha256: stored.sha256.clone(),
        code_size: stored.size,
        unzipped_bytes: stored.unzipped_bytes,
        ..configuration
    };
    Ok((configuration, Some((stored, zip))))
}

fn is_image(input: &CreateFunctionRequest) -> bool {
    input.package_type.as_deref() == Some("Image")
}

fn code(input: &CreateFunctionRequest) -> Result<Bytes, Fault> {
    let code = input.code.clone().unwrap_or_default();
    if code.s3_bucket.is_some() || code.s3_key.is_some() {
        return Err(faults::not_supported("code from S3 (Code.S3Bucket)"));
    }
    if code.source_kms_key_arn.as_ref().is_some_and(|key| !key.is_empty()) {
        return Err(faults::not_supported("Code.SourceKMSKeyArn"));
    }
    code.zip_file.ok_or_else(|| faults::invalid_parameter("Please provide a source for function code."))
}

fn configuration(shared: &Shared, input: &CreateFunctionRequest) -> Result<Configuration, Fault> {
    let (runtime, handler) = if is_image(input) {
        image::check_new(shared, input)?;
        (String::new(), String::new())
    } else {
        image::refuse_settings(input.image_config.as_ref())?;
        let (Some(runtime), Some(handler)) = (input.runtime.clone(), input.handler.clone()) else {
            return Err(faults::invalid_parameter(
                "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
            ));
        };
        runtime::check(shared, &runtime)?;
        (runtime, handler)
    };
    Unsupported {
        vpc: input.vpc_config.clone(),
        dead_letter: input.dead_letter_config.clone(),
        file_systems: input.file_system_configs.clone(),
        kms_key: input.kms_key_arn.clone(),
        tracing: input.tracing_config.clone(),
        capacity_provider: input.capacity_provider_config.clone(),
        durable: input.durable_config,
    }
    .refuse()?;
    if input.publish_to.is_some() {
        return Err(faults::not_supported("publishing to $LATEST.PUBLISHED (PublishTo)"));
    }
    if input.code_signing_config_arn.as_ref().is_some_and(|arn| !arn.is_empty()) {
        return Err(faults::not_supported("CodeSigningConfigArn"));
    }
    if input.tenancy_config.is_some() {
        return Err(faults::not_supported("TenancyConfig"));
    }
    let plain =
        Logging { format: "Text".to_owned(), application_level: None, system_level: None, group: None };
    Ok(Configuration {
        configuration_id: shared.uuid(),
        role: input.role.clone().unwrap_or_default(),
        description: input.description.clone().unwrap_or_default(),
        timeout: settings::timeout(input.timeout)?.unwrap_or(3),
        memory_size: settings::memory_size(input.memory_size)?.unwrap_or(128),
        ephemeral_storage: settings::ephemeral_storage(input.ephemeral_storage.as_ref())?.unwrap_or(512),
        architecture: settings::architecture(input.architectures.as_ref(), shared.options.architecture)?,
        environment: environment::seal(shared, input.environment.as_ref())?,
        logging: settings::logging(input.logging_config.as_ref(), &plain)?,
        code_sha256: String::new(),
        code_size: 0,
        unzipped_bytes: 0,
        hot_reload: None,
        layers: Vec::new(),
        image: None,
        snap_start: settings::snap_start(input.snap_start.as_ref()).unwrap_or(false),
        runtime,
        handler,
    })
}
