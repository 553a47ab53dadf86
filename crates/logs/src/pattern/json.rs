//! Patterns of JSON events.

use serde_json::Value as Json;

use super::comparison::{Operator, Value, compare_numbers, compare_text, operator, value};
use super::scanner::Scanner;
use super::{MOST_DEPTH, PatternError};

#[derive(Debug)]
pub(super) enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Compare(Selector, Operator, Value),
    Null(Selector),
    True(Selector),
    False(Selector),
    NotExists(Selector),
}

/// The way from the root of an event to a value.
#[derive(Debug)]
pub(super) struct Selector(Vec<Step>);

#[derive(Debug)]
enum Step {
    Member(String),
    Index(usize),
    /// Every element of a list: one that matches is enough.
    Each,
}

impl Condition {
    pub(super) fn match_text(&self, message: &str) -> bool {
        // Other events than JSON objects never match.
        match serde_json::from_str::<Json>(message.trim()) {
            Ok(event @ Json::Object(_)) => self.holds(&event),
            _ => false,
        }
    }

    fn holds(&self, event: &Json) -> bool {
        match self {
            Self::All(conditions) => conditions.iter().all(|it| it.holds(event)),
            Self::Any(conditions) => conditions.iter().any(|it| it.holds(event)),
            Self::Compare(selector, operator, wanted) => {
                selector.any(event, &|found| compare(found, *operator, wanted))
            }
            Self::Null(selector) => selector.any(event, &Json::is_null),
            Self::True(selector) => selector.any(event, &|found| *found == Json::Bool(true)),
            Self::False(selector) => selector.any(event, &|found| *found == Json::Bool(false)),
            Self::NotExists(selector) => !selector.any(event, &|_| true),
        }
    }
}

/// A number is compared with numbers, everything else as the text that it is.
fn compare(found: &Json, operator: Operator, wanted: &Value) -> bool {
    match (found, wanted) {
        (Json::Number(found), Value::Number(wanted, _)) => {
            found.as_f64().is_some_and(|found| compare_numbers(found, operator, *wanted))
        }
        (Json::String(found), wanted) => compare_text(found, operator, wanted),
        (Json::Number(found), wanted) => compare_text(&found.to_string(), operator, wanted),
        (Json::Bool(found), wanted) => compare_text(if *found { "true" } else { "false" }, operator, wanted),
        _ => false,
    }
}

impl Selector {
    fn any(&self, event: &Json, test: &dyn Fn(&Json) -> bool) -> bool {
        walk(event, &self.0, test)
    }
}

fn walk(at: &Json, steps: &[Step], test: &dyn Fn(&Json) -> bool) -> bool {
    let Some((step, rest)) = steps.split_first() else { return test(at) };
    match step {
        Step::Member(name) => at.get(name).is_some_and(|next| walk(next, rest, test)),
        Step::Index(index) => at.get(index).is_some_and(|next| walk(next, rest, test)),
        Step::Each => at.as_array().is_some_and(|list| list.iter().any(|next| walk(next, rest, test))),
    }
}

pub(super) fn parse(scanner: &mut Scanner<'_>) -> Result<Condition, PatternError> {
    scanner.expect("{")?;
    let condition = any(scanner, 0)?;
    scanner.expect("}")?;
    Ok(condition)
}

fn any(scanner: &mut Scanner<'_>, depth: usize) -> Result<Condition, PatternError> {
    let mut conditions = vec![all(scanner, depth)?];
    loop {
        scanner.skip_blanks();
        if !scanner.take("||") {
            return Ok(one_or(conditions, Condition::Any));
        }
        conditions.push(all(scanner, depth)?);
    }
}

fn all(scanner: &mut Scanner<'_>, depth: usize) -> Result<Condition, PatternError> {
    let mut conditions = vec![single(scanner, depth)?];
    loop {
        scanner.skip_blanks();
        if !scanner.take("&&") {
            return Ok(one_or(conditions, Condition::All));
        }
        conditions.push(single(scanner, depth)?);
    }
}

fn one_or(mut conditions: Vec<Condition>, join: fn(Vec<Condition>) -> Condition) -> Condition {
    match conditions.len() {
        1 => conditions.remove(0),
        _ => join(conditions),
    }
}

fn single(scanner: &mut Scanner<'_>, depth: usize) -> Result<Condition, PatternError> {
    scanner.skip_blanks();
    if scanner.take("(") {
        if depth == MOST_DEPTH {
            return Err(PatternError::new("the parentheses are nested too deeply"));
        }
        let inside = any(scanner, depth + 1)?;
        scanner.expect(")")?;
        return Ok(inside);
    }
    let selector = selector(scanner)?;
    if scanner.take_word("IS") {
        return if scanner.take_word("NULL") {
            Ok(Condition::Null(selector))
        } else if scanner.take_word("TRUE") {
            Ok(Condition::True(selector))
        } else if scanner.take_word("FALSE") {
            Ok(Condition::False(selector))
        } else {
            Err(scanner.unexpected("NULL, TRUE or FALSE"))
        };
    }
    if scanner.take_word("NOT") {
        return if scanner.take_word("EXISTS") {
            Ok(Condition::NotExists(selector))
        } else {
            Err(scanner.unexpected("EXISTS"))
        };
    }
    let Some(operator) = operator(scanner) else { return Err(scanner.unexpected("an operator")) };
    let value = value(scanner, operator)?;
    Ok(Condition::Compare(selector, operator, value))
}

/// `$.name.name[0]['odd name'][*]`
fn selector(scanner: &mut Scanner<'_>) -> Result<Selector, PatternError> {
    scanner.expect("$")?;
    let mut steps = Vec::new();
    loop {
        if scanner.take(".") {
            let name = scanner.take_while(|found| found.is_alphanumeric() || "_-@".contains(found));
            if name.is_empty() {
                return Err(scanner.unexpected("a name"));
            }
            steps.push(Step::Member(name.to_owned()));
        } else if scanner.take("[") {
            steps.push(subscript(scanner)?);
            scanner.expect("]")?;
        } else if steps.is_empty() {
            return Err(scanner.unexpected("."));
        } else {
            return Ok(Selector(steps));
        }
    }
}

fn subscript(scanner: &mut Scanner<'_>) -> Result<Step, PatternError> {
    scanner.skip_blanks();
    for mark in ['\'', '"'] {
        if scanner.take(mark.encode_utf8(&mut [0; 4])) {
            return scanner.quoted(mark).map(Step::Member);
        }
    }
    if scanner.take("*") {
        return Ok(Step::Each);
    }
    let digits = scanner.take_while(|found| found.is_ascii_digit());
    digits.parse().map(Step::Index).map_err(|_| scanner.unexpected("a number"))
}
