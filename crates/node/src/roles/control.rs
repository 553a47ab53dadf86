//! The control plane on SQLite, with packages in a directory.

use std::path::Path;
use std::sync::Arc;

use lambfold_control::{ControlService, ImageOptions, Options};
use lambfold_store_sqlite::SqliteControlStore;
use lambfold_types::PlainSealer;

use super::{Services, debugger, hot_reload, packages};
use crate::node::Surroundings;
use crate::part::Part;
use crate::{Role, StartError};

pub(super) fn open(data_dir: &Path) -> Result<SqliteControlStore, StartError> {
    SqliteControlStore::open(&data_dir.join("control.sqlite"))
        .map_err(StartError::part("control plane's store"))
}

pub(super) async fn start(around: &Surroundings, services: &mut Services) -> Result<Part, StartError> {
    let data_dir = around.data_dir.clone();
    let opened = tokio::task::spawn_blocking(move || open(&data_dir)).await;
    let store = opened.map_err(StartError::part("control plane"))??;
    let objects = packages::open(&around.packages_dir)?;
    // The control plane alone writes, and the lock on its store says that there is no other.
    let directory = around.packages_dir.clone();
    let tidied = tokio::task::spawn_blocking(move || packages::remove_unfinished(&directory)).await;
    tidied.map_err(StartError::part("package store"))?.map_err(StartError::part("package store"))?;
    let sqs = around.peers.sqs(services.sqs.clone())?;
    let (clock, entropy) = (around.clock.clone(), around.entropy.clone());
    let sealer = Arc::new(PlainSealer);
    let options = Options {
        images: images(around),
        hot_reload: hot_reload::rules(&around.config)?,
        debugger: debugger::is_on(&around.config),
        account_concurrency: around.config.dispatcher.account_concurrency,
        ..Options::default()
    };
    let service = ControlService::build(options, Arc::new(store), objects, sqs, clock, entropy, sealer);
    let handle = Arc::new(service.handle());
    services.lambda = Some(handle.clone());
    services.control = Some(handle);
    Ok(Part::start(Role::Control, |stop| service.run(stop)))
}

fn images(around: &Surroundings) -> ImageOptions {
    let config = around.config.control.clone();
    let own = around.data_dir.join("images");
    let given = config.image_directories.into_iter().map(|it| std::path::absolute(&it).unwrap_or(it));
    ImageOptions {
        directories: std::iter::once(own).chain(given).collect(),
        registries: config.image_registries,
        ecr_registry: config.ecr_registry,
        insecure_registries: config.insecure_registries,
        registry_credentials: config.registry_credentials,
    }
}
