//! SQS, on SQLite or on a Postgres database that several nodes may share.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lambfold_config as config;
use lambfold_queue::{Options, QueuePeersService, QueueService, QueueStore, SqsService};
use lambfold_store_postgres::{PostgresQueueStore, QueueOptions as PostgresOptions};
use lambfold_store_sqlite::{QueueOptions, SqliteQueueStore};
use lambfold_types::PlainSealer;

use super::Services;
use crate::node::Surroundings;
use crate::part::Part;
use crate::{Role, StartError};

/// AWS's wait between purges of a queue, and before a deleted queue's name may be used again.
const STRICT_WAIT: Duration = Duration::from_mins(1);

/// Opens the store that the settings name, bringing it to this version's schema.
pub(super) fn open(config: &config::Queue, data_dir: &Path) -> Result<Arc<dyn QueueStore>, StartError> {
    let failed = StartError::part("queue's store");
    if config.database.is_empty() {
        let store = SqliteQueueStore::open(&data_dir.join("queue.sqlite"), &QueueOptions::default());
        return Ok(Arc::new(store.map_err(failed)?));
    }
    let store = PostgresQueueStore::open(&PostgresOptions::new(config.database.as_str()));
    Ok(Arc::new(store.map_err(failed)?))
}

pub(super) async fn start(around: &mut Surroundings, services: &mut Services) -> Result<Part, StartError> {
    let data_dir = around.data_dir.clone();
    let config = &around.config;
    let strict = config.strict.then_some(STRICT_WAIT);
    let options = Options {
        purge_cooldown: strict,
        recreate_cooldown: strict,
        body_cache_bytes: usize::try_from(config.queue.body_cache_mib << 20).unwrap_or(usize::MAX),
        ..Options::default()
    };
    let (clock, entropy) = (around.clock.clone(), around.entropy.clone());
    let settings = config.queue.clone();
    let cluster = if settings.database.is_empty() { None } else { Some(around.peers.cluster()?) };
    let (joined, sealer) = (cluster.clone(), Arc::new(PlainSealer));
    // Reading the directory of queues blocks.
    let build = tokio::task::spawn_blocking(move || {
        let store = open(&settings, &data_dir)?;
        let service = match joined {
            None => QueueService::build(options, store, clock, entropy, sealer),
            Some(cluster) => QueueService::join(options, store, clock, entropy, sealer, cluster),
        };
        service.map_err(StartError::part("queue"))
    });
    let service = build.await.map_err(StartError::part("queue"))??;
    let metrics = Box::new(service.metrics());
    around.registry.sub_registry_with_prefix("sqs").register_collector(metrics);
    let sqs = match cluster {
        None => Arc::new(SqsService::new(service.handle())),
        Some(cluster) => {
            services.queue_peers = Some(Arc::new(QueuePeersService::new(service.handle())));
            Arc::new(SqsService::in_cluster(service.handle(), &cluster, around.clock.clone()))
        }
    };
    services.peek = Some(sqs.clone());
    services.sqs = Some(sqs);
    Ok(Part::start(Role::Queue, |stop| service.run(stop)))
}
