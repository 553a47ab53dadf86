//! The memory of recent traces, bounded: what `/_lambfold/traces/<id>` and the demo's summary show.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use lambfold_api::telemetry::{GetTraceRequest, GetTraceResponse, Link, Span, Traces};
use lambfold_api::{CallContext, Fault};
use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanProcessor};

/// Traces that are kept; the oldest goes first.
const MOST_TRACES: usize = 512;
/// Spans kept of one trace; a trace of more is shown by its first ones.
const MOST_SPANS: usize = 512;

/// Keeps the spans of the last traces in memory.
#[derive(Clone, Debug, Default)]
pub struct SpanRecorder {
    traces: Arc<Mutex<Recorded>>,
}

#[derive(Debug, Default)]
struct Recorded {
    spans: HashMap<String, Vec<Span>>,
    order: VecDeque<String>,
}

impl SpanRecorder {
    /// The spans of the trace, and those of other traces that link to it; earliest first.
    pub fn spans(&self, trace_id: &str) -> Vec<Span> {
        let recorded = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
        let own = recorded.spans.get(trace_id).into_iter().flatten();
        let linked = recorded
            .spans
            .iter()
            .filter(|(id, _)| id.as_str() != trace_id)
            .flat_map(|(_, spans)| spans)
            .filter(|span| span.links.iter().any(|link| link.trace_id == trace_id));
        let mut spans: Vec<Span> = own.chain(linked).cloned().collect();
        spans.sort_by_key(|span| (span.start_us, span.end_us));
        spans
    }

    fn record(&self, span: Span) {
        let mut recorded = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
        if !recorded.spans.contains_key(&span.trace_id) {
            recorded.order.push_back(span.trace_id.clone());
            if recorded.order.len() > MOST_TRACES
                && let Some(oldest) = recorded.order.pop_front()
            {
                recorded.spans.remove(&oldest);
            }
        }
        let spans = recorded.spans.entry(span.trace_id.clone()).or_default();
        if spans.len() < MOST_SPANS {
            spans.push(span);
        }
    }
}

impl SpanProcessor for SpanRecorder {
    fn on_start(&self, _: &mut opentelemetry_sdk::trace::Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        let mut attributes: std::collections::BTreeMap<String, String> = span
            .attributes
            .iter()
            .map(|attribute| (attribute.key.to_string(), attribute.value.to_string()))
            .collect();
        // What tracing adds about the source line says nothing to a reader of the trace.
        attributes
            .retain(|key, _| !key.starts_with("code.") && !key.starts_with("thread.") && key != "target");
        self.record(Span {
            trace_id: span.span_context.trace_id().to_string(),
            span_id: span.span_context.span_id().to_string(),
            parent_span_id: match span.parent_span_id {
                opentelemetry::trace::SpanId::INVALID => String::new(),
                id => id.to_string(),
            },
            role: span.name.split('.').next().unwrap_or_default().to_owned(),
            name: span.name.into_owned(),
            start_us: micros(span.start_time),
            end_us: micros(span.end_time),
            attributes,
            links: span
                .links
                .iter()
                .map(|link| Link {
                    trace_id: link.span_context.trace_id().to_string(),
                    span_id: link.span_context.span_id().to_string(),
                })
                .collect(),
        });
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

fn micros(time: SystemTime) -> i64 {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)
}

/// The recorder as a service for peers.
#[derive(Clone, Debug)]
pub struct RecordedTraces(pub SpanRecorder);

#[async_trait::async_trait]
impl Traces for RecordedTraces {
    async fn get_trace(&self, _: &CallContext, input: GetTraceRequest) -> Result<GetTraceResponse, Fault> {
        Ok(GetTraceResponse { spans: self.0.spans(&input.trace_id) })
    }
}
