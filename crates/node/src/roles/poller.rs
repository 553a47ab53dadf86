//! Event source mappings.

use std::time::Duration;

use lambfold_poller::{Metrics, Options, PollerService};

use super::Services;
use crate::node::Surroundings;
use crate::part::Part;
use crate::{Role, StartError};

pub(super) fn start(around: &mut Surroundings, services: &Services) -> Result<Part, StartError> {
    let options = Options {
        max_concurrency: usize::try_from(around.config.poller.max_concurrency).unwrap_or(usize::MAX),
        stop_within: Duration::from_secs(around.config.stop_within_seconds.saturating_sub(1)),
    };
    let control = around.peers.control(services.control.clone())?;
    let sqs = around.peers.sqs(services.sqs.clone())?;
    let invoke = around.peers.invoke(services.invoke.clone())?;
    let metrics = Metrics::register(&mut around.registry);
    let (clock, entropy) = (around.clock.clone(), around.entropy.clone());
    let service = PollerService::build(options, control, sqs, invoke, clock, entropy, metrics);
    Ok(Part::start(Role::Poller, |stop| service.run(stop)))
}
