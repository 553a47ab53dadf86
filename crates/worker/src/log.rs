//! What a function prints: split into lines and records for its log stream and the server's own log, and remembered at its
//! end for the invoker.

mod frames;

use std::collections::VecDeque;
use std::sync::Arc;

use lambfold_api::control::FunctionVersion;
use lambfold_types::{Clock, Timestamp};

use self::frames::{Piece, Unframer};
use crate::log_delivery::LogStream;
use crate::log_level::Level;
use crate::platform_event::PlatformEvent;
use crate::platform_log::PlatformLog;
use crate::telemetry::{Event, Telemetry};

/// What `LogType: Tail` shows.
const TAIL_BYTES: usize = 4096;
/// The longest log event; a longer line or record is split.
const MAX_EVENT_BYTES: usize = 256 << 10;

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
    /// Of the function's record that has no end yet, what is not an event, and its level.
    record: (Vec<u8>, Option<Level>),
    frames: Unframer,
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
            record: (Vec::new(), None),
            frames: Unframer::default(),
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
        self.tell_in_log(words, event, now);
        if let Some(Listeners { telemetry, .. }) = &self.telemetry
            && telemetry.listens()
        {
            telemetry.publish(words.event(event, now));
        }
    }

    /// The same as a line only.
    pub(crate) fn tell_in_log(&mut self, words: &PlatformLog, event: &PlatformEvent<'_>, now: Timestamp) {
        self.end_lines();
        if let Some(line) = words.line(event, now) {
            self.platform(&line);
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
    pub(crate) fn output(&mut self, source: Source, bytes: &[u8]) {
        if source == Source::Function {
            let mut frames = std::mem::take(&mut self.frames);
            frames.feed(bytes, &mut |piece| self.piece(&piece));
            self.frames = frames;
        } else {
            self.text(source, bytes);
        }
    }

    fn piece(&mut self, piece: &Piece<'_>) {
        match *piece {
            Piece::Text(text) => self.text(Source::Function, text),
            Piece::Record { part, level, ends } => {
                let (mut record, _) = std::mem::take(&mut self.record);
                self.push(&mut record, Source::Function, part, level);
                if ends {
                    self.record_event(&record, level);
                    record.clear();
                }
                self.record = (record, level);
            }
        }
    }

    /// Lines, and the beginning of one.
    fn text(&mut self, source: Source, mut bytes: &[u8]) {
        let mut line = std::mem::take(&mut self.lines[source as usize]);
        while let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
            self.push(&mut line, source, &bytes[..at], None);
            self.event(source, &line, None);
            line.clear();
            bytes = &bytes[at + 1..];
        }
        self.push(&mut line, source, bytes, None);
        self.lines[source as usize] = line;
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

    /// Adds to what will be an event, or to several if it is too long for one.
    fn push(&mut self, event: &mut Vec<u8>, source: Source, mut bytes: &[u8], level: Option<Level>) {
        while event.len() + bytes.len() > MAX_EVENT_BYTES {
            let (now, later) = bytes.split_at(MAX_EVENT_BYTES - event.len());
            event.extend_from_slice(now);
            self.event(source, event, level);
            event.clear();
            bytes = later;
        }
        event.extend_from_slice(bytes);
    }

    /// Ends lines and records that have been left open.
    fn end_lines(&mut self) {
        let mut frames = std::mem::take(&mut self.frames);
        frames.release(&mut |piece| self.piece(&piece));
        self.frames = frames;
        for source in [Source::Function, Source::Extension] {
            let line = std::mem::take(&mut self.lines[source as usize]);
            if !line.is_empty() {
                self.event(source, &line, None);
            }
        }
        let (record, level) = std::mem::take(&mut self.record);
        if !record.is_empty() {
            self.record_event(&record, level);
        }
    }

    /// The function's processes are gone, and others follow: what these left half said has no rest.
    pub(crate) fn processes_ended(&mut self) {
        self.end_lines();
        self.frames = Unframer::default();
    }

    fn record_event(&mut self, record: &[u8], level: Option<Level>) {
        self.event(Source::Function, record.strip_suffix(b"\n").unwrap_or(record), level);
    }

    /// A line or record, without its end. `level`: that which the runtime tells of it, if it does.
    fn event(&mut self, source: Source, bytes: &[u8], level: Option<Level>) {
        let text = String::from_utf8_lossy(bytes);
        // They get all levels.
        if let Some(Listeners { telemetry, clock }) = &self.telemetry
            && telemetry.listens()
        {
            telemetry.publish(Event::line(clock.now(), source, format!("{text}\n")));
        }
        let level = || level.unwrap_or_else(|| Level::of_line(bytes));
        if self.lowest.is_some_and(|lowest| lowest > Level::Trace && level() < lowest) {
            return;
        }
        if let Some(tail) = &mut self.tail {
            tail.push(bytes);
            tail.push(b"\n");
        }
        if let Some(stream) = &mut self.stream {
            stream.push(format!("{text}\n"));
        }
        let FunctionVersion { function_name, version, .. } = &*self.function;
        let request_id = &self.request_id;
        // Lines by themselves: none of a function's may look like one of the server's.
        for line in text.split('\n') {
            tracing::info!(target: "function", { function.name = %function_name, function.version = %version, request.id = %request_id }, "{line}");
        }
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
    use std::io;
    use std::sync::Mutex;

    use super::*;

    fn frame(kind: u8, message: &str) -> Vec<u8> {
        let mut bytes = vec![0xa5, 0x5a, 0x00, kind];
        bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        bytes.extend(1_792_000_000_000_000_u64.to_be_bytes());
        bytes.extend(message.as_bytes());
        bytes
    }

    fn log() -> FunctionLog {
        FunctionLog::new(Arc::new(FunctionVersion::default()), None)
    }

    /// During an invocation of a function that logs JSON from that level on.
    fn log_of_warnings() -> FunctionLog {
        let function = FunctionVersion {
            log_format: "JSON".into(),
            application_log_level: "WARN".into(),
            ..FunctionVersion::default()
        };
        let mut log = FunctionLog::new(Arc::new(function), None);
        log.begin("id", true);
        log
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

    /// Where the server's own log goes.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_line_of_a_function_looks_like_one_of_the_servers() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let mut log = log();
            log.begin("id", true);
            log.output(
                Source::Function,
                &frame(3, "one\n2026-11-29T00:00:00Z ERROR lambfold: the disk is full\n"),
            );
            log.end();
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().all(|line| line.contains("INFO") && line.contains("function: ")), "{text}");
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
        let mut log = log_of_warnings();
        let warning = r#"{"timestamp":"2026-01-02T03:04:05Z","level":"WARN"}"#;
        log.output(Source::Function, format!("printed\n{warning}\n").as_bytes());
        log.output(Source::Function, warning.replace("WARN", "INFO").as_bytes());
        assert_eq!(log.end(), format!("{warning}\n").as_bytes());
    }

    #[test]
    fn a_record_is_one_event_and_has_its_level_from_its_head() {
        let mut log = log_of_warnings();
        log.output(Source::Function, &frame(0x13, "a warning\nof two lines\n"));
        log.output(Source::Function, &frame(0x0f, "less than that"));
        log.output(Source::Function, &frame(0x16, "{\"no\": \"level\"}"));
        // An extension's bytes are its own.
        log.output(Source::Extension, &frame(0x17, ""));
        assert_eq!(log.end(), b"a warning\nof two lines\n{\"no\": \"level\"}\n");
    }

    #[test]
    fn half_a_record_is_told_with_its_level_and_ends_with_its_process() {
        let mut log = log_of_warnings();
        let record = frame(0x17, "begun and never ended");
        log.output(Source::Function, &record[..record.len() - 10]);
        log.processes_ended();
        log.output(Source::Function, &frame(0x17, "of another process\n"));
        assert_eq!(log.end(), b"begun and n\nof another process\n");
    }

    #[test]
    fn endless_lines_are_split() {
        let mut log = log();
        log.begin("id", true);
        for _ in 0..100 {
            log.output(Source::Function, &vec![b'y'; 64 << 10]);
            assert!(log.lines[0].len() <= MAX_EVENT_BYTES);
        }
    }
}
