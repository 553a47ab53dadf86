//! The platform's own log lines, as text or JSON (facts: execution environment §4). What happened, and what is told of it, is
//! in [`PlatformEvent`]: in JSON a line is the event of the Telemetry API.

use std::fmt::Write;

use lambfold_api::control::FunctionVersion;
use lambfold_types::Timestamp;
use serde_json::json;

use crate::log_level::Level;
use crate::platform_event::{About, PlatformEvent, Report};
use crate::runtime_api::Shown;
use crate::telemetry::{Event, Records};
use crate::variables::{ON_DEMAND, initialization_type};

/// Words the lines of one function.
#[derive(Clone, Debug)]
pub(crate) struct PlatformLog {
    json: bool,
    about: About,
    /// JSON only: system events below it are not shown. Text has those of level INFO.
    lowest: Level,
}

impl PlatformLog {
    /// With the ARN of what runs the function, if that is known.
    pub(crate) fn new(function: &FunctionVersion, runtime_arn: Option<String>) -> Self {
        let json = function.log_format == "JSON";
        Self {
            json,
            about: About {
                version: function.version.clone(),
                initialization_type: initialization_type(function).to_owned(),
                memory_size_mb: function.memory_size_mb,
                function_name: function.function_name.clone(),
                runtime: runtime_version(&function.runtime),
                runtime_arn,
            },
            lowest: if json {
                Level::parse(&function.system_log_level).unwrap_or(Level::Info)
            } else {
                Level::Info
            },
        }
    }

    /// The event for those who subscribe to telemetry.
    pub(crate) fn event(&self, event: &PlatformEvent<'_>, now: Timestamp) -> Event {
        let telemetry = event.kind().map(|kind| (kind, event.record(&self.about)));
        Event::platform(now, Records { telemetry, logs: event.logs_record(&self.about) })
    }

    /// The line in the function's log, if there is one.
    pub(crate) fn line(&self, event: &PlatformEvent<'_>, now: Timestamp) -> Option<String> {
        if !self.json {
            return self.text(event);
        }
        let kind = event.kind().filter(|_| event.level() >= self.lowest)?;
        Some(json!({ "time": iso(now), "type": kind, "record": event.record(&self.about) }).to_string())
    }

    fn text(&self, event: &PlatformEvent<'_>) -> Option<String> {
        let version = &self.about.version;
        Some(match event {
            // Where an invocation waited for it, its REPORT has the time.
            PlatformEvent::InitReport { phase: "init", status: "success", .. } if self.is_on_demand() => {
                return None;
            }
            PlatformEvent::InitRuntimeDone { .. }
            | PlatformEvent::RuntimeDone { .. }
            | PlatformEvent::InitStart { phase: "invoke", .. } => return None,
            // Of an image.
            PlatformEvent::InitStart { .. } if self.about.runtime.is_empty() => return None,
            PlatformEvent::InitStart { .. } => {
                let mut line = format!("INIT_START Runtime Version: {}\t", self.about.runtime);
                if let Some(arn) = &self.about.runtime_arn {
                    let _ = write!(line, "Runtime Version ARN: {arn}");
                }
                line
            }
            PlatformEvent::InitReport { init_us, phase, status, error_type } => {
                let duration = milliseconds(*init_us);
                let line = format!("INIT_REPORT Init Duration: {duration}\tPhase: {phase}\tStatus: {status}");
                with_error(line, *error_type)
            }
            PlatformEvent::Extension { extension: Shown { name, events }, state, error_type } => {
                let events = events.join(", ");
                let line = format!("EXTENSION\tName: {name}\tState: {state}\tEvents: [{events}]");
                with_error(line, *error_type)
            }
            PlatformEvent::Subscription { api, name, types } => {
                let types: Vec<String> = types.iter().map(|kind| capitalized(kind.as_str())).collect();
                let (api, types) = (api.name().to_uppercase(), types.join(", "));
                format!("{api}\tName: {name}\tState: Subscribed\tTypes: [{types}]")
            }
            PlatformEvent::Start { request_id, .. } => {
                format!("START RequestId: {request_id} Version: {version}")
            }
            PlatformEvent::End { request_id } => format!("END RequestId: {request_id}"),
            PlatformEvent::Fault { text } => (*text).to_owned(),
            PlatformEvent::Report { request_id, report } => self.report(request_id, report),
        })
    }

    fn is_on_demand(&self) -> bool {
        self.about.initialization_type == ON_DEMAND
    }

    fn report(&self, request_id: &str, report: &Report<'_>) -> String {
        let mut line = format!(
            "REPORT RequestId: {request_id}\tDuration: {}\tBilled Duration: {} ms\tMemory Size: {} MB\tMax Memory Used: {} MB\t",
            milliseconds(report.duration_us),
            report.billed_ms(),
            self.about.memory_size_mb,
            report.memory_used_mb(),
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
        line
    }
}

fn with_error(mut line: String, error_type: Option<&str>) -> String {
    if let Some(error_type) = error_type {
        let _ = write!(line, "\tError Type: {error_type}");
    }
    line
}

fn capitalized(word: &str) -> String {
    let (first, rest) = word.split_at(word.len().min(1));
    first.to_uppercase() + rest
}

/// `python3.12` as runtime versions are written: `python:3.12`. Empty for images, which have none.
fn runtime_version(runtime: &str) -> String {
    if runtime.is_empty() {
        return String::new();
    }
    let end = runtime.find(|it: char| it.is_ascii_digit() || it == '.').unwrap_or(runtime.len());
    let (name, version) = runtime.split_at(end);
    format!("{name}:{}", version.trim_start_matches('.'))
}

/// Trace and segment of a header that says that the trace is kept.
pub(crate) fn sampled(trace_header: &str) -> Option<(&str, &str)> {
    let field = |name: &str| {
        trace_header.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
    };
    (field("Sampled") == Some("1")).then_some(())?;
    Some((field("Root")?, field("Parent").unwrap_or_default()))
}

/// `1.52 ms`
fn milliseconds(us: u64) -> String {
    let hundredths = (us + 5) / 10;
    format!("{}.{:02} ms", hundredths / 100, hundredths % 100)
}

/// `2026-01-02T03:04:05.678Z`
pub(crate) fn iso(time: Timestamp) -> String {
    time.utc("%Y-%m-%dT%H:%M:%S%.3fZ")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

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

    fn report<'a>(report: &'a Report<'a>) -> PlatformEvent<'a> {
        PlatformEvent::Report { request_id: "id", report }
    }

    #[test]
    fn report_lines_have_the_fields_that_apply() {
        let arn = "arn:aws:lambda:us-east-1::runtime:0a".to_owned();
        let log = PlatformLog::new(&function("Text"), Some(arn));
        let line = |event: &PlatformEvent<'_>| log.line(event, Timestamp::from_millis(0)).unwrap();
        let warm = Report { duration_us: 1_230, memory_peak_bytes: 35 << 20, ..Report::default() };
        assert_eq!(
            line(&report(&warm)),
            "REPORT RequestId: id\tDuration: 1.23 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\tMax Memory Used: 35 MB\t"
        );
        let cold =
            Report { init_us: 100_000, status: Some("error"), error_type: Some("Runtime.ExitError"), ..warm };
        assert_eq!(
            line(&report(&cold)),
            "REPORT RequestId: id\tDuration: 1.23 ms\tBilled Duration: 102 ms\tMemory Size: 128 MB\tMax Memory Used: 35 MB\tInit Duration: 100.00 ms\tStatus: error\tError Type: Runtime.ExitError\t"
        );
        let start = PlatformEvent::Start { request_id: "id", trace_header: "" };
        assert_eq!(line(&start), "START RequestId: id Version: $LATEST");
        let init = PlatformEvent::InitStart { environment_id: "e", phase: "init" };
        assert_eq!(
            line(&init),
            "INIT_START Runtime Version: python:3.12\tRuntime Version ARN: arn:aws:lambda:us-east-1::runtime:0a"
        );
        let traced = Report { trace_header: "Root=1-5-6;Parent=53;Sampled=1", ..warm };
        let traced = line(&report(&traced));
        assert!(traced.ends_with("\t\nXRAY TraceId: 1-5-6\tSegmentId: 53\tSampled: true\t"), "{traced}");
        let not = Report { trace_header: "Root=1-5-6;Sampled=0", ..warm };
        assert!(!line(&report(&not)).contains("XRAY"));
    }

    #[test]
    fn good_inits_have_a_line_where_no_invocation_reports_them() {
        let event =
            PlatformEvent::InitReport { init_us: 92_110, phase: "init", status: "success", error_type: None };
        let line = |kind: &str| {
            let function = FunctionVersion { initialization_type: kind.into(), ..function("Text") };
            PlatformLog::new(&function, None).line(&event, Timestamp::from_millis(0))
        };
        let expected = "INIT_REPORT Init Duration: 92.11 ms\tPhase: init\tStatus: success";
        assert_eq!(line("provisioned-concurrency").as_deref(), Some(expected));
        assert_eq!(line("snap-start").as_deref(), Some(expected));
        assert_eq!((line(""), line("on-demand")), (None, None));
    }

    #[test]
    fn json_functions_get_json_events() {
        let log = PlatformLog::new(&function("JSON"), None);
        let now = Timestamp::from_millis(0);
        let line = log.line(&report(&Report { duration_us: 1500, ..Report::default() }), now);
        let value: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(value["type"], "platform.report");
        assert_eq!(value["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(value["record"]["metrics"]["durationMs"], 1.5);
        assert_eq!(value["record"]["status"], "success");
        assert!(log.line(&PlatformEvent::End { request_id: "id" }, now).is_none());
    }

    #[test]
    fn a_start_tells_how_it_came_and_of_which_runtime_if_there_is_one() {
        let start = |runtime: &str, initialization_type: &str| {
            let function = FunctionVersion {
                runtime: runtime.into(),
                initialization_type: initialization_type.into(),
                ..function("JSON")
            };
            let event = PlatformEvent::InitStart { environment_id: "e", phase: "init" };
            let line = PlatformLog::new(&function, None).line(&event, Timestamp::from_millis(0)).unwrap();
            let record = serde_json::from_str::<Value>(&line).unwrap()["record"].take();
            (record.get("runtimeVersion").cloned(), record["initializationType"].as_str().unwrap().to_owned())
        };
        assert_eq!(start("python3.12", ""), (Some("python:3.12".into()), "on-demand".into()));
        assert_eq!(start("", "provisioned-concurrency"), (None, "provisioned-concurrency".into()));
        assert_eq!(start("python3.12", "snap-start").1, "snap-start");
    }

    #[test]
    fn the_system_level_chooses_events() {
        let of = |level: &str| {
            let function = FunctionVersion { system_log_level: level.into(), ..function("JSON") };
            let log = PlatformLog::new(&function, None);
            let fine = Report { duration_us: 1, ..Report::default() };
            let bad = Report { status: Some("timeout"), ..fine };
            let (phase, status, error_type) = ("init", "success", None);
            let trace_header = "Root=1-5-6;Parent=7;Sampled=1";
            let events = [
                PlatformEvent::InitStart { environment_id: "e", phase },
                PlatformEvent::Start { request_id: "id", trace_header },
                PlatformEvent::InitRuntimeDone { phase, status, error_type },
                PlatformEvent::InitReport { init_us: 1, phase, status, error_type },
                PlatformEvent::RuntimeDone { request_id: "id", report: &fine, answer: None },
                report(&fine),
                report(&bad),
            ];
            let lines = events.iter().filter_map(|event| log.line(event, Timestamp::from_millis(0)));
            lines
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
