//! Functions of `PackageType` Image: what goes with it, what does not, and where the image is (facts, Lambda API §16).

use std::sync::Arc;
use std::time::Duration;

use lambfold_api::Fault;
use lambfold_api::lambda::{
    CreateFunctionRequest, ImageConfig, ImageConfigResponse, LayerList, UpdateFunctionCodeRequest,
};
use lambfold_image::ImageError;
use lambfold_types::CONTAINER_IMAGES;

use crate::faults;
use crate::record::{Configuration, FunctionImage, ImageLayer, ImageOverrides};
use crate::service::Shared;

/// How long a caller waits until an image is found; its layers come later.
const RESOLVE_WITHIN: Duration = Duration::from_secs(20);
/// The largest image, its layers together, in bytes.
pub(crate) const MOST_BYTES: u64 = 10 << 30;

/// Whether a new function's settings go with an image, and anybody can run it.
pub(super) fn check_new(shared: &Shared, input: &CreateFunctionRequest) -> Result<(), Fault> {
    refuse_package_settings(input.runtime.as_deref(), input.handler.as_deref(), input.layers.as_ref())?;
    if shared.workers.lack(CONTAINER_IMAGES, shared.clock.now()).is_some() {
        return Err(faults::invalid_parameter(
            "No worker can run container images: they need an isolation level with a root of its own, userns or full \
             (docs/security.md says how to get it).",
        ));
    }
    Ok(())
}

/// The image of a new function.
pub(super) async fn of_new(
    shared: &Arc<Shared>,
    input: &CreateFunctionRequest,
    architecture: &str,
) -> Result<FunctionImage, Fault> {
    let code = input.code.clone().unwrap_or_default();
    let (Some(uri), None, None, None) = (code.image_uri, code.zip_file, code.s3_bucket, code.s3_key) else {
        return Err(faults::invalid_parameter(
            "Please provide ImageUri when creating a function with packageType Image.",
        ));
    };
    let found = resolve(shared, &uri, architecture).await?;
    Ok(FunctionImage { overrides: overrides(input.image_config.as_ref()), ..found })
}

/// The image that a function is to have now.
pub(super) async fn of_update(
    shared: &Arc<Shared>,
    input: &UpdateFunctionCodeRequest,
    architecture: &str,
) -> Result<FunctionImage, Fault> {
    resolve(shared, input.image_uri.as_deref().unwrap_or_default(), architecture).await
}

/// Code of a function of an image is an image, wherever else it is said to be.
pub(super) fn refuse_package(input: &UpdateFunctionCodeRequest) -> Result<(), Fault> {
    let (None, None, None, None, Some(_)) =
        (&input.zip_file, &input.s3_bucket, &input.s3_key, &input.s3_object_version, &input.image_uri)
    else {
        return Err(faults::invalid_parameter(
            "Please provide ImageUri when updating a function with packageType Image.",
        ));
    };
    Ok(())
}

async fn resolve(shared: &Shared, uri: &str, architecture: &str) -> Result<FunctionImage, Fault> {
    let shown: String = uri.chars().take(1024).collect();
    let late = shared.clock.sleep_until(shared.clock.now() + RESOLVE_WITHIN);
    let found = tokio::select! {
        found = shared.images.resolve(uri, architecture) => found,
        () = late => Err(ImageError::Unavailable("The image was not found in time.".to_owned())),
    };
    let found = found.map_err(|error| {
        tracing::info!(image = shown, %error, "an image is not taken");
        faults::of_image(&shown, &error)
    })?;
    if found.layers.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.size)) > MOST_BYTES {
        let why = format!("Its layers are larger than {MOST_BYTES} bytes.");
        return Err(faults::of_image(&shown, &ImageError::Invalid(why)));
    }
    let layer = |layer: &lambfold_image::Layer| ImageLayer {
        digest: layer.digest,
        size: layer.size,
        diff_id: layer.diff_id,
    };
    Ok(FunctionImage {
        uri: shown,
        resolved_uri: found.resolved_uri,
        layers: found.layers.iter().map(layer).collect(),
        entry_point: found.entry_point,
        command: found.command,
        working_directory: found.working_directory,
        environment: found.environment,
        overrides: ImageOverrides::default(),
        failure: None,
    })
}

/// The configuration with another image; what the function changes about it stays.
pub(super) fn with(configuration: Configuration, image: FunctionImage) -> Configuration {
    let digest = image.resolved_uri.rsplit_once("@sha256:").map(|(_, hex)| hex.to_owned());
    let before = configuration.image.map(|image| image.overrides);
    let overrides = before.unwrap_or_else(|| image.overrides.clone());
    Configuration {
        code_sha256: digest.unwrap_or_default(),
        image: Some(FunctionImage { overrides, ..image }),
        ..configuration
    }
}

/// The image with an `ImageConfig`, if one is given, in place of what it had.
pub(super) fn overridden(image: Option<FunctionImage>, given: Option<&ImageConfig>) -> Option<FunctionImage> {
    image.map(|image| match given {
        Some(_) => FunctionImage { overrides: overrides(given), ..image },
        None => image,
    })
}

fn overrides(given: Option<&ImageConfig>) -> ImageOverrides {
    let Some(given) = given else { return ImageOverrides::default() };
    let words = |list: &Option<lambfold_api::lambda::StringList>| {
        list.as_deref().cloned().filter(|words| !words.is_empty())
    };
    ImageOverrides {
        entry_point: words(&given.entry_point),
        command: words(&given.command),
        working_directory: given.working_directory.clone().filter(|directory| !directory.is_empty()),
    }
}

/// `ImageConfigResponse`, where there is anything in it.
pub(super) fn response(image: &FunctionImage) -> Option<ImageConfigResponse> {
    if image.overrides == ImageOverrides::default() {
        return None;
    }
    let ImageOverrides { entry_point, command, working_directory } = image.overrides.clone();
    Some(ImageConfigResponse {
        image_config: Some(ImageConfig {
            entry_point: entry_point.map(Into::into),
            command: command.map(Into::into),
            working_directory,
        }),
        error: None,
    })
}

/// What only functions of packages have.
pub(super) fn refuse_package_settings(
    runtime: Option<&str>,
    handler: Option<&str>,
    layers: Option<&LayerList>,
) -> Result<(), Fault> {
    if runtime.is_some() || handler.is_some() || layers.is_some_and(|layers| !layers.is_empty()) {
        return Err(faults::invalid_parameter(
            "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image.",
        ));
    }
    Ok(())
}

/// What only functions of images have. An empty one changes nothing, and passes.
pub(super) fn refuse_settings(given: Option<&ImageConfig>) -> Result<(), Fault> {
    if overrides(given) == ImageOverrides::default() {
        return Ok(());
    }
    Err(faults::invalid_parameter(
        "Please don't provide ImageConfig when the intended function PackageType is Zip.",
    ))
}
