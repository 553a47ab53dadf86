//! The platform's own log lines, as text or JSON (facts: execution environment §4).

use std::fmt::Write;

use lambfold_api::control::FunctionVersion;
use lambfold_types::Timestamp;
use serde_json::{Value, json};

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
}

/// Words the lines of one function.
#[derive(Clone, Debug)]
pub(crate) struct PlatformLog {
    json: bool,
    version: String,
    memory_size_mb: u32,
    /// JSON only: system events of level INFO are shown.
    shows_info: bool,
}

impl PlatformLog {
    pub(crate) fn new(function: &FunctionVersion) -> Self {
        let json = function.log_format == "JSON";
        Self {
            json,
            version: function.version.clone(),
            memory_size_mb: function.memory_size_mb,
            shows_info: !json || function.system_log_level != "WARN",
        }
    }

    /// Before the event is delivered.
    pub(crate) fn start(&self, request_id: &str, now: Timestamp) -> Option<String> {
        if !self.shows_info {
            return None;
        }
        Some(if self.json {
            event(now, "platform.start", &json!({ "requestId": request_id, "version": self.version }))
        } else {
            format!("START RequestId: {request_id} Version: {}", self.version)
        })
    }

    /// After it; text only.
    pub(crate) fn end(&self, request_id: &str) -> Option<String> {
        (!self.json).then(|| format!("END RequestId: {request_id}"))
    }

    /// At the end.
    pub(crate) fn report(&self, request_id: &str, report: &Report<'_>, now: Timestamp) -> Option<String> {
        if !self.shows_info {
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
        let status = report.status.unwrap_or(if report.error_type.is_some() { "failure" } else { "success" });
        let mut record = json!({ "requestId": request_id, "metrics": metrics, "status": status });
        if let Some(error_type) = report.error_type {
            record["errorType"] = error_type.into();
        }
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
    ) -> String {
        if self.json {
            let mut record = json!({
                "initializationType": "on-demand",
                "phase": phase,
                "status": status,
                "metrics": { "durationMs": rounded_milliseconds(init_us) },
            });
            if let Some(error_type) = error_type {
                record["errorType"] = error_type.into();
            }
            return event(now, "platform.initReport", &record);
        }
        let mut line =
            format!("INIT_REPORT Init Duration: {}\tPhase: {phase}\tStatus: {status}", milliseconds(init_us));
        if let Some(error_type) = error_type {
            let _ = write!(line, "\tError Type: {error_type}");
        }
        line
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
        assert_eq!(log.start("id", now).unwrap(), "START RequestId: id Version: $LATEST");
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
}
