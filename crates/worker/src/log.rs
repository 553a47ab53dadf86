//! What a function prints: split into lines for its log stream and the server's own log, and remembered at its end for
//! the invoker.

use std::collections::VecDeque;
use std::sync::Arc;

use lambfold_api::control::FunctionVersion;
use lambfold_types::{Clock, Timestamp};

use crate::log_delivery::LogStream;
use crate::log_level::Level;
use crate::platform_event::PlatformEvent;
use crate::platform_log::PlatformLog;
use crate::telemetry::{Event, Telemetry};

/// What `LogType: Tail` shows.
const TAIL_BYTES: usize = 4096;
/// The longest log event; a longer line is split.
const MAX_LINE_BYTES: usize = 256 << 10;

/// Who printed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The runtime's process, with the function and internal extensions in it.
    Function,
    /// External extensions.
    Extension,
}

/// The log of one execution environment.
pub(crate) struct FunctionLog {
    function: Arc<FunctionVersion>,
    request_id: String,
    /// What has no end yet, of the function and of its external extensions.
    lines: [Vec<u8>; 2],
    tail: Option<Tail>,
    stream: Option<LogStream>,
    /// Who else is told of everything.
    telemetry: Option<Listeners>,
    /// Lines below it are not shown: functions that log JSON have a level.
    lowest: Option<Level>,
}

impl FunctionLog {
    /// A log that goes to `stream`, if there is one.
    pub(crate) fn new(function: Arc<FunctionVersion>, stream: Option<LogStream>) -> Self {
        let lowest = (function.log_format == "JSON")
            .then(|| Level::parse(&function.application_log_level).unwrap_or(Level::Info));
        Self {
            function,
            request_id: String::new(),
            lines: Default::default(),
            tail: None,
            stream,
            telemetry: None,
            lowest,
        }
    }

    /// What follows is told to these, too.
    pub(crate) fn publish_to(&mut self, telemetry: Arc<Telemetry>, clock: Arc<dyn Clock>) {
        self.telemetry = Some(Listeners { telemetry, clock });
    }

    /// What follows is told to nobody else.
    pub(crate) fn publish_to_nobody(&mut self) {
        self.telemetry = None;
    }

    /// What the platform has to tell, as a line and to those who subscribe to telemetry.
    pub(crate) fn tell(&mut self, words: &PlatformLog, event: &PlatformEvent<'_>, now: Timestamp) {
        self.end_lines();
        if let Some(line) = words.line(event, now) {
            self.platform(&line);
        }
        if let Some(Listeners { telemetry, .. }) = &self.telemetry
            && telemetry.listens()
        {
            telemetry.publish(words.event(event, now));
        }
    }

    /// What follows belongs to that invocation. `tail`: its end is wanted.
    pub(crate) fn begin(&mut self, request_id: &str, tail: bool) {
        self.end_lines();
        self.request_id.clear();
        self.request_id.push_str(request_id);
        self.tail = tail.then(Tail::default);
    }

    /// What follows belongs to no invocation. Returns the end of what was logged.
    pub(crate) fn end(&mut self) -> Vec<u8> {
        self.end_lines();
        self.request_id.clear();
        self.tail.take().map(Tail::into_bytes).unwrap_or_default()
    }

    /// The end of what was logged so far, for an invoker who does not wait for the rest.
    pub(crate) fn take_tail(&mut self) -> Vec<u8> {
        self.tail.take().map(Tail::into_bytes).unwrap_or_default()
    }

    /// Bytes that were printed.
    pub(crate) fn output(&mut self, source: Source, mut bytes: &[u8]) {
        while let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
            self.push_to_line(source, &bytes[..at]);
            self.emit(source);
            bytes = &bytes[at + 1..];
        }
        self.push_to_line(source, bytes);
    }

    /// A line of the platform's own, such as START.
    fn platform(&mut self, text: &str) {
        self.end_lines();
        if let Some(tail) = &mut self.tail {
            tail.push(text.as_bytes());
            tail.push(b"\n");
        }
        if let Some(stream) = &mut self.stream {
            // A record of JSON is the event; a line of text is one with its end.
            let end = if self.lowest.is_some() { "" } else { "\n" };
            stream.push(format!("{text}{end}"));
        }
        let FunctionVersion { function_name, version, .. } = &*self.function;
        let request_id = &self.request_id;
        tracing::debug!(target: "function", { function.name = %function_name, function.version = %version, request.id = %request_id }, "{text}");
    }

    /// Whether anybody reads the platform's lines.
    pub(crate) fn wants_platform_lines(&self) -> bool {
        self.tail.is_some()
            || self.stream.is_some()
            || self.telemetry.as_ref().is_some_and(|it| it.telemetry.listens())
            || tracing::enabled!(target: "function", tracing::Level::DEBUG)
    }

    fn push_to_line(&mut self, source: Source, mut bytes: &[u8]) {
        let line = source as usize;
        while self.lines[line].len() + bytes.len() > MAX_LINE_BYTES {
            let (now, later) = bytes.split_at(MAX_LINE_BYTES - self.lines[line].len());
            self.lines[line].extend_from_slice(now);
            self.emit(source);
            bytes = later;
        }
        self.lines[line].extend_from_slice(bytes);
    }

    /// Ends lines that have been left open.
    fn end_lines(&mut self) {
        for source in [Source::Function, Source::Extension] {
            if !self.lines[source as usize].is_empty() {
                self.emit(source);
            }
        }
    }

    fn emit(&mut self, source: Source) {
        let line = &mut self.lines[source as usize];
        // They get all levels.
        if let Some(Listeners { telemetry, clock }) = &self.telemetry
            && telemetry.listens()
        {
            let text = format!("{}\n", String::from_utf8_lossy(line));
            telemetry.publish(Event::line(clock.now(), source, text));
        }
        if self.lowest.is_some_and(|lowest| lowest > Level::Trace && Level::of_line(line) < lowest) {
            line.clear();
            return;
        }
        if let Some(tail) = &mut self.tail {
            tail.push(line);
            tail.push(b"\n");
        }
        let text = String::from_utf8_lossy(line);
        if let Some(stream) = &mut self.stream {
            stream.push(format!("{text}\n"));
        }
        let FunctionVersion { function_name, version, .. } = &*self.function;
        let request_id = &self.request_id;
        tracing::info!(target: "function", { function.name = %function_name, function.version = %version, request.id = %request_id }, "{text}");
        line.clear();
    }
}

struct Listeners {
    telemetry: Arc<Telemetry>,
    clock: Arc<dyn Clock>,
}

/// The last [`TAIL_BYTES`] of what is pushed.
#[derive(Default)]
struct Tail(VecDeque<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let excess = (self.0.len() + bytes.len()).saturating_sub(TAIL_BYTES);
        self.0.drain(..excess);
        self.0.extend(bytes);
    }

    fn into_bytes(self) -> Vec<u8> {
        self.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> FunctionLog {
        FunctionLog::new(Arc::new(FunctionVersion::default()), None)
    }

    #[test]
    fn the_tail_is_the_last_4096_bytes() {
        let mut log = log();
        log.begin("id", true);
        log.output(Source::Function, &[b'x'; 10_000]);
        log.output(Source::Function, b"\nlast\n");
        let tail = log.end();
        assert_eq!(tail.len(), 4096);
        assert!(tail.ends_with(b"xx\nlast\n"));
        assert!(log.end().is_empty());
    }

    #[test]
    fn platform_lines_begin_on_a_line_of_their_own() {
        let mut log = log();
        log.output(Source::Function, b"printed during init");
        log.begin("id", true);
        log.platform("START");
        log.output(Source::Function, b"no newline");
        log.platform("END");
        assert_eq!(log.end(), b"START\nno newline\nEND\n");
    }

    #[test]
    fn a_level_hides_what_is_below_it() {
        let function = FunctionVersion {
            log_format: "JSON".into(),
            application_log_level: "WARN".into(),
            ..FunctionVersion::default()
        };
        let mut log = FunctionLog::new(Arc::new(function), None);
        log.begin("id", true);
        let warning = r#"{"timestamp":"2026-01-02T03:04:05Z","level":"WARN"}"#;
        log.output(Source::Function, format!("printed\n{warning}\n").as_bytes());
        log.output(Source::Function, warning.replace("WARN", "INFO").as_bytes());
        assert_eq!(log.end(), format!("{warning}\n").as_bytes());
    }

    #[test]
    fn endless_lines_are_split() {
        let mut log = log();
        log.begin("id", true);
        for _ in 0..100 {
            log.output(Source::Function, &vec![b'y'; 64 << 10]);
            assert!(log.lines[0].len() <= MAX_LINE_BYTES);
        }
    }
}
