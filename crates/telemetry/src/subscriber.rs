//! The process's subscriber: logs to standard error, traces to the recorder and, if asked for, to OTLP.

use std::str::FromStr;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SdkTracerProvider};
use tracing_subscriber::filter::{EnvFilter, FilterFn};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use crate::TRACE_TARGET;
use crate::export::Told;
use crate::recorder::SpanRecorder;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is no log format: use text or json")),
        }
    }
}

/// What a process logs and traces, and where to.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which events are logged, as `tracing_subscriber`'s filter directives; `info` if empty.
    pub log_filter: String,
    /// Where spans go over OTLP/gRPC, such as `http://localhost:4317`; nowhere if absent.
    pub otlp_endpoint: Option<String>,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter directives do not parse.
    #[error("the log filter does not parse")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The OTLP endpoint is no URL, or the exporter cannot be built.
    #[error("the OTLP exporter cannot be set up")]
    Otlp(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The process has a subscriber already.
    #[error("logging was set up twice")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// The installed subscriber. Call [`Telemetry::shutdown`] last, so that spans that wait are exported.
#[derive(Debug)]
pub struct Telemetry {
    recorder: SpanRecorder,
    provider: SdkTracerProvider,
    exports: bool,
}

impl Telemetry {
    /// Installs the process's subscriber. Within a tokio runtime if spans are exported.
    pub fn init(options: &Options) -> Result<Self, InitError> {
        let recorder = SpanRecorder::default();
        let resource = Resource::builder().with_service_name("lambfold").build();
        let mut provider = SdkTracerProvider::builder()
            .with_id_generator(XRayIds(RandomIdGenerator::default()))
            .with_resource(resource)
            .with_span_processor(recorder.clone());
        if let Some(endpoint) = &options.otlp_endpoint {
            let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
            provider = provider.with_batch_exporter(Told::new(exporter, endpoint));
        }
        let provider = provider.build();

        let directives = if options.log_filter.is_empty() { "info" } else { &options.log_filter };
        let filter: EnvFilter = directives.parse()?;
        let writer = BoxMakeWriter::new(std::io::stderr);
        let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours);
        let lines: Box<dyn Layer<Registry> + Send + Sync> = match options.log_format {
            LogFormat::Text => lines.with_target(false).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        let not_traces = FilterFn::new(|metadata| metadata.target() != TRACE_TARGET);
        let only_traces = FilterFn::new(|metadata| metadata.target() == TRACE_TARGET);
        let traces = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("lambfold"))
            .with_location(false)
            .with_threads(false)
            .with_filter(only_traces);
        tracing_subscriber::registry()
            .with(lines.with_filter(filter).with_filter(not_traces))
            .with(traces)
            .try_init()?;
        Ok(Self { recorder, provider, exports: options.otlp_endpoint.is_some() })
    }

    /// The memory of recent traces.
    pub fn recorder(&self) -> SpanRecorder {
        self.recorder.clone()
    }

    /// Whether requests that bring no trace begin one.
    pub fn traces_every_request(&self) -> bool {
        self.exports
    }

    /// Exports what waits. Blocks for some seconds at most; not to be called from an async task.
    pub fn shutdown(self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

/// Trace ids as X-Ray wants them: the first 32 bits are the time in seconds, so that `Root=1-<time>-<rest>` is one.
#[derive(Debug)]
struct XRayIds(RandomIdGenerator);

impl IdGenerator for XRayIds {
    #[expect(clippy::disallowed_methods, reason = "ids of traces carry wall time; nothing is decided by it")]
    fn new_trace_id(&self) -> opentelemetry::TraceId {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let mut bytes = self.0.new_trace_id().to_bytes();
        bytes[..4].copy_from_slice(&u32::try_from(now.as_secs()).unwrap_or(u32::MAX).to_be_bytes());
        opentelemetry::TraceId::from_bytes(bytes)
    }

    fn new_span_id(&self) -> opentelemetry::SpanId {
        self.0.new_span_id()
    }
}
