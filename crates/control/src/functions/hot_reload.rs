//! Code that is a directory of this machine (`S3Bucket` `hot-reload`, `S3Key` its absolute path), as LocalStack has it.

use std::sync::Arc;

use lambfold_api::Fault;
use lambfold_package::{HOT_RELOAD_BUCKET, HOT_RELOAD_SHA256};

use crate::faults;
use crate::packages::Stored;
use crate::record::Configuration;
use crate::service::Shared;

/// The directory that these members ask for, if they do; refused if it cannot be used, now.
pub(super) async fn requested(
    shared: &Arc<Shared>,
    bucket: Option<&str>,
    key: Option<&str>,
    has_zip: bool,
) -> Result<Option<String>, Fault> {
    if bucket != Some(HOT_RELOAD_BUCKET) {
        return Ok(None);
    }
    if has_zip {
        let text = "Please do not provide other FunctionCode parameters when providing a ZipFile.";
        return Err(faults::invalid_parameter(text));
    }
    let key = key.unwrap_or_default().to_owned();
    let rules = shared.options.hot_reload.clone();
    // As it is named, since links may lead elsewhere by the time it is used.
    let resolved = tokio::task::spawn_blocking(move || rules.resolve(&key).map(|_| key));
    let resolved = resolved.await.map_err(|_| Fault::internal())?;
    resolved.map(Some).map_err(|error| faults::invalid_parameter(error.to_string()))
}

/// What is shown of code that nobody stored.
pub(super) fn stored() -> Stored {
    Stored { sha256: HOT_RELOAD_SHA256.to_owned(), size: 0, unzipped_bytes: 0 }
}

/// The configuration with the code in `directory`.
pub(super) fn with(configuration: Configuration, directory: String) -> Configuration {
    let Stored { sha256, size, unzipped_bytes } = stored();
    Configuration {
        code_sha256: sha256,
        code_size: size,
        unzipped_bytes,
        hot_reload: Some(directory),
        ..configuration
    }
}
