//! Levels of log lines, and which lines a level lets through (facts: execution environment §4, JSON format).

use serde::Deserialize;

/// A level, from the most talkative to the most severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

impl Level {
    /// By its name as AWS, Python and Node write it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_uppercase().as_str() {
            "TRACE" => Self::Trace,
            "DEBUG" => Self::Debug,
            "INFO" => Self::Info,
            "WARN" | "WARNING" => Self::Warn,
            "ERROR" => Self::Error,
            "FATAL" | "CRITICAL" => Self::Fatal,
            _ => return None,
        })
    }

    /// The level of a line that a function printed: what its JSON says of itself, INFO for everything else. As AWS
    /// has it, a record without a time is not believed.
    pub(crate) fn of_line(line: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Record<'a> {
            #[serde(borrow)]
            level: std::borrow::Cow<'a, str>,
            #[serde(borrow)]
            timestamp: std::borrow::Cow<'a, str>,
        }
        if !line.starts_with(b"{") {
            return Self::Info;
        }
        match serde_json::from_slice::<Record<'_>>(line) {
            Ok(record) if is_time(&record.timestamp) => Self::parse(&record.level).unwrap_or(Self::Info),
            _ => Self::Info,
        }
    }
}

/// Whether it looks like RFC 3339: `2026-01-02T03:04:05` and something.
fn is_time(text: &str) -> bool {
    let shape = b"dddd-dd-ddTdd:dd:dd";
    text.len() > shape.len()
        && text.bytes().zip(shape).all(|(found, wanted)| match wanted {
            b'd' => found.is_ascii_digit(),
            wanted => found == *wanted,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_their_level_in_json() {
        for (line, level) in [
            (r#"{"timestamp":"2026-01-02T03:04:05Z","level":"DEBUG","message":"x"}"#, Level::Debug),
            (r#"{"level":"warning","timestamp":"2026-01-02T03:04:05.678Z"}"#, Level::Warn),
            (r#"{"level":"DEBUG","timestamp":"yesterday, at about noon"}"#, Level::Info),
            (r#"{"level":"DEBUG"}"#, Level::Info),
            (r#"{"level":"LOUD","timestamp":"2026-01-02T03:04:05Z"}"#, Level::Info),
            ("DEBUG x", Level::Info),
            ("{broken", Level::Info),
        ] {
            assert_eq!(Level::of_line(line.as_bytes()), level, "{line}");
        }
    }
}
