//! Patterns of events whose fields are separated by blanks.

use super::PatternError;
use super::comparison::{Operator, Value, compare_numbers, compare_text, operator, value};
use super::scanner::Scanner;

#[derive(Debug)]
pub(super) struct Columns {
    before: Vec<Column>,
    /// The columns after `...`; `None` where there is no `...`, and events have exactly as many fields.
    after: Option<Vec<Column>>,
}

/// What a field must be: one of these, each of which is all of its comparisons. Empty for anything.
#[derive(Debug, Default)]
struct Column(Vec<Vec<(Operator, Value)>>);

impl Column {
    fn matches(&self, field: &str) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|all| all.iter().all(|(operator, wanted)| compare(field, *operator, wanted)))
    }
}

/// A field that looks like a number is one, if a number is wanted.
fn compare(field: &str, operator: Operator, wanted: &Value) -> bool {
    match (field.parse::<f64>(), wanted) {
        (Ok(found), Value::Number(wanted, _)) => compare_numbers(found, operator, *wanted),
        _ => compare_text(field, operator, wanted),
    }
}

impl Columns {
    pub(super) fn match_text(&self, message: &str) -> bool {
        let fields = fields(message.trim_end());
        let pair = |columns: &[Column], fields: &[&str]| {
            columns.iter().zip(fields).all(|(column, field)| column.matches(field))
        };
        match &self.after {
            None => fields.len() == self.before.len() && pair(&self.before, &fields),
            Some(after) => {
                fields.len() >= self.before.len() + after.len()
                    && pair(&self.before, &fields)
                    && pair(after, &fields[fields.len() - after.len()..])
            }
        }
    }
}

/// The fields of an event: what is between quotation marks or square brackets is one.
fn fields(message: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    let mut rest = message.trim_start();
    while !rest.is_empty() {
        let closing = match rest.as_bytes().first() {
            Some(b'"') => Some('"'),
            Some(b'[') => Some(']'),
            _ => None,
        };
        let inside = closing.and_then(|closing| {
            let end = rest[1..].find(closing)?;
            Some((&rest[1..=end], &rest[end + 2..]))
        });
        let (field, after) = inside.unwrap_or_else(|| {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            rest.split_at(end)
        });
        fields.push(field);
        rest = after.trim_start();
    }
    fields
}

pub(super) fn parse(scanner: &mut Scanner<'_>) -> Result<Columns, PatternError> {
    scanner.expect("[")?;
    let mut columns = Columns { before: Vec::new(), after: None };
    loop {
        scanner.skip_blanks();
        if scanner.take("...") {
            if columns.after.is_some() {
                return Err(PatternError::new("... stands twice"));
            }
            columns.after = Some(Vec::new());
        } else {
            let column = column(scanner)?;
            columns.after.as_mut().unwrap_or(&mut columns.before).push(column);
        }
        scanner.skip_blanks();
        if scanner.take("]") {
            return Ok(columns);
        }
        scanner.expect(",")?;
    }
}

/// `name`, or conditions on it: `name = a* && name != ab || name = c`.
fn column(scanner: &mut Scanner<'_>) -> Result<Column, PatternError> {
    let name = name(scanner)?;
    let Some(first) = operator(scanner) else { return Ok(Column::default()) };
    let mut all = vec![(first, value(scanner, first)?)];
    let mut column = Column::default();
    loop {
        scanner.skip_blanks();
        let or = scanner.take("||");
        if !or && !scanner.take("&&") {
            column.0.push(all);
            return Ok(column);
        }
        if self::name(scanner)? != name {
            return Err(PatternError::new(format!("a condition of '{name}' is about another column")));
        }
        let Some(next) = operator(scanner) else { return Err(scanner.unexpected("an operator")) };
        let condition = (next, value(scanner, next)?);
        if or {
            column.0.push(std::mem::replace(&mut all, vec![condition]));
        } else {
            all.push(condition);
        }
    }
}

fn name<'a>(scanner: &mut Scanner<'a>) -> Result<&'a str, PatternError> {
    scanner.skip_blanks();
    let name = scanner.take_while(|found| found.is_alphanumeric() || "_-".contains(found));
    if name.is_empty() { Err(scanner.unexpected("the name of a column")) } else { Ok(name) }
}
