//! The platform's own log lines, as text or JSON (facts: execution environment §4).

use std::fmt::Write;

use lambfold_api::control::FunctionVersion;
use lambfold_types::Timestamp;
use serde_json::{Value, json};

use crate::log_level::Level;
use crate::runtime_api::Shown;

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
}

/// Words the lines of one function.
#[derive(Clone, Debug)]
pub(crate) struct PlatformLog {
    json: bool,
    function_name: String,
    version: String,
    /// `python:3.12`
    runtime: String,
    memory_size_mb: u32,
    /// JSON only: system events below it are not shown. Text has those of level INFO.
    lowest: Level,
}

impl PlatformLog {
    pub(crate) fn new(function: &FunctionVersion) -> Self {
        let json = function.log_format == "JSON";
        Self {
            json,
            version: function.version.clone(),
            memory_size_mb: function.memory_size_mb,
            lowest: if json {
                Level::parse(&function.system_log_level).unwrap_or(Level::Info)
            } else {
                Level::Info
            },
            function_name: function.function_name.clone(),
            runtime: runtime_version(&function.runtime),
        }
    }

    /// Whether the function's log is JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    fn shows(&self, level: Level) -> bool {
        level >= self.lowest
    }

    /// When an environment is started.
    pub(crate) fn init_start(&self, environment_id: &str, now: Timestamp) -> Option<String> {
        if !self.shows(Level::Info) {
            return None;
        }
        if !self.json {
            return Some(format!("INIT_START Runtime Version: {}\t", self.runtime));
        }
        let record = json!({
            "initializationType": "on-demand",
            "phase": "init",
            "runtimeVersion": self.runtime,
            "functionName": self.function_name,
            "functionVersion": self.version,
            "instanceId": environment_id,
            "instanceMaxMemory": u64::from(self.memory_size_mb) << 20,
        });
        Some(event(now, "platform.initStart", &record))
    }

    /// When it is ready; JSON only, for who wants to know everything.
    pub(crate) fn init_done(&self, init_us: u64, now: Timestamp) -> Vec<String> {
        if !self.json || !self.shows(Level::Debug) {
            return Vec::new();
        }
        let done = json!({ "initializationType": "on-demand", "phase": "init", "status": "success" });
        let mut lines = vec![event(now, "platform.initRuntimeDone", &done)];
        lines.extend(self.init_report(init_us, "init", "success", None, now));
        lines
    }

    /// What became of an extension: `Ready`, or an error with its type.
    pub(crate) fn extension(
        &self,
        extension: &Shown,
        state: &str,
        error_type: Option<&str>,
        now: Timestamp,
    ) -> Option<String> {
        let Shown { name, events } = extension;
        if self.json {
            if !self.shows(if error_type.is_some() { Level::Warn } else { Level::Debug }) {
                return None;
            }
            let mut record = json!({ "name": name, "state": state, "events": events });
            if let Some(error_type) = error_type {
                record["errorType"] = error_type.into();
            }
            return Some(event(now, "platform.extension", &record));
        }
        let mut line = format!("EXTENSION\tName: {name}\tState: {state}\tEvents: [{}]", events.join(", "));
        if let Some(error_type) = error_type {
            let _ = write!(line, "\tError Type: {error_type}");
        }
        Some(line)
    }

    /// Before the event is delivered.
    pub(crate) fn start(&self, request_id: &str, trace_header: &str, now: Timestamp) -> Option<String> {
        if !self.shows(Level::Info) {
            return None;
        }
        Some(if self.json {
            let mut record = json!({ "requestId": request_id, "version": self.version });
            add_tracing(&mut record, trace_header);
            event(now, "platform.start", &record)
        } else {
            format!("START RequestId: {request_id} Version: {}", self.version)
        })
    }

    /// After it; text only.
    pub(crate) fn end(&self, request_id: &str) -> Option<String> {
        (!self.json).then(|| format!("END RequestId: {request_id}"))
    }

    /// When the runtime is through with it; JSON only.
    pub(crate) fn runtime_done(
        &self,
        request_id: &str,
        report: &Report<'_>,
        now: Timestamp,
    ) -> Option<String> {
        let level = if report.status.is_some() { Level::Warn } else { Level::Debug };
        if !self.json || !self.shows(level) {
            return None;
        }
        let mut record = json!({
            "requestId": request_id,
            "status": report.outcome(),
            "metrics": { "durationMs": rounded_milliseconds(report.duration_us) },
        });
        if let Some(error_type) = report.error_type {
            record["errorType"] = error_type.into();
        }
        add_tracing(&mut record, report.trace_header);
        Some(event(now, "platform.runtimeDone", &record))
    }

    /// At the end.
    pub(crate) fn report(&self, request_id: &str, report: &Report<'_>, now: Timestamp) -> Option<String> {
        // What went wrong is a warning.
        if !self.shows(if report.status.is_some() { Level::Warn } else { Level::Info }) {
            return None;
        }
        let billed = (report.duration_us + report.init_us).div_ceil(1000);
        let memory_used = report.memory_peak_bytes.div_ceil(1 << 20);
        if self.json {
            return Some(self.json_report(request_id, report, billed, memory_used, now));
        }
        let mut line = format!(
            "REPORT RequestId: {request_id}\tDuration: {}\tBilled Duration: {billed} ms\tMemory Size: {} MB\tMax Memory Used: {memory_used} MB\t",
            milliseconds(report.duration_us),
            self.memory_size_mb,
        );
        if report.init_us > 0 {
            let _ = write!(line, "Init Duration: {}\t", milliseconds(report.init_us));
        }
        // An error that the handler returned is no failure of the environment, and not shown.
        if let Some(status) = report.status {
            let _ = write!(line, "Status: {status}\t");
            if let Some(error_type) = report.error_type {
                let _ = write!(line, "Error Type: {error_type}\t");
            }
        }
        if let Some((trace_id, segment_id)) = sampled(report.trace_header) {
            let _ = write!(line, "\nXRAY TraceId: {trace_id}\tSegmentId: {segment_id}\tSampled: true\t");
        }
        Some(line)
    }

    fn json_report(
        &self,
        request_id: &str,
        report: &Report<'_>,
        billed: u64,
        memory_used: u64,
        now: Timestamp,
    ) -> String {
        let mut metrics = json!({
            "durationMs": rounded_milliseconds(report.duration_us),
            "billedDurationMs": billed,
            "memorySizeMB": self.memory_size_mb,
            "maxMemoryUsedMB": memory_used,
        });
        if report.init_us > 0 {
            metrics["initDurationMs"] = rounded_milliseconds(report.init_us);
        }
        let mut record = json!({ "requestId": request_id, "metrics": metrics, "status": report.outcome() });
        if let Some(error_type) = report.error_type {
            record["errorType"] = error_type.into();
        }
        add_tracing(&mut record, report.trace_header);
        event(now, "platform.report", &record)
    }

    /// Init failed, ran out of time, or ran again within an invocation.
    pub(crate) fn init_report(
        &self,
        init_us: u64,
        phase: &str,
        status: &str,
        error_type: Option<&str>,
        now: Timestamp,
    ) -> Option<String> {
        if self.json {
            if !self.shows(if status == "success" { Level::Debug } else { Level::Warn }) {
                return None;
            }
            let mut record = json!({
                "initializationType": "on-demand",
                "phase": phase,
                "status": status,
                "metrics": { "durationMs": rounded_milliseconds(init_us) },
            });
            if let Some(error_type) = error_type {
                record["errorType"] = error_type.into();
            }
            return Some(event(now, "platform.initReport", &record));
        }
        let mut line =
            format!("INIT_REPORT Init Duration: {}\tPhase: {phase}\tStatus: {status}", milliseconds(init_us));
        if let Some(error_type) = error_type {
            let _ = write!(line, "\tError Type: {error_type}");
        }
        Some(line)
    }
}

/// `python3.12` as runtime versions are written: `python:3.12`.
fn runtime_version(runtime: &str) -> String {
    let end = runtime.find(|it: char| it.is_ascii_digit() || it == '.').unwrap_or(runtime.len());
    let (name, version) = runtime.split_at(end);
    format!("{name}:{}", version.trim_start_matches('.'))
}

/// Trace and segment of a header that says that the trace is kept.
fn sampled(trace_header: &str) -> Option<(&str, &str)> {
    let field = |name: &str| {
        trace_header.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
    };
    (field("Sampled") == Some("1")).then_some(())?;
    Some((field("Root")?, field("Parent").unwrap_or_default()))
}

fn add_tracing(record: &mut Value, trace_header: &str) {
    if let Some((_, segment_id)) = sampled(trace_header) {
        record["tracing"] = json!({ "spanId": segment_id, "type": "X-Amzn-Trace-Id", "value": trace_header });
    }
}

fn event(now: Timestamp, kind: &str, record: &Value) -> String {
    json!({ "time": iso(now), "type": kind, "record": record }).to_string()
}

/// `1.52 ms`
fn milliseconds(us: u64) -> String {
    let hundredths = (us + 5) / 10;
    format!("{}.{:02} ms", hundredths / 100, hundredths % 100)
}

/// Milliseconds with three places, as telemetry has them.
fn rounded_milliseconds(us: u64) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "an invocation's microseconds fit in 53 bits")]
    let milliseconds = us as f64 / 1000.0;
    milliseconds.into()
}

/// `2026-01-02T03:04:05.678Z`
pub(crate) fn iso(time: Timestamp) -> String {
    time.utc("%Y-%m-%dT%H:%M:%S%.3fZ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(log_format: &str) -> FunctionVersion {
        FunctionVersion {
            version: "$LATEST".into(),
            memory_size_mb: 128,
            runtime: "python3.12".into(),
            log_format: log_format.into(),
            ..FunctionVersion::default()
        }
    }

    #[test]
    fn report_lines_have_the_fields_that_apply() {
        let log = PlatformLog::new(&function("Text"));
        let now = Timestamp::from_millis(0);
        let warm = Report { duration_us: 1_230, memory_peak_bytes: 35 << 20, ..Report::default() };
        assert_eq!(
            log.report("id", &warm, now).unwrap(),
            "REPORT RequestId: id\tDuration: 1.23 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\tMax Memory Used: 35 MB\t"
        );
        let cold =
            Report { init_us: 100_000, status: Some("error"), error_type: Some("Runtime.ExitError"), ..warm };
        assert_eq!(
            log.report("id", &cold, now).unwrap(),
            "REPORT RequestId: id\tDuration: 1.23 ms\tBilled Duration: 102 ms\tMemory Size: 128 MB\tMax Memory Used: 35 MB\tInit Duration: 100.00 ms\tStatus: error\tError Type: Runtime.ExitError\t"
        );
        assert_eq!(log.start("id", "", now).unwrap(), "START RequestId: id Version: $LATEST");
        assert_eq!(log.init_start("e", now).unwrap(), "INIT_START Runtime Version: python:3.12\t");
        let traced = Report { trace_header: "Root=1-5-6;Parent=53;Sampled=1", ..warm };
        let line = log.report("id", &traced, now).unwrap();
        assert!(line.ends_with("\t\nXRAY TraceId: 1-5-6\tSegmentId: 53\tSampled: true\t"), "{line}");
        let not = Report { trace_header: "Root=1-5-6;Sampled=0", ..warm };
        assert!(!log.report("id", &not, now).unwrap().contains("XRAY"));
    }

    #[test]
    fn json_functions_get_json_events() {
        let log = PlatformLog::new(&function("JSON"));
        let line =
            log.report("id", &Report { duration_us: 1500, ..Report::default() }, Timestamp::from_millis(0));
        let value: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(value["type"], "platform.report");
        assert_eq!(value["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(value["record"]["metrics"]["durationMs"], 1.5);
        assert_eq!(value["record"]["status"], "success");
        assert!(log.end("id").is_none());
    }

    #[test]
    fn the_system_level_chooses_events() {
        let of = |level: &str| {
            let function = FunctionVersion { system_log_level: level.into(), ..function("JSON") };
            let (log, now) = (PlatformLog::new(&function), Timestamp::from_millis(0));
            let fine = Report { duration_us: 1, ..Report::default() };
            let bad = Report { status: Some("timeout"), ..fine };
            let mut lines =
                vec![log.init_start("e", now), log.start("id", "Root=1-5-6;Parent=7;Sampled=1", now)];
            lines.extend(log.init_done(1, now).into_iter().map(Some));
            lines.extend([log.runtime_done("id", &fine, now), log.report("id", &fine, now)]);
            lines.push(log.report("id", &bad, now));
            lines
                .into_iter()
                .flatten()
                .map(|line| {
                    let value: Value = serde_json::from_str(&line).unwrap();
                    let kind = value["type"].as_str().unwrap().to_owned();
                    assert!(kind != "platform.start" || value["record"]["tracing"]["spanId"] == "7");
                    kind.replace("platform.", "")
                })
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(of("DEBUG"), "initStart start initRuntimeDone initReport runtimeDone report report");
        assert_eq!(of("INFO"), "initStart start report report");
        assert_eq!(of("WARN"), "report");
    }
}
