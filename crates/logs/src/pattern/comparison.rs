//! Operators and values that JSON and column patterns share.

use regex::Regex;

use super::PatternError;
use super::scanner::Scanner;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What stands right of an operator.
#[derive(Debug)]
pub(super) enum Value {
    /// With its text, which strings are compared with.
    Number(f64, String),
    Text(Wildcard),
    Regex(Regex),
}

/// A text in which `*` stands for anything.
#[derive(Debug)]
pub(super) struct Wildcard(Vec<String>);

impl Wildcard {
    pub(super) fn new(text: &str) -> Self {
        Self(text.split('*').map(str::to_owned).collect())
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let [first, middle @ .., last] = self.0.as_slice() else {
            // No star: one part.
            return self.0.first().is_some_and(|whole| whole == text);
        };
        let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
        for part in middle {
            let Some(at) = rest.find(part.as_str()) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last.as_str())
    }
}

pub(super) fn operator(scanner: &mut Scanner<'_>) -> Option<Operator> {
    scanner.skip_blanks();
    let operators = [
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("=", Operator::Equal),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ];
    operators.into_iter().find(|(text, _)| scanner.take(text)).map(|(_, operator)| operator)
}

/// A value and, for an order, that it is a number.
pub(super) fn value(scanner: &mut Scanner<'_>, operator: Operator) -> Result<Value, PatternError> {
    scanner.skip_blanks();
    let value = if scanner.take("\"") {
        Value::Text(Wildcard::new(&scanner.quoted('"')?))
    } else if scanner.take("%") {
        Value::Regex(scanner.regex()?)
    } else {
        let belongs = |found: char| found.is_alphanumeric() || "_.*-+/:@#~".contains(found);
        let text = scanner.take_while(belongs);
        if text.is_empty() {
            return Err(scanner.unexpected("a value"));
        }
        match text.parse::<f64>() {
            // Not `inf` and `nan`, which are words.
            Ok(number) if number.is_finite() => Value::Number(number, text.to_owned()),
            _ => Value::Text(Wildcard::new(text)),
        }
    };
    let is_order = !matches!(operator, Operator::Equal | Operator::NotEqual);
    if is_order && !matches!(value, Value::Number(..)) {
        return Err(PatternError::new("only numbers have an order"));
    }
    Ok(value)
}

#[expect(clippy::float_cmp, reason = "equality of numbers is what the pattern asks for")]
pub(super) fn compare_numbers(found: f64, operator: Operator, wanted: f64) -> bool {
    match operator {
        Operator::Equal => found == wanted,
        Operator::NotEqual => found != wanted,
        Operator::Less => found < wanted,
        Operator::LessOrEqual => found <= wanted,
        Operator::Greater => found > wanted,
        Operator::GreaterOrEqual => found >= wanted,
    }
}

pub(super) fn compare_text(found: &str, operator: Operator, wanted: &Value) -> bool {
    let equal = match wanted {
        Value::Number(_, text) => found == text,
        Value::Text(wildcard) => wildcard.matches(found),
        Value::Regex(regex) => regex.is_match(found),
    };
    match operator {
        Operator::Equal => equal,
        Operator::NotEqual => !equal,
        _ => false,
    }
}
