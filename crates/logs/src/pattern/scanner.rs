//! Reading a pattern from left to right.

use super::PatternError;

/// Regular expressions that a pattern may have (AWS: Supported regular expressions syntax).
const MOST_REGEXES: usize = 2;

pub(super) struct Scanner<'a> {
    rest: &'a str,
    regexes: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text, regexes: 0 }
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let found = self.peek()?;
        self.rest = &self.rest[found.len_utf8()..];
        Some(found)
    }

    pub(super) fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Takes `wanted` if it stands here.
    pub(super) fn take(&mut self, wanted: &str) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Takes `wanted` after blanks, in any case, if it stands here as a word.
    pub(super) fn take_word(&mut self, wanted: &str) -> bool {
        let rest = self.rest.trim_start();
        let Some(head) = rest.get(..wanted.len()) else { return false };
        let after = &rest[wanted.len()..];
        let ends = !after.starts_with(|next: char| next.is_alphanumeric() || next == '_');
        if head.eq_ignore_ascii_case(wanted) && ends {
            self.rest = after;
            return true;
        }
        false
    }

    pub(super) fn expect(&mut self, wanted: &str) -> Result<(), PatternError> {
        self.skip_blanks();
        if self.take(wanted) { Ok(()) } else { Err(self.unexpected(wanted)) }
    }

    /// What stands here, as long as `belongs`.
    pub(super) fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|found| !belongs(found)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// The text after an opening quotation mark, to the closing one; a backslash takes the next character as it is.
    pub(super) fn quoted(&mut self, mark: char) -> Result<String, PatternError> {
        let mut text = String::new();
        while let Some(found) = self.next() {
            match found {
                _ if found == mark => return Ok(text),
                '\\' => match self.next() {
                    Some(escaped) if escaped == mark || escaped == '\\' => text.push(escaped),
                    Some(escaped) => text.extend(['\\', escaped]),
                    None => break,
                },
                _ => text.push(found),
            }
        }
        Err(PatternError::new(format!("{mark} is not closed")))
    }

    /// The regular expression after an opening percent sign, to the closing one.
    pub(super) fn regex(&mut self) -> Result<regex::Regex, PatternError> {
        self.regexes += 1;
        if self.regexes > MOST_REGEXES {
            return Err(PatternError::new("it has more than two regular expressions"));
        }
        let mut text = String::new();
        while let Some(found) = self.next() {
            match found {
                '%' => return super::regex(&text),
                '\\' => match self.next() {
                    Some('%') => text.push('%'),
                    Some(escaped) => text.extend(['\\', escaped]),
                    None => break,
                },
                _ => text.push(found),
            }
        }
        Err(PatternError::new("% is not closed"))
    }

    pub(super) fn end(&mut self) -> Result<(), PatternError> {
        self.skip_blanks();
        if self.rest.is_empty() { Ok(()) } else { Err(self.unexpected("the end")) }
    }

    pub(super) fn unexpected(&self, wanted: &str) -> PatternError {
        let found: String = self.rest.chars().take(20).collect();
        if found.is_empty() {
            PatternError::new(format!("it ends where {wanted} is expected"))
        } else {
            PatternError::new(format!("'{found}' stands where {wanted} is expected"))
        }
    }
}
