//! What serves a service over gRPC: context in, fault out, keyed calls remembered.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::calls::CarriedCall;
use super::keyed::Remembered;
use super::metadata;
use super::status::status_from_fault;
use crate::BoxStream;
use crate::context::CallContext;
use crate::fault::Fault;
use crate::interceptor::Input;
use crate::operation::{Operation, Retry};

/// Makes the context of a call from its metadata: a peer's is believed, a client's is authenticated.
pub trait ContextSource: Send + Sync + 'static {
    /// The context, or why the call is refused.
    fn context(&self, metadata: &MetadataMap) -> Result<CallContext, Fault>;
}

/// Shared by the services of one listener.
#[derive(Clone)]
pub struct RpcServer {
    source: Arc<dyn ContextSource>,
    remembered: Arc<Remembered>,
}

impl RpcServer {
    /// Takes the context of each call from `source`.
    pub fn new(source: Arc<dyn ContextSource>) -> Self {
        Self { source, remembered: Arc::new(Remembered::default()) }
    }

    /// One call, one answer.
    pub async fn unary<In, Out, F, Fut>(
        &self,
        operation: &'static Operation,
        request: Request<In>,
        call: F,
    ) -> Result<Response<Out>, Status>
    where
        In: Input,
        Out: Clone + Send + Sync + 'static,
        F: FnOnce(CallContext, In) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Out, Fault>> + Send + 'static,
    {
        let (ctx, id, input) = self.open(operation, request).map_err(|fault| status_from_fault(&fault))?;
        let outcome = self.answer(operation, id, async move { call(ctx, input).await }).await;
        outcome.map(Response::new).map_err(|fault| status_from_fault(&fault))
    }

    /// One call of a stream of calls: its encoded answer.
    pub async fn carried<In, Out, F, Fut>(&self, carried: CarriedCall, call: F) -> Result<Bytes, Fault>
    where
        In: Input + Default,
        Out: Message + Clone + 'static,
        F: FnOnce(CallContext, In) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Out, Fault>> + Send + 'static,
    {
        let CarriedCall { operation, ctx, id, input } = carried;
        if input.len() > operation.max_request_bytes {
            return Err(Fault::too_large(operation.max_request_bytes));
        }
        let input = In::decode(input).map_err(|error| {
            tracing::error!(operation = operation.name, %error, "a peer sent what is no request");
            Fault::internal()
        })?;
        let output = self.answer(operation, id, async move { call(ctx, input).await }).await?;
        Ok(output.encode_to_vec().into())
    }

    async fn answer<Out, Fut>(
        &self,
        operation: &'static Operation,
        id: Option<Uuid>,
        call: Fut,
    ) -> Result<Out, Fault>
    where
        Out: Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Out, Fault>> + Send + 'static,
    {
        match id {
            Some(id) if operation.retry == Retry::Keyed => self.remembered.once(operation, id, call).await,
            _ => call.await,
        }
    }

    /// One call, a stream of answers.
    pub async fn stream<In, Out, F, Fut>(
        &self,
        operation: &'static Operation,
        request: Request<In>,
        call: F,
    ) -> Result<Response<BoxStream<Result<Out, Status>>>, Status>
    where
        In: Input,
        Out: Send + 'static,
        F: FnOnce(CallContext, In) -> Fut + Send + 'static,
        Fut: Future<Output = Result<BoxStream<Result<Out, Fault>>, Fault>> + Send + 'static,
    {
        let (ctx, _, input) = self.open(operation, request).map_err(|fault| status_from_fault(&fault))?;
        let stream = call(ctx, input).await.map_err(|fault| status_from_fault(&fault))?;
        Ok(Response::new(Box::pin(stream.map(|item| item.map_err(|fault| status_from_fault(&fault))))))
    }

    fn open<In: Input>(
        &self,
        operation: &'static Operation,
        request: Request<In>,
    ) -> Result<(CallContext, Option<Uuid>, In), Fault> {
        let ctx = self.source.context(request.metadata())?;
        let id = metadata::operation_id(request.metadata());
        let input = request.into_inner();
        if input.encoded_len() > operation.max_request_bytes {
            return Err(Fault::too_large(operation.max_request_bytes));
        }
        Ok((ctx, id, input))
    }
}
