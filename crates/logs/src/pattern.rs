//! CloudWatch Logs' filter patterns, of FilterLogEvents and live tail.
//!
//! - Terms: `ERROR "not found" -debug ?a ?b %time[0-9]+%`: all must occur, `-` must not, of `?` one must (and they say
//!   nothing beside terms that must occur).
//! - JSON: `{ $.level = "error" && ($.status >= 500 || $.path = /admin*) }`.
//! - Columns: `[ip, user, ..., status = 4*, bytes > 1000]`.
//!
//! Source: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html>.

mod columns;
mod comparison;
mod json;
mod scanner;
mod terms;

use scanner::Scanner;

/// How deep parentheses may be nested: far more than anyone writes, far less than the stack holds.
const MOST_DEPTH: usize = 32;

/// A pattern, ready to be matched.
#[derive(Debug)]
pub struct Pattern(Kind);

#[derive(Debug)]
enum Kind {
    Everything,
    Terms(terms::Terms),
    Json(json::Condition),
    Columns(columns::Columns),
}

/// The text is no pattern; in words for its author.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid filter pattern: {0}")]
pub struct PatternError(pub(crate) String);

impl PatternError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl Pattern {
    /// Reads a pattern; an empty one matches everything.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let mut scanner = Scanner::new(text.trim());
        let kind = match scanner.peek() {
            None => Kind::Everything,
            Some('{') => Kind::Json(json::parse(&mut scanner)?),
            Some('[') => Kind::Columns(columns::parse(&mut scanner)?),
            Some(_) => Kind::Terms(terms::parse(&mut scanner)?),
        };
        scanner.end()?;
        Ok(Self(kind))
    }

    /// Whether a log event matches.
    pub fn matches(&self, message: &str) -> bool {
        match &self.0 {
            Kind::Everything => true,
            Kind::Terms(terms) => terms.match_text(message),
            Kind::Json(condition) => condition.match_text(message),
            Kind::Columns(columns) => columns.match_text(message),
        }
    }
}

/// A regular expression between percent signs, within bounds of memory and linear in time.
fn regex(text: &str) -> Result<regex::Regex, PatternError> {
    regex::RegexBuilder::new(text)
        .size_limit(1 << 20)
        .build()
        .map_err(|_| PatternError::new(format!("%{text}% is not a regular expression that is supported")))
}

#[cfg(test)]
mod tests;
