//! Environment variables: checked, sealed, opened (facts, Lambda API §7 and §16).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambfold_api::Fault;
use lambfold_api::lambda::Environment;
use lambfold_types::{DEBUG_PORT, Debugger, Sealer};

use crate::faults;
use crate::service::Shared;

/// Measured on the JSON text of the map.
const MOST_BYTES: usize = 4096;

const RESERVED: [&str; 21] = [
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_MAX_CONCURRENCY",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_LAMBDA_RUNTIME_API",
    "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
];

/// Checks and seals what a request gives; `None` where it gives nothing.
pub(super) fn seal(shared: &Shared, given: Option<&Environment>) -> Result<Option<String>, Fault> {
    let Some(environment) = given else { return Ok(None) };
    let variables = environment.variables.as_deref().cloned().unwrap_or_default();
    let json = serde_json::to_string(&variables).map_err(|_| Fault::internal())?;
    if json.len() > MOST_BYTES {
        return Err(faults::invalid_parameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have \
             provided exceeded the 4KB limit. String measured: {json}"
        )));
    }
    let reserved: Vec<&str> =
        variables.keys().map(String::as_str).filter(|key| RESERVED.contains(key)).collect();
    if !reserved.is_empty() {
        return Err(faults::invalid_parameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have \
             provided contains reserved keys that are currently not supported for modification. Reserved keys used in \
             this request: {}",
            reserved.join(", ")
        )));
    }
    let debugger = Debugger::of(&variables).map_err(|error| faults::invalid_parameter(error.to_string()))?;
    if debugger.is_some() && !shared.options.debugger {
        return Err(faults::invalid_parameter(format!(
            "{DEBUG_PORT}: debuggers are off (worker.debugger; --strict, and listening for other machines, turn them off)."
        )));
    }
    Ok(Some(STANDARD.encode(shared.sealer.seal(json.as_bytes()))))
}

/// Opens what [`seal`] made.
pub(crate) fn open(sealer: &dyn Sealer, sealed: &str) -> Result<BTreeMap<String, String>, Fault> {
    let broken = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "stored environment variables cannot be opened");
        Fault::internal()
    };
    let bytes = STANDARD.decode(sealed).map_err(|error| broken(&error))?;
    let plain = sealer.open(bytes.into()).map_err(|error| broken(&error))?;
    serde_json::from_slice(&plain).map_err(|error| broken(&error))
}
