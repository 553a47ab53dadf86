//! Container images on their way into the object store: each layer's blob under its digest, once it was looked through.

mod layer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lambfold_api::Fault;
use lambfold_api::control::ContainerImage;
use lambfold_image::ImageError;
use lambfold_package::Limits;
use lambfold_types::{FunctionName, Scope};
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use crate::record::{Configuration, FunctionImage, ImageFailure};
use crate::service::Shared;

/// Images that are brought at once.
const AT_ONCE: usize = 2;
/// How often it is tried to bring one that a registry does not give.
const ATTEMPTS: u32 = 3;
const AFTER_A_FAILURE: Duration = Duration::from_secs(1);
/// How long one may take.
const WITHIN: Duration = Duration::from_mins(15);

type Outcome = Result<(), ImageFailure>;

/// The images that are brought, by the function that waits for them.
pub(crate) struct Pulls {
    all: Mutex<BTreeMap<(Scope, FunctionName), Pull>>,
    room: Arc<Semaphore>,
}

struct Pull {
    /// Of which configuration the image is.
    configuration_id: String,
    /// Once it is through.
    outcome: Option<Outcome>,
    /// Ends it when nobody waits for it any more.
    _task: AbortOnDropHandle<()>,
}

impl Default for Pulls {
    fn default() -> Self {
        Self { all: Mutex::default(), room: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Pulls {
    /// What became of bringing a configuration's image, told once; begins with it if nobody has. While it lasts there is
    /// none, and the function is added to the activations again when it is over.
    pub(crate) fn outcome(
        &self,
        shared: &Arc<Shared>,
        scope: &Scope,
        name: &FunctionName,
        configuration: &Configuration,
    ) -> Option<Outcome> {
        let image = configuration.image.clone()?;
        let key = (scope.clone(), name.clone());
        let configuration_id = configuration.configuration_id.clone();
        let mut all = self.all();
        if let Some(pull) = all.get(&key).filter(|pull| pull.configuration_id == configuration_id) {
            let outcome = pull.outcome.clone()?;
            all.remove(&key);
            return Some(outcome);
        }
        let (shared, room) = (shared.clone(), self.room.clone());
        let (whose, which) = (key.clone(), configuration_id.clone());
        let task = tokio::spawn(async move {
            let (key, configuration_id) = (whose, which);
            let stop = shared.stop.clone();
            let brought = async {
                // Never closed.
                let _room = room.acquire_owned().await;
                bring(&shared, &image).await
            };
            // Begun again after the next start.
            let Some(outcome) = stop.run_until_cancelled(brought).await else { return };
            if let Err(failure) = &outcome {
                let function = format!("{}/{}", key.0, key.1);
                tracing::warn!(
                    function,
                    image = image.resolved_uri,
                    reason = failure.reason,
                    "an image is not taken"
                );
            }
            let mut all = shared.pulls.all();
            // Another image was asked for meanwhile, or none.
            let Some(pull) = all.get_mut(&key).filter(|pull| pull.configuration_id == configuration_id)
            else {
                return;
            };
            pull.outcome = Some(outcome);
            drop(all);
            shared.activations.add(key.0, key.1);
        });
        let pull = Pull { configuration_id, outcome: None, _task: AbortOnDropHandle::new(task) };
        // What is brought for the configuration before ends.
        all.insert(key, pull);
        None
    }

    /// Nobody waits any more.
    pub(crate) fn forget(&self, scope: &Scope, name: &FunctionName) {
        self.all().remove(&(scope.clone(), name.clone()));
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<(Scope, FunctionName), Pull>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn bring(shared: &Shared, image: &FunctionImage) -> Outcome {
    let late = shared.clock.sleep_until(shared.clock.now() + WITHIN);
    let outcome = tokio::select! {
        outcome = bring_again(shared, image) => outcome,
        () = late => Err(ImageError::Unavailable("The image did not come in time.".to_owned())),
    };
    outcome.map_err(|error| failure(&error))
}

fn failure(error: &ImageError) -> ImageFailure {
    let code = match error {
        ImageError::NotFound(_) => "ImageDeleted",
        ImageError::Denied(_) => "ImageAccessDenied",
        ImageError::InvalidName(_) | ImageError::MediaType(_) | ImageError::Invalid(_) => "InvalidImage",
        ImageError::Unavailable(_) => "InternalError",
    };
    ImageFailure { code: code.to_owned(), reason: error.to_string() }
}

/// Whether all of an image is in the object store, and within its bounds. Brings nothing.
///
/// # Errors
///
/// When the object store does not answer.
pub(crate) async fn look(shared: &Shared, image: &FunctionImage) -> Result<Outcome, Fault> {
    let mut limits = Limits::of_image();
    for layer in &image.layers {
        match layer::find(shared, layer, &limits).await {
            Ok(Some(checked)) => checked.take_from(&mut limits),
            Ok(None) => {
                let missing = "A layer of the image is not there.".to_owned();
                return Ok(Err(failure(&ImageError::NotFound(missing))));
            }
            Err(ImageError::Unavailable(_)) => return Err(Fault::internal()),
            Err(error) => return Ok(Err(failure(&error))),
        }
    }
    Ok(Ok(()))
}

async fn bring_again(shared: &Shared, image: &FunctionImage) -> Result<(), ImageError> {
    for _ in 1..ATTEMPTS {
        match bring_layers(shared, image).await {
            Err(ImageError::Unavailable(_)) => {
                shared.clock.sleep_until(shared.clock.now() + AFTER_A_FAILURE).await;
            }
            outcome => return outcome,
        }
    }
    bring_layers(shared, image).await
}

/// Brings every layer, within the bounds of all of them together.
async fn bring_layers(shared: &Shared, image: &FunctionImage) -> Result<(), ImageError> {
    let mut limits = Limits::of_image();
    for layer in &image.layers {
        layer::bring(shared, image, layer, &limits).await?.take_from(&mut limits);
    }
    Ok(())
}

/// An image as the data plane gets it.
pub(crate) fn wire(image: &FunctionImage) -> ContainerImage {
    let overrides = &image.overrides;
    let entry_point = overrides.entry_point.as_ref().unwrap_or(&image.entry_point);
    let command = overrides.command.as_ref().unwrap_or(&image.command);
    ContainerImage {
        layers: image.layers.iter().map(|layer| layer.digest.hex()).collect(),
        command: entry_point.iter().chain(command).cloned().collect(),
        working_directory: overrides.working_directory.as_ref().unwrap_or(&image.working_directory).clone(),
        environment: image.environment.clone(),
    }
}
