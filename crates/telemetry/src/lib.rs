//! Logs and traces: one subscriber, one propagator, one memory of recent traces.
//!
//! A trace is followed only when its caller asked for it (`traceparent` or `X-Amzn-Trace-Id` with the sampled
//! flag), or when an OTLP endpoint is configured and the gateway begins one for each request. All else costs a
//! comparison: [`span!`] makes no span without a sampled trace.
//!
//! [`TraceContext`](lambfold_api::TraceContext) is what travels, over HTTP, gRPC and in messages; this crate joins
//! it to `tracing` spans, which the OpenTelemetry layer turns into exported ones.

mod export;
mod recorder;
mod span;
mod subscriber;

pub use recorder::{RecordedTraces, SpanRecorder};
pub use span::{link, trace_of};
pub use subscriber::{InitError, LogFormat, Options, Telemetry};

#[doc(hidden)]
pub mod private {
    //! What the macros need at their call sites.
    pub use crate::span::{child, root};
    pub use tracing;
}

/// The `tracing` target of spans that make up traces; logs do not show them.
pub const TRACE_TARGET: &str = "lambfold_trace";

/// A span of the trace `$trace: Option<TraceContext>`, if it is sampled; no span otherwise. Fields as in
/// [`tracing::info_span!`], with dotted names in quotes.
#[macro_export]
macro_rules! span {
    ($trace:expr, $name:literal $(, $($fields:tt)*)?) => {{
        let trace: Option<::lambfold_api::TraceContext> = $trace;
        match trace {
            Some(trace) if trace.sampled => $crate::private::child(
                $crate::private::tracing::info_span!(
                    target: "lambfold_trace", parent: None, $name $(, $($fields)*)?
                ),
                trace,
            ),
            _ => $crate::private::tracing::Span::none(),
        }
    }};
}

/// The first span of a new trace.
#[macro_export]
macro_rules! root_span {
    ($name:literal $(, $($fields:tt)*)?) => {
        $crate::private::root($crate::private::tracing::info_span!(
            target: "lambfold_trace", parent: None, $name $(, $($fields)*)?
        ))
    };
}
