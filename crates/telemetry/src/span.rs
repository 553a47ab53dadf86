//! Joins our [`TraceContext`] to the spans of `tracing`.

use lambfold_api::TraceContext;
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Makes `span` a child of `trace`. Called by `span!` before the span starts.
pub fn child(span: Span, trace: TraceContext) -> Span {
    let parent = Context::new().with_remote_span_context(span_context(trace));
    // Fails only where no OpenTelemetry layer is installed: then there is nothing to be a child in.
    let _ = span.set_parent(parent);
    span
}

/// Makes `span` the first of a new trace. Called by `root_span!`.
pub fn root(span: Span) -> Span {
    let _ = span.set_parent(Context::new());
    span
}

/// The place of `span` in its trace: what goes with calls made inside it. `None` if there is no such span.
pub fn trace_of(span: &Span) -> Option<TraceContext> {
    if span.is_none() {
        return None;
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| TraceContext {
        trace_id: u128::from_be_bytes(context.trace_id().to_bytes()),
        span_id: u64::from_be_bytes(context.span_id().to_bytes()),
        sampled: context.is_sampled(),
    })
}

/// Says that `span` has to do with another trace: a batch with each of its messages' senders.
pub fn link(span: &Span, to: TraceContext) {
    span.add_link(span_context(to));
}

fn span_context(trace: TraceContext) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(trace.trace_id.to_be_bytes()),
        SpanId::from_bytes(trace.span_id.to_be_bytes()),
        if trace.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() },
        true,
        TraceState::NONE,
    )
}
