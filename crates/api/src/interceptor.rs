//! What stands around a service: at the public edge, validation and authorisation; on the local path, the same
//! limits that the remote one has.

use std::future::Future;
use std::sync::Arc;

use lambfold_types::Clock;
use tokio::select;

use crate::authorize::{Authorizer, Resource};
use crate::context::CallContext;
use crate::fault::Fault;
use crate::operation::Operation;

/// Wraps every call of a service; the generated `…Via` adapters apply it.
pub trait Interceptor: Send + Sync + 'static {
    /// Runs `call` with `input`, or refuses.
    fn around<In, Out, F, Fut>(
        &self,
        operation: &'static Operation,
        ctx: &CallContext,
        input: In,
        call: F,
    ) -> impl Future<Output = Result<Out, Fault>> + Send
    where
        In: Input,
        Out: Send,
        F: FnOnce(In) -> Fut + Send,
        Fut: Future<Output = Result<Out, Fault>> + Send;
}

/// What an interceptor may ask of an input. Generated: AWS shapes have constraints and members by name, messages
/// between our own roles have neither.
pub trait Input: prost::Message + Clone + Send + Sync + 'static {
    /// Refuses an input that breaks a constraint of the contract.
    fn check(&self, operation: &'static Operation) -> Result<(), Fault> {
        let _ = operation;
        Ok(())
    }

    /// The string member of that AWS name.
    fn member(&self, name: &str) -> Option<&str> {
        let _ = name;
        None
    }
}

/// The local path: deadline and request size as over gRPC. Cancellation is that of the future.
pub struct LocalCall {
    clock: Arc<dyn Clock>,
}

impl LocalCall {
    /// Takes the deadline by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

impl Interceptor for LocalCall {
    async fn around<In, Out, F, Fut>(
        &self,
        operation: &'static Operation,
        ctx: &CallContext,
        input: In,
        call: F,
    ) -> Result<Out, Fault>
    where
        In: Input,
        Out: Send,
        F: FnOnce(In) -> Fut + Send,
        Fut: Future<Output = Result<Out, Fault>> + Send,
    {
        if input.encoded_len() > operation.max_request_bytes {
            return Err(Fault::too_large(operation.max_request_bytes));
        }
        let Some(deadline) = ctx.deadline else { return call(input).await };
        select! {
            biased;
            outcome = call(input) => outcome,
            () = self.clock.sleep_until(deadline) => Err(Fault::deadline_exceeded()),
        }
    }
}

/// The public edge: constraints first, then authorisation, then the service (order of checks: facts, Lambda API
/// §1). HTTP and gRPC both come through here.
pub struct PublicEdge {
    authorizer: Arc<dyn Authorizer>,
}

impl PublicEdge {
    /// Asks `authorizer` for every call.
    pub fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self { authorizer }
    }
}

impl Interceptor for PublicEdge {
    async fn around<In, Out, F, Fut>(
        &self,
        operation: &'static Operation,
        ctx: &CallContext,
        input: In,
        call: F,
    ) -> Result<Out, Fault>
    where
        In: Input,
        Out: Send,
        F: FnOnce(In) -> Fut + Send,
        Fut: Future<Output = Result<Out, Fault>> + Send,
    {
        input.check(operation)?;
        let resource =
            Resource { operation, scope: &ctx.scope, member: input.member(operation.resource_member) };
        self.authorizer.authorize(ctx, operation, &resource)?;
        call(input).await
    }
}
