//! Which node answers a call of SQS ([`crate::routing`]), and its way there.

use std::sync::Arc;

use lambfold_api::interceptor::Input;
use lambfold_api::operation::{Operation, ResourceKind, Retry};
use lambfold_api::rpc::PassOnError;
use lambfold_api::{CallContext, Fault};
use lambfold_types::{Arn, Clock, QueueName, Scope};
use prost::Message;

use super::operations::TaskHandle;
use super::{faults, queue_url};
use crate::routing::{NotPassedOn, Route, Unrouted};
use crate::{PeerNodes, QueueHandle};

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
        let route = Route {
            scope: &scope,
            name: &name,
            deadline: ctx.deadline,
            passed_on: ctx.passed_on,
            repeatable: operation.retry == Retry::Idempotent,
        };
        let pass_on = |address: Arc<str>| {
            let (rpc, again) = (self.nodes.rpc(&address), input.clone());
            async move {
                let rpc = rpc.ok_or_else(|| NotPassedOn::Refused(Fault::unavailable()))?;
                rpc.pass_on(operation, ctx, again).await.map_err(|error| match error {
                    PassOnError::NotSent => NotPassedOn::NotSent,
                    PassOnError::Answered(fault) if faults::is_owner_changes(&fault) => {
                        NotPassedOn::OwnerChanges
                    }
                    PassOnError::Answered(fault) => NotPassedOn::Refused(fault),
                    PassOnError::Lost => NotPassedOn::Lost,
                })
            }
        };
        match route.answer(engine, &*self.clock, pass_on).await {
            Ok(Some(output)) => Ok(Routed::Answered(output)),
            Ok(None) => Ok(Routed::Here(input)),
            Err(Unrouted::Engine(error)) => Err(faults::of_engine(&error, name.as_str())),
            Err(Unrouted::Refused(fault)) => Err(fault),
            Err(Unrouted::Lost) => Err(Fault::unavailable()),
        }
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
