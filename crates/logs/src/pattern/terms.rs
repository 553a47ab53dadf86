//! Patterns of terms.

use regex::Regex;

use super::PatternError;
use super::scanner::Scanner;

#[derive(Debug, Default)]
pub(super) struct Terms {
    required: Vec<Term>,
    excluded: Vec<Term>,
    optional: Vec<Term>,
}

#[derive(Debug)]
enum Term {
    Text(String),
    Regex(Regex),
}

impl Term {
    fn occurs(&self, message: &str) -> bool {
        match self {
            Self::Text(text) => message.contains(text.as_str()),
            Self::Regex(regex) => regex.is_match(message),
        }
    }
}

impl Terms {
    pub(super) fn match_text(&self, message: &str) -> bool {
        let occurs = |term: &Term| term.occurs(message);
        if self.excluded.iter().any(occurs) || !self.required.iter().all(occurs) {
            return false;
        }
        !self.required.is_empty() || self.optional.is_empty() || self.optional.iter().any(occurs)
    }
}

pub(super) fn parse(scanner: &mut Scanner<'_>) -> Result<Terms, PatternError> {
    let mut terms = Terms::default();
    loop {
        scanner.skip_blanks();
        if scanner.peek().is_none() {
            return Ok(terms);
        }
        let list = if scanner.take("-") {
            &mut terms.excluded
        } else if scanner.take("?") {
            &mut terms.optional
        } else {
            &mut terms.required
        };
        list.push(term(scanner)?);
    }
}

fn term(scanner: &mut Scanner<'_>) -> Result<Term, PatternError> {
    let term = if scanner.take("\"") {
        Term::Text(scanner.quoted('"')?)
    } else if scanner.take("%") {
        Term::Regex(scanner.regex()?)
    } else {
        let text = scanner.take_while(|found| !found.is_whitespace());
        if text.is_empty() || !text.chars().all(|found| found.is_alphanumeric() || found == '_') {
            // Anything else has to be quoted.
            return Err(PatternError::new(format!("Invalid character(s) in term '{text}'")));
        }
        return Ok(Term::Text(text.to_owned()));
    };
    match scanner.peek() {
        Some(next) if !next.is_whitespace() => Err(scanner.unexpected("a blank")),
        _ => Ok(term),
    }
}
