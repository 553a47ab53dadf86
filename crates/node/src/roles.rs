//! How each role is put together from settings, stores and the services that it calls.

mod control;
mod debugger;
mod dispatcher;
mod gateway;
mod hot_reload;
mod logs;
mod network;
mod packages;
mod peer;
mod poller;
mod queue;
mod worker;

use std::path::Path;
use std::sync::Arc;

use lambfold_api::control::Control;
use lambfold_api::lambda::{Lambda, LambdaInvoke};
use lambfold_api::logs::Logs;
use lambfold_api::logstore::LogIntake;
use lambfold_api::queue::QueuePeers;
use lambfold_api::sqs::{Sqs, SqsPeek};
use lambfold_api::worker::Worker;
use lambfold_config::Config;

pub(crate) use gateway::start as gateway;
pub(crate) use peer::start as peer_listener;

use crate::node::{Isolation, Surroundings};
use crate::part::Part;
use crate::{Role, StartError};

/// The services that run in this node.
#[derive(Default)]
pub(crate) struct Services {
    pub(crate) sqs: Option<Arc<dyn Sqs>>,
    pub(crate) peek: Option<Arc<dyn SqsPeek>>,
    /// What other queue nodes ask.
    pub(crate) queue_peers: Option<Arc<dyn QueuePeers>>,
    pub(crate) lambda: Option<Arc<dyn Lambda>>,
    pub(crate) control: Option<Arc<dyn Control>>,
    pub(crate) invoke: Option<Arc<dyn LambdaInvoke>>,
    pub(crate) worker: Option<Arc<dyn Worker>>,
    pub(crate) logs: Option<Arc<dyn Logs>>,
    /// What workers deliver to.
    pub(crate) log_intake: Option<Arc<dyn LogIntake>>,
    pub(crate) isolation: Option<Isolation>,
}

/// Starts a role behind the edge.
pub(crate) async fn start(
    role: Role,
    around: &mut Surroundings,
    services: &mut Services,
) -> Result<Part, StartError> {
    match role {
        Role::Queue => queue::start(around, services).await,
        Role::Control => control::start(around, services).await,
        Role::Logs => logs::start(around, services).await,
        Role::Worker => worker::start(around, services).await,
        Role::Dispatcher => dispatcher::start(around, services),
        Role::Poller => poller::start(around, services),
        Role::Gateway => unreachable!("the gateway starts last, with its listeners"),
    }
}

/// Brings the stores under `data_dir` to this version's schema.
pub(crate) fn migrate(config: &Config, data_dir: &Path) -> Result<(), StartError> {
    queue::open(&config.queue, data_dir)?;
    control::open(data_dir)?;
    logs::open(data_dir)?;
    Ok(())
}
