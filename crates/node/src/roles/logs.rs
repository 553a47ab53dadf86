//! CloudWatch Logs on SQLite.

use std::path::Path;
use std::sync::Arc;

use lambfold_logs::{LogsService, Metrics, Options};
use lambfold_store_sqlite::SqliteLogStore;

use super::Services;
use crate::node::Surroundings;
use crate::part::Part;
use crate::{Role, StartError};

pub(super) fn open(data_dir: &Path) -> Result<SqliteLogStore, StartError> {
    SqliteLogStore::open(&data_dir.join("logs.db")).map_err(StartError::part("store of logs"))
}

pub(super) async fn start(around: &mut Surroundings, services: &mut Services) -> Result<Part, StartError> {
    let data_dir = around.data_dir.clone();
    let opened = tokio::task::spawn_blocking(move || open(&data_dir)).await;
    let store = opened.map_err(StartError::part("logs"))??;
    let options = Options { most_bytes: around.config.logs.max_mib << 20, ..Options::default() };
    let metrics = Metrics::register(&mut around.registry);
    let (clock, entropy) = (around.clock.clone(), around.entropy.clone());
    let service = LogsService::build(options, Arc::new(store), clock, entropy, metrics);
    let handle = Arc::new(service.handle());
    services.logs = Some(handle.clone());
    services.log_intake = Some(handle);
    Ok(Part::start(Role::Logs, |stop| service.run(stop)))
}
