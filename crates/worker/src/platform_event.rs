//! What the platform has to tell of an environment, and the records in which the Telemetry API, JSON logs and the older Logs
//! API have it (AWS: Lambda Telemetry API Event schema reference).

use lambfold_types::Timestamp;
use serde_json::{Value, json};

use crate::log_level::Level;
use crate::platform_log::{iso, sampled};
use crate::runtime_api::Shown;
use crate::telemetry::{Api, Kind};

/// What all events of a function share.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) function_name: String,
    pub(crate) version: String,
    pub(crate) initialization_type: String,
    /// `python:3.12`; empty for images, which have none.
    pub(crate) runtime: String,
    /// Of the runtime version, if that is known.
    pub(crate) runtime_arn: Option<String>,
    pub(crate) memory_size_mb: u32,
}

/// What REPORT tells of an invocation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report<'a> {
    pub(crate) duration_us: u64,
    /// Zero for a warm call: then it is left out.
    pub(crate) init_us: u64,
    pub(crate) memory_peak_bytes: u64,
    /// `timeout` or `error`, where the platform had to end it.
    pub(crate) status: Option<&'static str>,
    pub(crate) error_type: Option<&'a str>,
    /// As the function got it; empty for none.
    pub(crate) trace_header: &'a str,
}

impl Report<'_> {
    /// As telemetry has it.
    fn outcome(&self) -> &'static str {
        self.status.unwrap_or(if self.error_type.is_some() { "failure" } else { "success" })
    }

    pub(crate) fn billed_ms(&self) -> u64 {
        (self.duration_us + self.init_us).div_ceil(1000)
    }

    pub(crate) fn memory_used_mb(&self) -> u64 {
        self.memory_peak_bytes.div_ceil(1 << 20)
    }
}

/// When parts of an invocation were, for its spans.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerTimes {
    pub(crate) started: Timestamp,
    /// From the start to the answer's first byte, from there to its last, from there until the runtime was ready again.
    pub(crate) parts_us: [u64; 3],
    pub(crate) produced_bytes: usize,
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PlatformEvent<'a> {
    /// An environment is started; `phase`: `init`, or `invoke` for the second attempt.
    InitStart { environment_id: &'a str, phase: &'static str },
    /// The runtime is ready, or never will be.
    InitRuntimeDone { phase: &'static str, status: &'static str, error_type: Option<&'a str> },
    /// All of it is, with extensions.
    InitReport { init_us: u64, phase: &'static str, status: &'static str, error_type: Option<&'a str> },
    /// What became of an extension: `Ready`, or an error with its type.
    Extension { extension: &'a Shown, state: &'a str, error_type: Option<&'a str> },
    /// An extension subscribed.
    Subscription { api: Api, name: &'a str, types: &'a [Kind] },
    /// Before the event is delivered.
    Start { request_id: &'a str, trace_header: &'a str },
    /// The runtime is through with it.
    RuntimeDone { request_id: &'a str, report: &'a Report<'a>, answer: Option<AnswerTimes> },
    /// After it; of text and the Logs API only.
    End { request_id: &'a str },
    /// How the platform words a failure; of text and the Logs API only.
    Fault { text: &'a str },
    /// At the end.
    Report { request_id: &'a str, report: &'a Report<'a> },
}

impl PlatformEvent<'_> {
    /// Its type in the Telemetry API, if it is there.
    pub(crate) fn kind(&self) -> Option<&'static str> {
        Some(match self {
            Self::InitStart { .. } => "platform.initStart",
            Self::InitRuntimeDone { .. } => "platform.initRuntimeDone",
            Self::InitReport { .. } => "platform.initReport",
            Self::Extension { .. } => "platform.extension",
            Self::Subscription { api: Api::Telemetry, .. } => "platform.telemetrySubscription",
            Self::Subscription { api: Api::Logs, .. } => "platform.logsSubscription",
            Self::Start { .. } => "platform.start",
            Self::RuntimeDone { .. } => "platform.runtimeDone",
            Self::Report { .. } => "platform.report",
            Self::End { .. } | Self::Fault { .. } => return None,
        })
    }

    /// Its level in JSON logs: what went wrong is a warning.
    pub(crate) fn level(&self) -> Level {
        let or_warn = |fine: bool, level| if fine { level } else { Level::Warn };
        match self {
            Self::InitStart { .. } | Self::Start { .. } => Level::Info,
            Self::InitRuntimeDone { status, .. } | Self::InitReport { status, .. } => {
                or_warn(*status == "success", Level::Debug)
            }
            Self::Extension { error_type, .. } => or_warn(error_type.is_none(), Level::Debug),
            Self::RuntimeDone { report, .. } => or_warn(report.status.is_none(), Level::Debug),
            Self::Report { report, .. } => or_warn(report.status.is_none(), Level::Info),
            Self::Subscription { .. } | Self::End { .. } | Self::Fault { .. } => Level::Debug,
        }
    }

    /// Its record there.
    pub(crate) fn record(&self, about: &About) -> Value {
        match *self {
            Self::InitStart { environment_id, phase } => {
                let mut record = json!({
                    "initializationType": about.initialization_type,
                    "phase": phase,
                    "functionName": about.function_name,
                    "functionVersion": about.version,
                    "instanceId": environment_id,
                    "instanceMaxMemory": u64::from(about.memory_size_mb) << 20,
                });
                if !about.runtime.is_empty() {
                    record["runtimeVersion"] = about.runtime.as_str().into();
                }
                if let Some(arn) = &about.runtime_arn {
                    record["runtimeVersionArn"] = arn.as_str().into();
                }
                record
            }
            Self::InitRuntimeDone { phase, status, error_type } => {
                let record = json!({ "initializationType": about.initialization_type, "phase": phase, "status": status });
                with_error(record, error_type)
            }
            Self::InitReport { init_us, phase, status, error_type } => {
                let record = json!({
                    "initializationType": about.initialization_type,
                    "phase": phase,
                    "status": status,
                    "metrics": { "durationMs": milliseconds(init_us) },
                });
                with_error(record, error_type)
            }
            Self::Extension { extension: Shown { name, events }, state, error_type } => {
                with_error(json!({ "name": name, "state": state, "events": events }), error_type)
            }
            Self::Subscription { name, types, .. } => {
                let types: Vec<&str> = types.iter().map(|kind| kind.as_str()).collect();
                json!({ "name": name, "state": "Subscribed", "types": types })
            }
            Self::Start { request_id, trace_header } => {
                with_tracing(json!({ "requestId": request_id, "version": about.version }), trace_header)
            }
            Self::RuntimeDone { request_id, report, answer } => {
                let mut metrics = json!({ "durationMs": milliseconds(report.duration_us) });
                let mut record = json!({ "requestId": request_id, "status": report.outcome() });
                if let Some(answer) = answer {
                    metrics["producedBytes"] = answer.produced_bytes.into();
                    record["spans"] = spans(answer);
                }
                record["metrics"] = metrics;
                with_tracing(with_error(record, report.error_type), report.trace_header)
            }
            Self::Report { request_id, report } => {
                let record = json!({
                    "requestId": request_id,
                    "metrics": metrics(about, report),
                    "status": report.outcome(),
                });
                with_tracing(with_error(record, report.error_type), report.trace_header)
            }
            Self::End { request_id } => json!({ "requestId": request_id }),
            Self::Fault { text } => text.into(),
        }
    }

    /// Type and record in the Logs API, if it has it.
    pub(crate) fn logs_record(&self, about: &About) -> Option<(&'static str, Value)> {
        Some(match *self {
            Self::InitStart { .. } | Self::InitRuntimeDone { .. } | Self::InitReport { .. } => return None,
            Self::Extension { .. } | Self::Subscription { .. } | Self::Start { .. } => {
                (self.kind()?, self.record(about))
            }
            Self::RuntimeDone { request_id, report, .. } => {
                ("platform.runtimeDone", json!({ "requestId": request_id, "status": report.outcome() }))
            }
            Self::End { .. } => ("platform.end", self.record(about)),
            Self::Fault { .. } => ("platform.fault", self.record(about)),
            Self::Report { request_id, report } => {
                let record = json!({ "requestId": request_id, "metrics": metrics(about, report) });
                ("platform.report", with_tracing(record, report.trace_header))
            }
        })
    }
}

fn metrics(about: &About, report: &Report<'_>) -> Value {
    let mut metrics = json!({
        "durationMs": milliseconds(report.duration_us),
        "billedDurationMs": report.billed_ms(),
        "memorySizeMB": about.memory_size_mb,
        "maxMemoryUsedMB": report.memory_used_mb(),
    });
    if report.init_us > 0 {
        metrics["initDurationMs"] = milliseconds(report.init_us);
    }
    metrics
}

fn spans(answer: AnswerTimes) -> Value {
    let names = ["responseLatency", "responseDuration", "runtimeOverhead"];
    let mut start = answer.started;
    let spans = names.into_iter().zip(answer.parts_us).map(|(name, us)| {
        let span = json!({ "name": name, "start": iso(start), "durationMs": milliseconds(us) });
        start = start + std::time::Duration::from_micros(us);
        span
    });
    spans.collect()
}

fn with_error(mut record: Value, error_type: Option<&str>) -> Value {
    if let Some(error_type) = error_type {
        record["errorType"] = error_type.into();
    }
    record
}

fn with_tracing(mut record: Value, trace_header: &str) -> Value {
    if let Some((_, segment_id)) = sampled(trace_header) {
        record["tracing"] = json!({ "spanId": segment_id, "type": "X-Amzn-Trace-Id", "value": trace_header });
    }
    record
}

/// With three places.
fn milliseconds(us: u64) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "an invocation's microseconds fit in 53 bits")]
    let milliseconds = us as f64 / 1000.0;
    milliseconds.into()
}
