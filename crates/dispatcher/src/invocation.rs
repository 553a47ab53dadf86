//! One invocation: counted, placed, given to a worker, perhaps placed again, and counted no longer before its caller
//! has the answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use lambfold_api::control::FunctionVersion;
use lambfold_api::worker::invoke_frame::Frame;
use lambfold_api::worker::{InvokeFrame, InvokeRequest, InvokeResponse};
use lambfold_api::{BoxStream, CallContext, Fault};
use lambfold_types::Timestamp;
use tokio::sync::{mpsc, oneshot};

use crate::concurrency::{Exhausted, Share};
use crate::faults;
use crate::metrics::InvocationOutcome;
use crate::placement::{Fate, Grant, Need, Placed};
use crate::shared::Shared;

/// Environments that may be gone before an invocation has begun, one after another.
const MOST_PLACEMENTS: u32 = 10;
/// What a call of a worker may take beyond the function's own time: package, both inits, and some air.
const INVOKE_SLACK: Duration = Duration::from_mins(2);
/// The wait before a full worker is asked again.
const FULL_WAIT: Duration = Duration::from_millis(50);
/// When to come back after a throttle.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An invocation that has passed all checks.
pub(crate) struct Invocation {
    pub(crate) ctx: CallContext,
    pub(crate) function: Arc<FunctionVersion>,
    pub(crate) arn: String,
    pub(crate) payload: Bytes,
    pub(crate) client_context: String,
    pub(crate) log_tail: bool,
    /// Where the answer goes as it comes; without it, it comes whole.
    pub(crate) stream: Option<AnswerStream>,
}

/// The way of an answer to a caller that wants it as it comes.
pub(crate) type AnswerStream = mpsc::Sender<Piece>;

/// Part of a streamed answer.
pub(crate) enum Piece {
    /// The function has begun to answer; the content type that it named, or nothing.
    Head(String),
    /// Bytes of the answer.
    Bytes(Bytes),
    /// How the invocation ended. An answer that did not come in pieces is in it.
    End(Result<InvokeResponse, Fault>),
}

/// Counts an invocation for as long as it is held.
struct Admitted<'a> {
    shared: &'a Arc<Shared>,
    share: Share,
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.shared.metrics.in_flight.dec();
        self.shared.board(|board| (board.concurrency.leave(&self.share), Vec::new()));
    }
}

impl Invocation {
    /// Runs it to its end, whether somebody still waits for that or not.
    pub(crate) async fn run(self, shared: &Arc<Shared>) -> Result<InvokeResponse, Fault> {
        let outcome = self.admitted(shared).await;
        shared.metrics.invocation(match &outcome {
            Ok(response) if response.function_error.is_empty() => InvocationOutcome::Success,
            Ok(_) => InvocationOutcome::FunctionError,
            Err(fault) if fault.http_status() == 429 => InvocationOutcome::Throttled,
            Err(_) => InvocationOutcome::Fault,
        });
        outcome
    }

    async fn admitted(&self, shared: &Arc<Shared>) -> Result<InvokeResponse, Fault> {
        let name = (self.ctx.scope.clone(), self.function.function_name.clone());
        let limits = shared.functions().limits(&name, &self.function, shared.options.account_concurrency);
        let configuration = self.function.configuration_id.as_str().into();
        let admitted =
            shared.board(|board| (board.concurrency.admit(&name, &configuration, limits), Vec::new()));
        let share = admitted.map_err(|exhausted| match exhausted {
            Exhausted::Reserved => faults::reserved_exhausted(RETRY_AFTER),
            Exhausted::Account => faults::throttled(RETRY_AFTER),
        })?;
        shared.metrics.in_flight.inc();
        let _admitted = Admitted { shared, share };
        let patience = shared.clock.now() + shared.options.placement_wait;
        // Where a function may have so many environments, one that is still at work is to be waited for.
        let may_wait = limits.reserved.is_some();
        let (mut placements, mut settled) = (0, false);
        while placements < MOST_PLACEMENTS {
            let grant = self.place(shared, patience, settled).await?;
            let fault = match self.call(shared, &grant, may_wait).await {
                Ok(response) => {
                    let fate = match &response {
                        InvokeResponse { environment_gone: true, .. } => Fate::Gone,
                        InvokeResponse { lingers: true, .. } => Fate::Lingers,
                        _ => Fate::Idle,
                    };
                    shared.act(|placement| placement.finish(&grant.environment, fate));
                    return Ok(response);
                }
                Err(fault) => fault,
            };
            let is_busy = fault.code() == "EnvironmentBusy";
            let fate = if is_busy { Fate::Busy } else { Fate::Gone };
            shared.act(|placement| placement.finish(&grant.environment, fate));
            // Each is refused once by one that is busy, and then has others before it.
            placements += u32::from(!is_busy);
            settled |= is_busy;
            match fault.code() {
                "EnvironmentBusy" if shared.clock.now() >= patience => {
                    return Err(faults::throttled(RETRY_AFTER));
                }
                "EnvironmentGone" | "EnvironmentBusy" => {
                    shared.metrics.placed_again.inc();
                    tracing::debug!(
                        environment = &*grant.environment,
                        request.id = %self.ctx.request_id,
                        is_busy,
                        "gone before the invocation began, or not free yet: placing it again"
                    );
                }
                "CapacityExceeded" if shared.clock.now() < patience => {
                    shared.clock.sleep_until(shared.clock.now() + FULL_WAIT).await;
                }
                "CapacityExceeded" => return Err(faults::throttled(RETRY_AFTER)),
                _ => return Err(self.interrupted(fault)),
            }
        }
        Err(Fault::unavailable())
    }

    /// Waits for an environment, but not for ever; with `settled`, rather for a new one than for one that may be at work still.
    async fn place(&self, shared: &Arc<Shared>, patience: Timestamp, settled: bool) -> Result<Grant, Fault> {
        let configuration = self.function.configuration_id.as_str();
        let memory_mb = self.function.memory_size_mb;
        let need = Need { configuration: configuration.into(), memory_mb, settled };
        let placed = shared.board(|board| {
            let (placed, effects) = board.placement.place(need);
            let placed = match placed {
                Placed::Now(grant) => Ok(grant),
                Placed::Wait(ticket) => {
                    let (sender, receiver) = oneshot::channel();
                    board.waiting.insert(ticket, sender);
                    Err((ticket, receiver))
                }
            };
            (placed, effects)
        });
        let (ticket, mut receiver) = match placed {
            Ok(grant) => return Ok(grant),
            Err(waiting) => waiting,
        };
        tokio::select! {
            biased;
            grant = &mut receiver => grant.map_err(|_| Fault::internal()),
            () = shared.clock.sleep_until(patience) => {
                let memory_mb = self.function.memory_size_mb;
                let (has_workers, is_too_large) = shared.board(|board| {
                    if board.waiting.remove(&ticket).is_some() {
                        board.placement.give_up(ticket, configuration);
                    }
                    let placement = &board.placement;
                    ((placement.has_workers(), placement.is_too_large(memory_mb)), Vec::new())
                });
                if has_workers && is_too_large {
                    tracing::warn!(
                        function.name = %self.function.function_name,
                        memory_mb,
                        "no worker can ever run it: give workers more memory (worker.memory_mib, worker.max_environments), or the function less"
                    );
                }
                // Granted at the last moment, perhaps.
                receiver.try_recv().map_err(|_| {
                    if has_workers { faults::throttled(RETRY_AFTER) } else { Fault::unavailable() }
                })
            }
        }
    }

    async fn call(&self, shared: &Shared, grant: &Grant, may_wait: bool) -> Result<InvokeResponse, Fault> {
        if grant.cold {
            shared.metrics.cold_starts.inc();
        }
        let timeout = Duration::from_secs(self.function.timeout_seconds.into());
        let ctx = CallContext {
            // The caller's patience is not the function's: what has begun runs to its end.
            deadline: Some(shared.clock.now() + timeout + INVOKE_SLACK),
            ..self.ctx.clone()
        };
        let request = InvokeRequest {
            environment_id: grant.environment.to_string(),
            function: grant.cold.then(|| (*self.function).clone()),
            request_id: self.ctx.request_id.to_string(),
            payload: self.payload.clone(),
            invoked_function_arn: self.arn.clone(),
            client_context: self.client_context.clone(),
            trace_header: self.ctx.amzn_trace().unwrap_or_default(),
            log_tail: self.log_tail,
            incarnation: grant.incarnation.clone(),
            may_wait,
        };
        let worker = &shared.workers[grant.worker];
        match &self.stream {
            None => worker.invoke(&ctx, request).await,
            Some(stream) => {
                let passing = async { pass_on(worker.invoke_stream(&ctx, request).await?, stream).await };
                let deadline = ctx.deadline.unwrap_or_else(|| shared.clock.now());
                tokio::select! {
                    outcome = passing => outcome,
                    // Who reads has stopped reading, most likely; or the worker hangs.
                    () = shared.clock.sleep_until(deadline) => Err(Fault::deadline_exceeded()),
                }
            }
        }
    }

    /// What the caller is told of a fault that says nothing of whether the function ran. Never to be tried again by us.
    fn interrupted(&self, fault: Fault) -> Fault {
        match fault.code() {
            // Worded for the caller by the worker.
            "InvalidRuntimeException" | "ServiceException" => fault,
            _ => {
                tracing::error!(
                    %fault,
                    request.id = %self.ctx.request_id,
                    function.name = %self.function.function_name,
                    "a worker did not answer an invocation"
                );
                faults::interrupted()
            }
        }
    }
}

/// Passes the pieces of an answer on, in the pace of who reads them, up to its end. When nobody reads them any more,
/// the rest is dropped: the function runs on.
async fn pass_on(
    mut frames: BoxStream<Result<InvokeFrame, Fault>>,
    stream: &AnswerStream,
) -> Result<InvokeResponse, Fault> {
    while let Some(frame) = frames.next().await {
        let piece = match frame?.frame {
            Some(Frame::Head(head)) => Piece::Head(head.content_type),
            Some(Frame::Chunk(bytes)) => Piece::Bytes(bytes),
            Some(Frame::End(response)) => return Ok(response),
            None => continue,
        };
        let _ = stream.send(piece).await;
    }
    Err(Fault::unavailable())
}
