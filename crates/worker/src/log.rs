//! What a function prints: split into lines for the server's log, and remembered at its end for the invoker.

use std::collections::VecDeque;
use std::sync::Arc;

use lambfold_api::control::FunctionVersion;

/// What `LogType: Tail` shows.
const TAIL_BYTES: usize = 4096;
/// The longest log event; a longer line is split.
const MAX_LINE_BYTES: usize = 256 << 10;

/// The log of one execution environment.
pub(crate) struct FunctionLog {
    function: Arc<FunctionVersion>,
    request_id: String,
    line: Vec<u8>,
    tail: Option<Tail>,
}

impl FunctionLog {
    pub(crate) fn new(function: Arc<FunctionVersion>) -> Self {
        Self { function, request_id: String::new(), line: Vec::new(), tail: None }
    }

    /// What follows belongs to that invocation. `tail`: its end is wanted.
    pub(crate) fn begin(&mut self, request_id: &str, tail: bool) {
        self.end_line();
        self.request_id.clear();
        self.request_id.push_str(request_id);
        self.tail = tail.then(Tail::default);
    }

    /// What follows belongs to no invocation. Returns the end of what was logged.
    pub(crate) fn end(&mut self) -> Vec<u8> {
        self.end_line();
        self.request_id.clear();
        self.tail.take().map(Tail::into_bytes).unwrap_or_default()
    }

    /// Bytes that the function wrote.
    pub(crate) fn output(&mut self, mut bytes: &[u8]) {
        if let Some(tail) = &mut self.tail {
            tail.push(bytes);
        }
        while let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
            self.push_to_line(&bytes[..at]);
            self.emit();
            bytes = &bytes[at + 1..];
        }
        self.push_to_line(bytes);
    }

    /// A line of the platform's own, such as START.
    pub(crate) fn platform(&mut self, text: &str) {
        self.end_line();
        if let Some(tail) = &mut self.tail {
            tail.push(text.as_bytes());
            tail.push(b"\n");
        }
        let FunctionVersion { function_name, version, .. } = &*self.function;
        let request_id = &self.request_id;
        tracing::debug!(target: "function", { function.name = %function_name, function.version = %version, request.id = %request_id }, "{text}");
    }

    /// Whether anybody reads the platform's lines.
    pub(crate) fn wants_platform_lines(&self) -> bool {
        self.tail.is_some() || tracing::enabled!(target: "function", tracing::Level::DEBUG)
    }

    fn push_to_line(&mut self, mut bytes: &[u8]) {
        while self.line.len() + bytes.len() > MAX_LINE_BYTES {
            let (now, later) = bytes.split_at(MAX_LINE_BYTES - self.line.len());
            self.line.extend_from_slice(now);
            self.emit();
            bytes = later;
        }
        self.line.extend_from_slice(bytes);
    }

    /// Ends a line that the function has left open.
    fn end_line(&mut self) {
        if !self.line.is_empty() {
            if let Some(tail) = &mut self.tail {
                tail.push(b"\n");
            }
            self.emit();
        }
    }

    fn emit(&mut self) {
        let text = String::from_utf8_lossy(&self.line);
        let FunctionVersion { function_name, version, .. } = &*self.function;
        let request_id = &self.request_id;
        tracing::info!(target: "function", { function.name = %function_name, function.version = %version, request.id = %request_id }, "{text}");
        self.line.clear();
    }
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
        FunctionLog::new(Arc::new(FunctionVersion::default()))
    }

    #[test]
    fn the_tail_is_the_last_4096_bytes() {
        let mut log = log();
        log.begin("id", true);
        log.output(&[b'x'; 10_000]);
        log.output(b"\nlast\n");
        let tail = log.end();
        assert_eq!(tail.len(), 4096);
        assert!(tail.ends_with(b"xx\nlast\n"));
        assert!(log.end().is_empty());
    }

    #[test]
    fn platform_lines_begin_on_a_line_of_their_own() {
        let mut log = log();
        log.output(b"printed during init");
        log.begin("id", true);
        log.platform("START");
        log.output(b"no newline");
        log.platform("END");
        assert_eq!(log.end(), b"START\nno newline\nEND\n");
    }

    #[test]
    fn endless_lines_are_split() {
        let mut log = log();
        log.begin("id", true);
        for _ in 0..100 {
            log.output(&vec![b'y'; 64 << 10]);
            assert!(log.line.len() <= MAX_LINE_BYTES);
        }
    }
}
