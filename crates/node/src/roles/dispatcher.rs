//! The data plane of invoke.

use std::sync::Arc;
use std::time::Duration;

use lambfold_dispatcher::{DispatcherService, Metrics, Options, Parts};

use super::Services;
use crate::node::Surroundings;
use crate::part::Part;
use crate::{Role, StartError};

pub(super) fn start(around: &mut Surroundings, services: &mut Services) -> Result<Part, StartError> {
    let config = &around.config.dispatcher;
    let options = Options {
        account_concurrency: config.account_concurrency,
        placement_wait: Duration::from_millis(config.placement_wait_ms),
        ..Options::default()
    };
    let control = around.peers.control(services.control.clone())?;
    let workers = around.peers.workers(services.worker.clone())?;
    let metrics = Metrics::register(&mut around.registry);
    let (clock, entropy) = (around.clock.clone(), around.entropy.clone());
    let service = DispatcherService::build(options, Parts { control, workers, clock, entropy, metrics });
    services.invoke = Some(Arc::new(service.handle()));
    Ok(Part::start(Role::Dispatcher, |stop| service.run(stop)))
}
