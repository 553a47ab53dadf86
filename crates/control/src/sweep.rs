//! Removes from the object store what no record names any more: packages of functions, versions and layer versions that were
//! deleted or got other code, and layers of images that no function has.
//!
//! Objects are stored before they are named, and may be there when they are named again: who finds that one is there
//! [holds](hold) all of them until it is named.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use lambfold_api::Fault;
use lambfold_types::Timestamp;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::sync::RwLockReadGuard;
use tokio_util::sync::CancellationToken;

use crate::record::{Configuration, FunctionLayer};
use crate::service::Shared;
use crate::{faults, packages};

/// Between two looks.
const EVERY: Duration = Duration::from_hours(1);
/// How old what is removed is, and how long nothing has named it: an environment with the code before an update may still be
/// on its way.
const AGE: Duration = Duration::from_hours(1);
/// What is removed before others have their turn.
const AT_ONCE: usize = 100;

/// What nothing named at the last look, and since when.
type Unnamed = BTreeMap<Path, Timestamp>;

/// Sweeps at the start, where the age of an object is all that is known, and every hour.
pub(crate) async fn run(shared: &Arc<Shared>, shutdown: CancellationToken) {
    let mut before = None;
    loop {
        match sweep(shared, before.as_ref()).await {
            Ok(unnamed) => before = Some(unnamed),
            Err(fault) => tracing::warn!(%fault, "packages that nothing names stay in the object store"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = shared.clock.sleep_until(shared.clock.now() + EVERY) => {}
        }
    }
}

/// While what is returned is held, no object is removed. Fails if one of `layers` is gone already.
pub(crate) async fn hold<'a>(
    shared: &'a Shared,
    layers: &[FunctionLayer],
) -> Result<RwLockReadGuard<'a, ()>, Fault> {
    let held = shared.objects_in_use.read().await;
    for layer in layers {
        if !packages::exists(&shared.objects, &layer.package.code_sha256).await? {
            let text = format!("Layer version {} does not exist.", layer.arn);
            return Err(faults::invalid_parameter(text));
        }
    }
    Ok(held)
}

/// One look; what nothing names after it.
async fn sweep(shared: &Shared, before: Option<&Unnamed>) -> Result<Unnamed, Fault> {
    let now = shared.clock.now();
    let mut unnamed = old(shared, now).await?;
    if unnamed.is_empty() {
        return Ok(Unnamed::new());
    }
    let named = named(shared).await?;
    unnamed.retain(|path, since| {
        if let Some(before) = before {
            *since = before.get(path).copied().unwrap_or(now);
        }
        !named.contains(path)
    });
    let due = unnamed.iter().filter(|(_, since)| **since + AGE <= now);
    let due: Vec<Path> = due.map(|(path, _)| path.clone()).collect();
    for batch in due.chunks(AT_ONCE) {
        remove(shared, batch).await?;
    }
    unnamed.retain(|path, _| !due.contains(path));
    Ok(unnamed)
}

/// What is old enough, with the time from which on it is known to be there.
async fn old(shared: &Shared, now: Timestamp) -> Result<Unnamed, Fault> {
    let mut found = Unnamed::new();
    for folder in ["packages", "images"] {
        let mut objects = shared.objects.list(Some(&Path::from(folder)));
        while let Some(object) = objects.try_next().await.map_err(|error| packages::failed(&error))? {
            let stored = Timestamp::from_millis(object.last_modified.timestamp_millis());
            if stored + AGE <= now {
                found.insert(object.location, stored);
            }
        }
    }
    Ok(found)
}

/// Removes those that still nothing names.
async fn remove(shared: &Shared, due: &[Path]) -> Result<(), Fault> {
    let _alone = shared.objects_in_use.write().await;
    let named = named(shared).await?;
    // The note on a layer before the layer: what has a note is there.
    let (notes, others): (Vec<&Path>, Vec<&Path>) =
        due.iter().filter(|path| !named.contains(path)).partition(|path| path.extension() == Some("json"));
    for path in notes.into_iter().chain(others) {
        match shared.objects.delete(path).await {
            Ok(()) => tracing::info!(object = %path, "removed what nothing names any more"),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(packages::failed(&error)),
        }
    }
    Ok(())
}

/// All that records name.
async fn named(shared: &Shared) -> Result<BTreeSet<Path>, Fault> {
    let (snapshot, layers) = shared.store(|store| Ok((store.snapshot()?, store.layer_packages()?))).await?;
    let mut named: BTreeSet<Path> = layers.iter().filter_map(|sha256| packages::location(sha256)).collect();
    let functions = snapshot.functions.into_iter().map(|function| function.record);
    let of_functions = functions.flat_map(|record| [Some(record.configuration), record.serving]).flatten();
    let of_versions = snapshot.versions.into_iter().map(|version| version.record.configuration);
    for configuration in of_functions.chain(of_versions) {
        named.extend(objects_of(&configuration));
    }
    Ok(named)
}

fn objects_of(configuration: &Configuration) -> Vec<Path> {
    let layers = configuration.layers.iter().map(|layer| &layer.package.code_sha256);
    let mut objects: Vec<Path> =
        layers.chain([&configuration.code_sha256]).filter_map(|sha256| packages::location(sha256)).collect();
    for layer in configuration.image.iter().flat_map(|image| &image.layers) {
        let hex = layer.digest.hex();
        objects.extend([Path::from(format!("images/{hex}")), Path::from(format!("images/{hex}.json"))]);
    }
    objects
}
