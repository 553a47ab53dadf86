//! The dispatcher as a service.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambfold_api::control::{Control, FunctionVersion};
use lambfold_api::lambda::{
    InvocationRequest, InvocationResponse, InvokeWithResponseStreamFrame, InvokeWithResponseStreamRequest,
    LambdaInvoke,
};
use lambfold_api::worker::{InvokeResponse, Worker};
use lambfold_api::{BoxStream, CallContext, Fault, FunctionTarget, TraceContext};
use lambfold_telemetry::{span, trace_of};
use lambfold_types::{Clock, Entropy, Qualifier, RunFuture};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::faults;
use crate::follow;
use crate::invocation::{Invocation, Piece};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::provision;
use crate::request;
use crate::shared::Shared;
use crate::streamed;

/// How long the end of a streamed answer waits for a reader that has stopped reading.
const END_PATIENCE: Duration = Duration::from_secs(30);

/// Pieces of a streamed answer between a worker and who reads it, of 64 KiB at most.
const PIECES_WAITING: usize = 8;

/// What a dispatcher is built from.
pub struct Parts {
    /// Where functions are known from.
    pub control: Arc<dyn Control>,
    /// Where they run.
    pub workers: Vec<Arc<dyn Worker>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// What is counted.
    pub metrics: Metrics,
}

/// The data plane of invoke.
pub struct DispatcherService {
    handle: DispatcherHandle,
    control: Arc<dyn Control>,
}

/// The way in; clones are the same dispatcher.
#[derive(Clone)]
pub struct DispatcherHandle {
    shared: Arc<Shared>,
}

impl DispatcherService {
    /// Makes a dispatcher that knows nothing yet; [`run`](Self::run) makes it hear.
    pub fn build(options: Options, parts: Parts) -> Self {
        let Parts { control, workers, clock, entropy, metrics } = parts;
        let shared = Shared::new(options, workers, clock, entropy, metrics);
        Self { handle: DispatcherHandle { shared: Arc::new(shared) }, control }
    }

    /// The way in.
    pub fn handle(&self) -> DispatcherHandle {
        self.handle.clone()
    }

    /// Follows control and the workers until it is stopped; then lets what runs finish.
    pub fn run(self, shutdown: CancellationToken) -> RunFuture {
        Box::pin(self.work(shutdown))
    }

    async fn work(self, shutdown: CancellationToken) {
        let shared = self.handle.shared;
        let mut following = tokio::task::JoinSet::new();
        following.spawn(follow::control(Arc::clone(&shared), Arc::clone(&self.control)));
        for worker in 0..shared.workers.len() {
            following.spawn(follow::worker(Arc::clone(&shared), worker, Arc::clone(&self.control)));
        }
        following.spawn(provision::run(Arc::clone(&shared), Arc::clone(&self.control)));
        shutdown.cancelled().await;
        shared.stopping.cancel();
        shared.tasks.close();
        shared.tasks.wait().await;
    }
}

#[async_trait::async_trait]
impl LambdaInvoke for DispatcherHandle {
    async fn invoke(&self, ctx: &CallContext, input: InvocationRequest) -> Result<InvocationResponse, Fault> {
        let invocation_type = input.invocation_type.clone();
        let admitted = self.admit(ctx, input).await?;
        match invocation_type.as_deref() {
            None | Some("" | "RequestResponse") => {}
            Some("DryRun") => return Ok(InvocationResponse { status_code: Some(204), ..Default::default() }),
            Some(_) => return Err(faults::asynchronous()),
        }
        let executed_version = admitted.invocation.function.version.clone();
        let response = self.run(admitted.invocation).instrument(admitted.span).await?;
        Ok(answer(response, executed_version))
    }

    async fn invoke_with_response_stream(
        &self,
        ctx: &CallContext,
        input: InvokeWithResponseStreamRequest,
    ) -> Result<BoxStream<Result<InvokeWithResponseStreamFrame, Fault>>, Fault> {
        let dry_run = input.invocation_type.as_deref() == Some("DryRun");
        let admitted = self.admit(ctx, streamed::as_invocation(input)).await?;
        let executed_version = admitted.invocation.function.version.clone();
        if dry_run {
            return Ok(streamed::dry_run(executed_version));
        }
        let (stream, mut pieces) = mpsc::channel(PIECES_WAITING);
        let invocation = Invocation { stream: Some(stream.clone()), ..admitted.invocation };
        let shared = Arc::clone(&self.shared);
        // In a task of its own, as every invocation: it counts until it is over, whoever still reads.
        let task = async move {
            let outcome = Box::pin(invocation.run(&shared)).await;
            // Who does not read for so long does not hear the end; the answer breaks off.
            tokio::select! {
                _ = stream.send(Piece::End(outcome)) => {}
                () = shared.clock.sleep_until(shared.clock.now() + END_PATIENCE) => {}
            }
        };
        self.shared.tasks.spawn(task.instrument(admitted.span));
        match pieces.recv().await {
            // What fails before anything was answered is a fault of the call.
            Some(Piece::End(Err(fault))) => Err(fault),
            Some(first) => Ok(streamed::frames(executed_version, first, pieces)),
            None => Err(Fault::internal()),
        }
    }
}

/// An invocation that has passed all checks, and its span.
struct Admitted {
    invocation: Invocation,
    span: Span,
}

impl DispatcherHandle {
    /// Checks a request, in the order in which AWS does.
    async fn admit(&self, ctx: &CallContext, input: InvocationRequest) -> Result<Admitted, Fault> {
        let shared = &self.shared;
        let name = input.function_name.as_deref().unwrap_or_default();
        let target = FunctionTarget::read(ctx, name, input.qualifier.as_deref())?;
        request::check_size(input.payload.as_ref())?;
        let function = self.find(&target).await?;
        match function.state.as_str() {
            "Pending" | "Failed" => return Err(faults::not_invocable(&function.state)),
            _ => {}
        }
        let payload = request::event(input.payload)?;
        let client_context = request::client_context(input.client_context.as_deref())?;
        if shared.stopping.is_cancelled() {
            return Err(Fault::unavailable());
        }
        let span = span!(
            ctx.trace, "dispatcher.invoke",
            "faas.invoked_name" = %target.name,
            "faas.version" = %function.version,
            "faas.invocation_id" = %ctx.request_id,
            "cloud.account.id" = %target.scope.account,
            "cloud.region" = %target.scope.region,
        );
        // A function always gets a trace header, as on AWS.
        let trace = trace_of(&span)
            .or(ctx.trace)
            .unwrap_or_else(|| TraceContext::unsampled(self.shared.clock.now(), &*self.shared.entropy));
        let invocation = Invocation {
            ctx: ctx.with_trace(Some(trace)),
            function,
            arn: target.arn(),
            payload,
            client_context,
            log_tail: input.log_type.as_deref() == Some("Tail"),
            stream: None,
        };
        Ok(Admitted { invocation, span })
    }

    /// In a task of its own: when the caller goes, the invocation still counts until it is over.
    async fn run(&self, invocation: Invocation) -> Result<InvokeResponse, Fault> {
        let (sender, receiver) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let task = async move {
            let outcome = Box::pin(invocation.run(&shared)).await;
            let _ = sender.send(outcome);
        };
        self.shared.tasks.spawn(task.in_current_span());
        receiver.await.unwrap_or_else(|_| Err(Fault::internal()))
    }

    /// Looks the function up. One that is not known may have been made this moment, and one that is Pending may have
    /// become Active: news of it are waited for, briefly; longer while control is not heard.
    async fn find(&self, target: &FunctionTarget) -> Result<Arc<FunctionVersion>, Fault> {
        let shared = &self.shared;
        let qualifier = target.qualifier.clone().unwrap_or(Qualifier::Latest);
        let name = (target.scope.clone(), target.name.to_string());
        let share = self.share();
        let mut news = shared.news();
        let began = shared.clock.now();
        loop {
            news.borrow_and_update();
            let (found, patience) = {
                let functions = shared.functions();
                let wait = if functions.is_synced() {
                    shared.options.news_wait
                } else {
                    shared.options.control_wait
                };
                (functions.resolve(&name, &qualifier, share), wait)
            };
            if let Some(function) = found.as_ref().filter(|function| function.state != "Pending") {
                return Ok(Arc::clone(function));
            }
            let no_news = tokio::select! {
                changed = news.changed() => changed.is_err(),
                () = shared.clock.sleep_until(began + patience) => true,
            };
            if no_news {
                return found.ok_or_else(|| faults::not_found(target));
            }
        }
    }

    /// Where in an alias's traffic a call falls: from 0, less than 1.
    fn share(&self) -> f64 {
        let mut bytes = [0; 4];
        self.shared.entropy.fill(&mut bytes);
        f64::from(u32::from_be_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
    }
}

fn answer(response: InvokeResponse, executed_version: String) -> InvocationResponse {
    let present = |text: String| (!text.is_empty()).then_some(text);
    InvocationResponse {
        status_code: Some(200),
        function_error: present(response.function_error),
        log_result: present(STANDARD.encode(&response.log_tail)),
        payload: Some(response.payload),
        executed_version: Some(executed_version),
        durable_execution_arn: None,
    }
}
