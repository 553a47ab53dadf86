//! UpdateFunctionCode and UpdateFunctionConfiguration: every update goes through InProgress, also one that changes
//! nothing; meanwhile invocations run what was there before.

use std::sync::Arc;

use lambfold_api::lambda::{
    FunctionConfiguration, UpdateFunctionCodeRequest, UpdateFunctionConfigurationRequest,
};
use lambfold_api::{CallContext, Fault, FunctionTarget};
use lambfold_types::Qualifier;

use super::get::find;
use super::publish::{Edition, Published};
use super::settings::{self, Unsupported};
use super::{environment, hot_reload, image, render, runtime, timestamp};
use crate::record::{Configuration, FunctionRecord, LastUpdate, State};
use crate::service::Shared;
use crate::store::Publication;
use crate::{faults, layers, packages, sweep};

pub(crate) async fn update_code(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: UpdateFunctionCodeRequest,
) -> Result<FunctionConfiguration, Fault> {
    let target = FunctionTarget::read(ctx, &input.function_name.clone().unwrap_or_default(), None)?;
    let record = find_latest(shared, &target).await?;
    if record.configuration.image.is_some() {
        image::refuse_package(&input)?;
    } else if input.image_uri.is_some() {
        return Err(faults::invalid_parameter(
            "Please don't provide ImageUri when updating a function with packageType Zip.",
        ));
    }
    let (bucket, key) = (input.s3_bucket.as_deref(), input.s3_key.as_deref());
    let hot_reload = hot_reload::requested(shared, bucket, key, input.zip_file.is_some()).await?;
    if hot_reload.is_none() && (bucket.is_some() || key.is_some()) {
        return Err(faults::not_supported("code from S3 (S3Bucket)"));
    }
    if input.source_kms_key_arn.as_ref().is_some_and(|key| !key.is_empty()) {
        return Err(faults::not_supported("SourceKMSKeyArn"));
    }
    if input.publish_to.is_some() {
        return Err(faults::not_supported("publishing to $LATEST.PUBLISHED (PublishTo)"));
    }
    let architecture = match &input.architectures {
        Some(_) => settings::architecture(input.architectures.as_ref(), shared.options.architecture)?,
        None => record.configuration.architecture.clone(),
    };
    let (dry_run, publish) = (input.dry_run == Some(true), input.publish == Some(true));
    if record.configuration.image.is_some() {
        let found = image::of_update(shared, &input, &architecture).await?;
        let change = move |configuration: &Configuration| {
            let configuration = Configuration { architecture: architecture.clone(), ..configuration.clone() };
            Ok(image::with(configuration, found.clone()))
        };
        let _held = sweep::hold(shared, &[]).await?;
        return update_or_show(shared, target, record, input.revision_id, (dry_run, publish), change).await;
    }
    if hot_reload.is_none() && input.zip_file.is_none() {
        return Err(faults::invalid_parameter("Please provide a source for function code."));
    }
    let stored = match &input.zip_file {
        Some(zip) => packages::check(zip.clone()).await?,
        None => hot_reload::stored(),
    };
    let _held = sweep::hold(shared, &[]).await?;
    if let Some(zip) = input.zip_file.filter(|_| !dry_run) {
        packages::put(&shared.objects, &stored, zip).await?;
    }
    let change = move |configuration: &Configuration| {
        let changed = Configuration {
            code_sha256: stored.sha256.clone(),
            code_size: stored.size,
            unzipped_bytes: stored.unzipped_bytes,
            hot_reload: hot_reload.clone(),
            architecture: architecture.clone(),
            ..configuration.clone()
        };
        layers::fits(&changed)?;
        Ok(changed)
    };
    update_or_show(shared, target, record, input.revision_id, (dry_run, publish), change).await
}

/// Updates and perhaps publishes, or with `dry_run` tells what would be, without a change.
async fn update_or_show(
    shared: &Arc<Shared>,
    target: FunctionTarget,
    record: FunctionRecord,
    expected: Option<String>,
    (dry_run, publish): (bool, bool),
    change: impl Fn(&Configuration) -> Result<Configuration, Fault> + Send + 'static,
) -> Result<FunctionConfiguration, Fault> {
    if dry_run {
        check_revision(&record, expected.as_deref())?;
        let would_be = FunctionRecord { configuration: change(&record.configuration)?, ..record };
        return render::configuration(&*shared.sealer, &target, &Qualifier::Latest, &would_be);
    }
    update(shared, target, &record, expected, What::Code, publish, change).await
}

pub(crate) async fn update_configuration(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: UpdateFunctionConfigurationRequest,
) -> Result<FunctionConfiguration, Fault> {
    let target = FunctionTarget::read(ctx, &input.function_name.clone().unwrap_or_default(), None)?;
    let record = find_latest(shared, &target).await?;
    if record.configuration.image.is_some() {
        image::refuse_package_settings(
            input.runtime.as_deref(),
            input.handler.as_deref(),
            input.layers.as_ref(),
        )?;
    } else {
        image::refuse_settings(input.image_config.as_ref())?;
    }
    if let Some(runtime) = &input.runtime {
        runtime::check(shared, runtime)?;
    }
    Unsupported {
        vpc: input.vpc_config,
        dead_letter: input.dead_letter_config,
        file_systems: input.file_system_configs,
        kms_key: input.kms_key_arn,
        tracing: input.tracing_config,
        capacity_provider: input.capacity_provider_config,
        durable: input.durable_config,
    }
    .refuse()?;
    let layers = layers::resolve(shared, ctx, input.layers.as_ref()).await?;
    let timeout = settings::timeout(input.timeout)?;
    let memory_size = settings::memory_size(input.memory_size)?;
    let ephemeral_storage = settings::ephemeral_storage(input.ephemeral_storage.as_ref())?;
    let sealed = environment::seal(shared, input.environment.as_ref())?;
    let snap_start = settings::snap_start(input.snap_start.as_ref());
    let (runtime, handler, role, description) = (input.runtime, input.handler, input.role, input.description);
    let (logging, image_config) = (input.logging_config, input.image_config);
    let expected = input.revision_id;
    let _held = sweep::hold(shared, layers.as_deref().unwrap_or_default()).await?;
    update(shared, target, &record, expected, What::Settings, false, move |configuration: &Configuration| {
        let current = configuration.clone();
        let changed = Configuration {
            runtime: runtime.clone().unwrap_or(current.runtime),
            handler: handler.clone().unwrap_or(current.handler),
            role: role.clone().unwrap_or(current.role),
            description: description.clone().unwrap_or(current.description),
            timeout: timeout.unwrap_or(current.timeout),
            memory_size: memory_size.unwrap_or(current.memory_size),
            ephemeral_storage: ephemeral_storage.unwrap_or(current.ephemeral_storage),
            environment: sealed.clone().or(current.environment),
            logging: settings::logging(logging.as_ref(), &configuration.logging)?,
            layers: layers.clone().unwrap_or(current.layers),
            image: image::overridden(current.image, image_config.as_ref()),
            snap_start: snap_start.unwrap_or(current.snap_start),
            ..current
        };
        layers::fits(&changed)?;
        settings::check_snap_start(&changed)?;
        Ok(changed)
    })
    .await
}

/// What is updated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Code,
    Settings,
}

/// Puts what `change` makes of the configuration in its place, if the function can be updated now, and publishes it if
/// asked to.
async fn update(
    shared: &Arc<Shared>,
    target: FunctionTarget,
    checked: &FunctionRecord,
    expected: Option<String>,
    what: What,
    publish: bool,
    change: impl Fn(&Configuration) -> Result<Configuration, Fault> + Send + 'static,
) -> Result<FunctionConfiguration, Fault> {
    let (scope, name, arn) = (target.scope.clone(), target.name.clone(), target.arn());
    let (revision_id, configuration_id, edition) = (shared.uuid(), shared.uuid(), Edition::new(shared));
    let last_modified = timestamp(shared.clock.now());
    let incarnation = checked.incarnation.clone();
    let outcome = shared.change(move |store| {
        let mut outcome = None;
        let found = store.publish_version(&scope, &name, &mut |record, last| {
            // Another one of that name was not checked.
            if record.incarnation != incarnation {
                return Publication::Leave;
            }
            let changed =
                may_update(record, expected.as_deref(), &arn).and_then(|()| change(&record.configuration));
            let mut publication = if changed.is_ok() { Publication::Keep } else { Publication::Leave };
            outcome = Some(changed.map(|configuration| {
                // Code that is the same is no reason for another version; settings are, also if they are the same.
                let code = |it: &Configuration| {
                    (it.code_sha256.clone(), it.hot_reload.clone(), it.architecture.clone())
                };
                record.versions.unchanged &=
                    what == What::Code && code(&record.configuration) == code(&configuration);
                record.configuration =
                    Configuration { configuration_id: configuration_id.clone(), ..configuration };
                record.last_update = Some(LastUpdate::InProgress);
                record.revision_id.clone_from(&revision_id);
                record.last_modified.clone_from(&last_modified);
                let published = publish.then(|| edition.publish(record, last, None));
                if let Some(Published { new: true, version, .. }) = &published {
                    publication = Publication::Publish(Box::new(version.clone()));
                }
                (record.clone(), published)
            }));
            publication
        })?;
        Ok(if found { outcome } else { None })
    });
    let (record, published) = outcome.await?.ok_or_else(|| target.not_found())??;
    shared.activations.add(target.scope.clone(), target.name.clone());
    if let Some(published) = published {
        return published.render(shared, target, record);
    }
    // What a failed function shows once its update is on the way is what an active one shows.
    let shown = FunctionRecord { state: State::Active, ..record };
    render::configuration(&*shared.sealer, &target, &Qualifier::Latest, &shown)
}

/// The function to change: what was published does not change.
async fn find_latest(shared: &Arc<Shared>, target: &FunctionTarget) -> Result<FunctionRecord, Fault> {
    if !target.is_latest() {
        return Err(faults::functions_only());
    }
    Ok(find(shared, target).await?.record)
}

/// Whether nothing is on its way, and the caller knows the function as it is.
pub(super) fn may_update(record: &FunctionRecord, expected: Option<&str>, arn: &str) -> Result<(), Fault> {
    if record.state == State::Pending {
        return Err(faults::pending());
    }
    if record.last_update == Some(LastUpdate::InProgress) {
        return Err(faults::in_progress(arn));
    }
    check_revision(record, expected)
}

fn check_revision(record: &FunctionRecord, expected: Option<&str>) -> Result<(), Fault> {
    if expected.is_some_and(|expected| expected != record.revision_id) {
        Err(faults::stale_revision())
    } else {
        Ok(())
    }
}
