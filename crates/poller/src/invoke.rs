//! One batch: invoke the function, judge its answer, delete what was processed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lambfold_api::lambda::{InvocationRequest, InvocationResponse};
use lambfold_api::{Fault, TraceContext};
use lambfold_types::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::backoff::Backoff;
use crate::batch::{Batch, Message};
use crate::event;
use crate::mapping::Mapping;
use crate::metrics::{BatchOutcome, MessageOutcome, Metrics};
use crate::response::{Verdict, judge};
use crate::shared::Shared;
use crate::source::Source;

/// What an invocation may take beyond the function's own timeout: placement and a cold start.
const INVOKE_SLACK: Duration = Duration::from_mins(1);

/// How a batch ended, for the mapping that began it.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Processed, wholly or in part.
    Processed,
    /// The function failed.
    FunctionFailed,
    /// Throttled until the messages' time was up.
    Throttled,
    /// The invocation could not be made.
    NotInvoked,
    /// Nothing came of it: handed back, or out of time.
    Dropped,
}

/// What it takes to run a batch.
pub(crate) struct BatchRun {
    pub(crate) shared: Arc<Shared>,
    pub(crate) source: Arc<Source>,
    pub(crate) mapping: Arc<Mapping>,
    /// Told of every throttled attempt, so that the mapping slows down while this batch still tries.
    pub(crate) throttled: mpsc::Sender<()>,
    /// Cancelled when what is throttled shall not be tried again but handed back.
    pub(crate) winding_down: CancellationToken,
}

impl BatchRun {
    /// Runs the batch to its end.
    pub(crate) async fn run(self, batch: Batch) -> Ending {
        let _in_flight = InFlight::new(&self.shared.metrics);
        // One of the senders' traces becomes the parent; the batch belongs to all of them.
        let sampled = batch.iter().filter_map(|it| it.trace).find(|trace| trace.sampled);
        let parent = sampled.or_else(|| batch.iter().find_map(|it| it.trace));
        let span = lambfold_telemetry::span!(
            sampled,
            "poller.batch",
            "queue.name" = %self.mapping.queue.resource,
            "function.name" = %self.mapping.function_name,
            "messaging.batch.message_count" = batch.len(),
            outcome = tracing::field::Empty,
        );
        for trace in batch.iter().filter_map(|it| it.trace) {
            lambfold_telemetry::link(&span, trace);
        }
        let trace = lambfold_telemetry::trace_of(&span).or(parent);
        let (ending, outcome) = self.attempt(batch, trace).instrument(span.clone()).await;
        self.finish(&span, outcome);
        ending
    }

    fn finish(&self, span: &Span, outcome: BatchOutcome) {
        span.record("outcome", tracing::field::debug(outcome));
        self.shared.metrics.batch(outcome);
    }

    async fn attempt(&self, mut batch: Batch, trace: Option<TraceContext>) -> (Ending, BatchOutcome) {
        let metrics = &self.shared.metrics;
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        loop {
            let had = batch.len();
            let now = self.shared.clock.now();
            // Whoever receives it next may have begun with it already.
            batch.retain(|message| message.visible_at > now);
            metrics.messages(MessageOutcome::Expired, had - batch.len());
            let Some(latest) = batch.iter().map(|it| it.visible_at).max() else {
                return (Ending::Dropped, BatchOutcome::Expired);
            };
            let fault = match self.invoke(event::event(batch.iter().map(|it| &it.record)), trace).await {
                Ok(response) => return self.judged(&response, batch, trace).await,
                Err(fault) => fault,
            };
            if !matches!(fault.http_status(), 429 | 503) {
                tracing::warn!(
                    function.name = self.mapping.function_name,
                    mapping.uuid = self.mapping.uuid,
                    %fault,
                    "a batch could not be invoked"
                );
                metrics.messages(MessageOutcome::Left, batch.len());
                return (Ending::NotInvoked, BatchOutcome::InvokeError);
            }
            metrics.throttles.inc();
            // When the channel is full the mapping knows already.
            let _ = self.throttled.try_send(());
            let wait = backoff.failed(&*self.shared.entropy).max(fault.retry_after().unwrap_or_default());
            let again_at: Timestamp = self.shared.clock.now() + wait;
            if again_at >= latest {
                metrics.messages(MessageOutcome::Left, batch.len());
                return (Ending::Throttled, BatchOutcome::Throttled);
            }
            tokio::select! {
                biased;
                () = self.winding_down.cancelled() => {
                    self.source.hand_back(&batch).await;
                    metrics.messages(MessageOutcome::HandedBack, batch.len());
                    return (Ending::Dropped, BatchOutcome::HandedBack);
                }
                () = self.shared.clock.sleep_until(again_at) => {}
            }
        }
    }

    async fn invoke(&self, event: Bytes, trace: Option<TraceContext>) -> Result<InvocationResponse, Fault> {
        let mapping = &self.mapping;
        let timeout = self.shared.timeouts.get(&mapping.scope, &mapping.function_name, &mapping.qualifier());
        let ctx = self.shared.context(&mapping.scope, trace, timeout + INVOKE_SLACK);
        let input = InvocationRequest {
            function_name: Some(mapping.function_name.clone()),
            qualifier: mapping.qualifier.clone(),
            invocation_type: Some("RequestResponse".to_owned()),
            payload: Some(event),
            ..InvocationRequest::default()
        };
        self.shared.bounded(&ctx, self.shared.invoke.invoke(&ctx, input)).await
    }

    async fn judged(
        &self,
        response: &InvocationResponse,
        batch: Batch,
        trace: Option<TraceContext>,
    ) -> (Ending, BatchOutcome) {
        let metrics = &self.shared.metrics;
        let ids: Vec<&str> = batch.iter().map(|it| it.id.as_str()).collect();
        let verdict = match &response.function_error {
            Some(_) => Verdict::Failure("the function failed"),
            None => judge(
                response.payload.as_deref().unwrap_or_default(),
                &ids,
                self.mapping.report_batch_item_failures,
            ),
        };
        let (failed, outcome) = match verdict {
            Verdict::Success => (BTreeSet::new(), BatchOutcome::Success),
            Verdict::Partial(failed) => (failed, BatchOutcome::PartialFailure),
            Verdict::Failure(reason) => {
                tracing::info!(
                    function.name = self.mapping.function_name,
                    mapping.uuid = self.mapping.uuid,
                    messages = batch.len(),
                    reason,
                    "a batch failed; its messages come back after their visibility timeout"
                );
                metrics.messages(MessageOutcome::Left, batch.len());
                return (Ending::FunctionFailed, BatchOutcome::FunctionError);
            }
        };
        metrics.messages(MessageOutcome::Left, failed.len());
        let processed: Vec<Message> =
            batch.into_iter().enumerate().filter(|(at, _)| !failed.contains(at)).map(|(_, it)| it).collect();
        let undeleted = self.source.delete(trace, &processed).await;
        metrics.messages(MessageOutcome::NotDeleted, undeleted);
        metrics.messages(MessageOutcome::Deleted, processed.len() - undeleted);
        (Ending::Processed, outcome)
    }
}

/// Counts a batch as in flight, also when its task is cut off.
struct InFlight(Metrics);

impl InFlight {
    fn new(metrics: &Metrics) -> Self {
        metrics.in_flight.inc();
        Self(metrics.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}
