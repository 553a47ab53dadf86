//! Calls to a service in another process.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use lambfold_types::{Clock, Entropy, Timestamp, uuid_v4};
use prost::Message;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use uuid::Uuid;

use super::carriage::{self, Carriage};
use super::head;
use super::metadata;
use super::status::{fault_from_status, status_from_fault};
use crate::BoxStream;
use crate::context::CallContext;
use crate::fault::Fault;
use crate::http_path;
use crate::interceptor::Input;
use crate::operation::{Operation, Retry};

/// How long and how often a call is tried again while the other side is away.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// The time over all attempts.
    pub patience: Duration,
    /// The wait after the first failure; doubles with each further one.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    /// Long enough for a restart of the other side, short enough for a client that waits.
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(10),
            first_wait: Duration::from_millis(5),
            longest_wait: Duration::from_millis(250),
        }
    }
}

/// A peer. Cheap to clone; the channel connects when it is first used and again whenever it has to.
#[derive(Clone)]
pub struct RpcClient {
    channel: Channel,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    token: Option<MetadataValue<Ascii>>,
    retry: RetryPolicy,
    carriage: Arc<Carriage>,
    /// Milliseconds since the epoch.
    older_peer_until: Arc<AtomicI64>,
}

/// How long a peer without a stream of calls is not asked for one again.
const OLDER_PEER_FOR: Duration = Duration::from_secs(30);

impl RpcClient {
    /// Calls over `channel`.
    pub fn new(channel: Channel, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let (carriage, older_peer_until) = (Arc::default(), Arc::default());
        Self {
            channel,
            clock,
            entropy,
            token: None,
            retry: RetryPolicy::default(),
            carriage,
            older_peer_until,
        }
    }

    /// Proves membership of the cluster by `token`.
    pub fn with_token(mut self, token: Option<MetadataValue<Ascii>>) -> Self {
        self.token = token;
        self
    }

    /// Tries as `retry` says.
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// One call, one answer; again after a lost connection if the operation's retry rule allows it.
    pub async fn unary<In, Out>(
        &self,
        operation: &'static Operation,
        ctx: &CallContext,
        input: In,
    ) -> Result<Out, Fault>
    where
        In: Input,
        Out: Message + Default + 'static,
    {
        if input.encoded_len() > operation.max_request_bytes {
            return Err(Fault::too_large(operation.max_request_bytes));
        }
        let id = (operation.retry == Retry::Keyed).then(|| uuid_v4(&*self.entropy));
        let give_up = self.clock.now() + self.retry.patience;
        let mut wait = self.retry.first_wait;
        loop {
            let status = match self.attempt(operation, ctx, id, input.clone()).await {
                Ok(output) => return Ok(output),
                Err(status) => status,
            };
            let again = self.clock.now() + wait;
            let patient = again < give_up && ctx.deadline.is_none_or(|deadline| again < deadline);
            if !(patient && may_retry(operation, &status)) {
                return Err(fault_from_status(&status));
            }
            tracing::debug!(operation = operation.name, %status, "peer is away, trying again");
            self.clock.sleep_until(again).await;
            wait = (wait * 2).min(self.retry.longest_wait);
        }
    }

    /// One attempt at a call that was this process's to answer, and is the peer's instead. Says apart whether the peer
    /// got it, so that the caller may try elsewhere.
    pub async fn pass_on<In, Out>(
        &self,
        operation: &'static Operation,
        ctx: &CallContext,
        input: In,
    ) -> Result<Out, PassOnError>
    where
        In: Input,
        Out: Message + Default + 'static,
    {
        let id = (operation.retry == Retry::Keyed).then(|| uuid_v4(&*self.entropy));
        self.attempt(operation, &ctx.to_pass_on(), id, input).await.map_err(|status| {
            if was_not_sent(&status) {
                PassOnError::NotSent
            } else if is_lost(&status) {
                PassOnError::Lost
            } else {
                PassOnError::Answered(fault_from_status(&status))
            }
        })
    }

    /// One call, a stream of answers. Not retried: whoever consumes a stream knows where it stood.
    pub async fn stream<In, Out>(
        &self,
        operation: &'static Operation,
        ctx: &CallContext,
        input: In,
    ) -> Result<BoxStream<Result<Out, Fault>>, Fault>
    where
        In: Input,
        Out: Message + Default + 'static,
    {
        let mut grpc = self.grpc(operation);
        grpc.ready().await.map_err(|_| Fault::unavailable())?;
        let codec = ProstCodec::<In, Out>::default();
        let request = self.request(ctx, None, self.timeout(ctx)?, input);
        let answer = grpc
            .server_streaming(request, http_path(operation.rpc_path), codec)
            .await
            .map_err(|status| fault_from_status(&status))?;
        Ok(Box::pin(answer.into_inner().map(|item| item.map_err(|status| fault_from_status(&status)))))
    }

    /// By the stream of calls if the peer knows that and the input is not large, else by the operation's own rpc.
    async fn attempt<In, Out>(
        &self,
        operation: &'static Operation,
        ctx: &CallContext,
        id: Option<Uuid>,
        input: In,
    ) -> Result<Out, Status>
    where
        In: Input,
        Out: Message + Default + 'static,
    {
        let timeout = self.timeout(ctx).map_err(|fault| status_from_fault(&fault))?;
        if input.encoded_len() <= carriage::LARGEST_INPUT && !self.is_older_peer() {
            let head = head::head(ctx, id, timeout);
            let bytes = input.encode_to_vec().into();
            let carried =
                self.carriage.carry(&self.channel, self.token.as_ref(), operation.rpc_path, head, bytes);
            match self.until(ctx.deadline, carried).await {
                Ok(Ok(output)) => {
                    return Out::decode(output).map_err(|error| Status::internal(error.to_string()));
                }
                Ok(Err(fault)) => return Err(status_from_fault(&fault)),
                Err(status) if status.code() != Code::Unimplemented => return Err(status),
                Err(_) => self.note_older_peer(),
            }
        }
        let mut grpc = self.grpc(operation);
        grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        let codec = ProstCodec::<In, Out>::default();
        let request = self.request(ctx, id, timeout, input);
        grpc.unary(request, http_path(operation.rpc_path), codec).await.map(tonic::Response::into_inner)
    }

    async fn until<T>(
        &self,
        deadline: Option<Timestamp>,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let Some(deadline) = deadline else { return call.await };
        tokio::select! {
            biased;
            outcome = call => outcome,
            () = self.clock.sleep_until(deadline) => Err(status_from_fault(&Fault::deadline_exceeded())),
        }
    }

    /// Whether the peer was found to be of a release that has no stream of calls, a little while ago: while releases
    /// change, it may soon be a newer one.
    fn is_older_peer(&self) -> bool {
        self.older_peer_until.load(Ordering::Relaxed) > self.clock.now().millis()
    }

    fn note_older_peer(&self) {
        let until = self.clock.now() + OLDER_PEER_FOR;
        self.older_peer_until.store(until.millis(), Ordering::Relaxed);
    }

    fn grpc(&self, operation: &Operation) -> Grpc<Channel> {
        Grpc::new(self.channel.clone())
            .max_decoding_message_size(operation.max_response_bytes.max(4 << 20))
            .max_encoding_message_size(operation.max_request_bytes.max(4 << 20))
    }

    fn timeout(&self, ctx: &CallContext) -> Result<Option<Duration>, Fault> {
        match ctx.deadline.map(|deadline| deadline.since(self.clock.now())) {
            Some(left) if left.is_zero() => Err(Fault::deadline_exceeded()),
            left => Ok(left),
        }
    }

    fn request<In>(
        &self,
        ctx: &CallContext,
        id: Option<Uuid>,
        timeout: Option<Duration>,
        input: In,
    ) -> Request<In> {
        let mut request = Request::new(input);
        metadata::inject(ctx, request.metadata_mut());
        if let Some(id) = id {
            metadata::inject_operation_id(id, request.metadata_mut());
        }
        if let Some(token) = &self.token {
            metadata::inject_token(token, request.metadata_mut());
        }
        if let Some(left) = timeout {
            request.set_timeout(left);
        }
        request
    }
}

/// What came of [`RpcClient::pass_on`].
#[derive(Debug)]
pub enum PassOnError {
    /// The peer cannot be reached: it never saw the call.
    NotSent,
    /// The connection broke: the peer may or may not have done what was asked.
    Lost,
    /// The peer refused, or failed.
    Answered(Fault),
}

fn may_retry(operation: &Operation, status: &Status) -> bool {
    is_lost(status) && operation.retry != Retry::AtMostOnce
}

/// A connection that was refused or broke shows as `Unavailable` without a detail of ours, or as a transport error.
fn is_lost(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled)
        && status.details().is_empty()
}

fn was_not_sent(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
