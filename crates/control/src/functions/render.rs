//! A function as the API shows it.

use lambfold_api::lambda::{
    EnvironmentResponse, EphemeralStorage, FunctionConfiguration, Layer, LoggingConfig, SnapStartResponse,
    TracingConfigResponse,
};
use lambfold_api::{Fault, FunctionTarget};
use lambfold_types::{Qualifier, Sealer};

use super::{environment, image};
use crate::record::{Configuration, FunctionRecord, LastUpdate, State};

/// What AWS says, word for word, while it makes a function and while it updates one.
const CREATING: &str = "The function is being created.";

/// Why a function, or an update of one, failed.
const MISSING: &str = "The package of the function is missing; update its code.";

/// `FunctionConfiguration` of that version, under the ARN of `target`.
pub(super) fn configuration(
    sealer: &dyn Sealer,
    target: &FunctionTarget,
    version: &Qualifier,
    record: &FunctionRecord,
) -> Result<FunctionConfiguration, Fault> {
    let name = target.name.as_str();
    let snap_starts = record.configuration.snap_start && *version != Qualifier::Latest;
    let configuration = &record.configuration;
    let variables =
        configuration.environment.as_deref().map(|sealed| environment::open(sealer, sealed)).transpose()?;
    let logging = &configuration.logging;
    let (reason, code) = match record.state {
        State::Active => (None, None),
        State::Pending => (Some(CREATING.to_owned()), Some("Creating".to_owned())),
        State::Failed => failure(configuration),
    };
    let (update_reason, update_code) = match record.last_update {
        None | Some(LastUpdate::Successful) => (None, None),
        Some(LastUpdate::InProgress) => (Some(CREATING.to_owned()), Some("Creating".to_owned())),
        Some(LastUpdate::Failed) => failure(configuration),
    };
    Ok(FunctionConfiguration {
        function_name: Some(name.to_owned()),
        function_arn: Some(target.arn()),
        runtime: Some(configuration.runtime.clone()).filter(|_| configuration.image.is_none()),
        role: Some(configuration.role.clone()),
        handler: Some(configuration.handler.clone()).filter(|_| configuration.image.is_none()),
        code_size: i64::try_from(configuration.code_size).ok(),
        description: Some(configuration.description.clone()),
        timeout: i32::try_from(configuration.timeout).ok(),
        memory_size: i32::try_from(configuration.memory_size).ok(),
        last_modified: Some(record.last_modified.clone()),
        code_sha256: Some(configuration.code_sha256.clone()),
        version: Some(version.to_string()),
        environment: variables
            .map(|variables| EnvironmentResponse { variables: Some(variables.into()), error: None }),
        tracing_config: Some(TracingConfigResponse { mode: Some("PassThrough".to_owned()) }),
        revision_id: Some(record.revision_id.clone()),
        state: Some(record.state.as_str().to_owned()),
        state_reason: reason,
        state_reason_code: code,
        last_update_status: record.last_update.map(|update| {
            match update {
                LastUpdate::Successful => "Successful",
                LastUpdate::InProgress => "InProgress",
                LastUpdate::Failed => "Failed",
            }
            .to_owned()
        }),
        last_update_status_reason: update_reason,
        last_update_status_reason_code: update_code,
        layers: Some(layers(configuration)).filter(|layers| !layers.is_empty()).map(Into::into),
        package_type: Some(if configuration.image.is_some() { "Image" } else { "Zip" }.to_owned()),
        image_config_response: configuration.image.as_ref().and_then(image::response),
        architectures: Some(vec![configuration.architecture.clone()].into()),
        ephemeral_storage: Some(EphemeralStorage {
            size: i32::try_from(configuration.ephemeral_storage).ok(),
        }),
        snap_start: Some(SnapStartResponse {
            apply_on: Some(if configuration.snap_start { "PublishedVersions" } else { "None" }.to_owned()),
            optimization_status: Some(if snap_starts { "On" } else { "Off" }.to_owned()),
        }),
        logging_config: Some(LoggingConfig {
            log_format: Some(logging.format.clone()),
            application_log_level: logging.application_level.clone(),
            system_log_level: logging.system_level.clone(),
            log_group: Some(logging.group.clone().unwrap_or_else(|| format!("/aws/lambda/{name}"))),
        }),
        ..FunctionConfiguration::default()
    })
}

/// Why it could not be made.
fn failure(configuration: &Configuration) -> (Option<String>, Option<String>) {
    match configuration.image.as_ref().and_then(|image| image.failure.clone()) {
        Some(failure) => (Some(failure.reason), Some(failure.code)),
        None => (Some(MISSING.to_owned()), Some("InvalidZipFileException".to_owned())),
    }
}

/// The same as an item of a list, which omits where an update stands.
pub(super) fn item(
    sealer: &dyn Sealer,
    target: &FunctionTarget,
    version: &Qualifier,
    record: &FunctionRecord,
) -> Result<FunctionConfiguration, Fault> {
    Ok(FunctionConfiguration {
        state: None,
        state_reason: None,
        state_reason_code: None,
        last_update_status: None,
        last_update_status_reason: None,
        last_update_status_reason_code: None,
        ..configuration(sealer, target, version, record)?
    })
}

fn layers(configuration: &Configuration) -> Vec<Layer> {
    let shown = configuration.layers.iter().map(|layer| Layer {
        arn: Some(layer.arn.clone()),
        code_size: i64::try_from(layer.package.code_size).ok(),
        ..Layer::default()
    });
    shown.collect()
}
