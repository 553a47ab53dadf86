//! Any node answers for any queue: a call about a queue that another node owns is passed on to it, whole, and its answer
//! returned (DESIGN §3, many nodes).

use std::sync::Arc;
use std::time::Duration;

use lambfold_api::interceptor::Input;
use lambfold_api::operation::{Operation, ResourceKind, Retry};
use lambfold_api::rpc::PassOnError;
use lambfold_api::{CallContext, Fault};
use lambfold_types::{Arn, Clock, QueueName, Scope};
use prost::Message;

use super::operations::TaskHandle;
use super::{faults, queue_url};
use crate::{Error, PeerNodes, QueueHandle};

/// For how long a call looks for the owner: longer than a lease, so that callers see a slow answer where a node dies.
const PATIENCE: Duration = Duration::from_secs(8);

/// Between attempts; the owner tasks ask the store as often.
const PAUSE: Duration = Duration::from_millis(200);

/// How often a call that was passed on looks whether the node that has it still owns the queue.
const DOUBT: Duration = Duration::from_secs(1);

/// Finds the node that answers for a queue.
#[derive(Clone)]
pub(super) struct Router {
    nodes: Arc<dyn PeerNodes>,
    clock: Arc<dyn Clock>,
}

/// Where a call goes.
pub(super) enum Routed<In, Out> {
    /// It is this node's.
    Here(In),
    /// Another node answered it.
    Answered(Out),
}

impl Router {
    pub(super) fn new(nodes: Arc<dyn PeerNodes>, clock: Arc<dyn Clock>) -> Self {
        Self { nodes, clock }
    }

    /// Passes the call on if it is about a queue that another node owns.
    pub(super) async fn route<In, Out>(
        &self,
        engine: &QueueHandle,
        operation: &'static Operation,
        ctx: &CallContext,
        input: In,
    ) -> Result<Routed<In, Out>, Fault>
    where
        In: Input,
        Out: Message + Default + 'static,
    {
        let Some((scope, name)) = subject(operation, ctx, &input) else { return Ok(Routed::Here(input)) };
        let patience = self.clock.now() + PATIENCE;
        let give_up = ctx.deadline.map_or(patience, |deadline| deadline.min(patience));
        loop {
            match owner(engine, &scope, &name).await {
                Ok(None) => return Ok(Routed::Here(input)),
                Ok(Some(_)) if ctx.passed_on => return Err(faults::owner_changes()),
                Ok(Some(address)) => {
                    let Some(rpc) = self.nodes.rpc(&address) else { return Err(Fault::unavailable()) };
                    let lost = tokio::select! {
                        biased;
                        answer = rpc.pass_on(operation, ctx, input.clone()) => match answer {
                            Ok(output) => return Ok(Routed::Answered(output)),
                            Err(PassOnError::NotSent) => false,
                            Err(PassOnError::Answered(fault)) if faults::is_owner_changes(&fault) => false,
                            Err(PassOnError::Answered(fault)) => return Err(fault),
                            Err(PassOnError::Lost) => true,
                        },
                        () = self.until_lost(engine, &scope, &name, &address) => true,
                    };
                    // What may have been done is only asked for again if that does no harm.
                    if lost && operation.retry != Retry::Idempotent {
                        return Err(Fault::unavailable());
                    }
                }
                Err(Error::OwnerChanges | Error::OwnedElsewhere(_)) => {}
                Err(error) => return Err(faults::of_engine(&error, name.as_str())),
            }
            let again = self.clock.now() + PAUSE;
            if again >= give_up {
                return Err(faults::owner_changes());
            }
            self.clock.sleep_until(again).await;
        }
    }

    /// Completes when the node at `address` does not own the queue any more: it may hang, and never answer.
    async fn until_lost(&self, engine: &QueueHandle, scope: &Scope, name: &QueueName, address: &str) {
        loop {
            self.clock.sleep_until(self.clock.now() + DOUBT).await;
            match owner(engine, scope, name).await {
                Ok(Some(owner)) if &*owner == address => {}
                Ok(_) => return,
                // Nothing is known: the call may yet be answered.
                Err(_) => {}
            }
        }
    }
}

/// The address of the node that owns the queue of that name; `None` if this one does, or there is no such queue.
async fn owner(engine: &QueueHandle, scope: &Scope, name: &QueueName) -> Result<Option<Arc<str>>, Error> {
    if let Ok(known) = engine.queue(scope, name) {
        match engine.locate(&known).await {
            Err(Error::NoSuchQueue) => {}
            located => return located,
        }
    }
    // It may be new, or deleted and made again, by another node.
    engine.catch_up().await?;
    match engine.queue(scope, name) {
        Ok(queue) => engine.locate(&queue).await,
        Err(_) => Ok(None),
    }
}

/// The queue that a call is about, as far as it names one; whether the name is right is for the operation to say.
fn subject<In: Input>(
    operation: &'static Operation,
    ctx: &CallContext,
    input: &In,
) -> Option<(Scope, QueueName)> {
    let named = || input.member(operation.resource_member);
    match operation.resource {
        ResourceKind::QueueUrl => queue_url::parse(ctx, named()?).ok(),
        ResourceKind::Arn => of_arn(named()?),
        ResourceKind::Service => of_arn(&TaskHandle::decode(input.member("TaskHandle")?)?.source_arn),
        _ => None,
    }
}

fn of_arn(text: &str) -> Option<(Scope, QueueName)> {
    let arn: Arn = text.parse().ok()?;
    let name = arn.resource.parse().ok()?;
    Some((arn.scope, name))
}
