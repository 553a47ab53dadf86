//! SQS on SQLite.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lambfold_queue::{Options, QueueService};
use lambfold_store_sqlite::{QueueOptions, SqliteQueueStore};
use lambfold_types::PlainSealer;

use super::Services;
use crate::node::Surroundings;
use crate::part::Part;
use crate::{Role, StartError};

/// AWS's wait between purges of a queue, and before a deleted queue's name may be used again.
const STRICT_WAIT: Duration = Duration::from_mins(1);

pub(super) fn open(data_dir: &Path) -> Result<SqliteQueueStore, StartError> {
    SqliteQueueStore::open(&data_dir.join("queue.sqlite"), &QueueOptions::default())
        .map_err(StartError::part("queue's store"))
}

pub(super) async fn start(around: &mut Surroundings, services: &mut Services) -> Result<Part, StartError> {
    let data_dir = around.data_dir.clone();
    let config = &around.config;
    let strict = config.strict.then_some(STRICT_WAIT);
    let options = Options {
        purge_cooldown: strict,
        recreate_cooldown: strict,
        gather: Duration::from_micros(config.queue.gather_us),
        body_cache_bytes: usize::try_from(config.queue.body_cache_mib << 20).unwrap_or(usize::MAX),
        ..Options::default()
    };
    let (clock, entropy) = (around.clock.clone(), around.entropy.clone());
    // Reading the directory of queues blocks.
    let build = tokio::task::spawn_blocking(move || {
        let store = Arc::new(open(&data_dir)?);
        QueueService::build(options, store, clock, entropy, Arc::new(PlainSealer))
            .map_err(StartError::part("queue"))
    });
    let service = build.await.map_err(StartError::part("queue"))??;
    let metrics = Box::new(service.metrics());
    around.registry.sub_registry_with_prefix("sqs").register_collector(metrics);
    let sqs = Arc::new(lambfold_queue::SqsService::new(service.handle()));
    services.peek = Some(sqs.clone());
    services.sqs = Some(sqs);
    Ok(Part::start(Role::Queue, |stop| service.run(stop)))
}
