//! The constraints of AWS's service models, with AWS's own words for a breach (facts: Lambda API §1).

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::OnceLock;

use bytes::Bytes;

use crate::fault::Fault;
use crate::operation::{Operation, Validation};
use crate::schema::Shape;

/// What a member may hold. Lengths are of characters, bytes or entries.
#[derive(Debug)]
pub struct Constraint {
    /// Absence is a breach.
    pub required: bool,
    /// The least length.
    pub min_length: Option<i64>,
    /// The greatest length.
    pub max_length: Option<i64>,
    /// The least value.
    pub min: Option<i64>,
    /// The greatest value.
    pub max: Option<i64>,
    /// What the whole value must match.
    pub pattern: Option<Pattern>,
    /// The members of an enum; empty for none.
    pub values: &'static [&'static str],
}

/// A regular expression that is compiled when it is first used.
#[derive(Debug)]
pub struct Pattern {
    text: &'static str,
    compiled: OnceLock<Option<fancy_regex::Regex>>,
}

impl Pattern {
    /// A pattern that the whole value must match.
    pub const fn new(text: &'static str) -> Self {
        Self { text, compiled: OnceLock::new() }
    }

    fn matches(&self, value: &str) -> bool {
        let compiled =
            self.compiled.get_or_init(|| fancy_regex::Regex::new(&format!("^(?:{})$", self.text)).ok());
        // A test compiles every pattern of the contract. A value that makes the engine give up does not match.
        compiled.as_ref().is_some_and(|regex| regex.is_match(value).unwrap_or(false))
    }
}

/// Collects breaches while a shape is walked.
#[derive(Debug, Default)]
pub struct Violations {
    path: String,
    texts: Vec<String>,
    /// The first missing member of the request itself, or id of a batch's entry: the Query services word only that.
    missing: Option<String>,
}

/// No request has more breaches told than this; a body of a million bad entries is not worth a longer answer.
const MOST_TOLD: usize = 20;
/// Values are quoted up to this many characters.
const QUOTED: usize = 1024;

impl Violations {
    /// Checks `input` as the service of `operation` words it.
    pub fn check<T: Shape>(operation: &Operation, input: &T) -> Result<(), Fault> {
        let mut found = Self::default();
        input.validate(&mut found);
        if found.texts.is_empty() {
            return Ok(());
        }
        match operation.validation {
            Validation::Query => match found.missing {
                // For these SQS has words of its own.
                Some(name) if matches!(&*name, "QueueUrl" | "QueueName" | "ReceiptHandle") => Ok(()),
                Some(name) => Err(Fault::raw(
                    "MissingRequiredParameterException",
                    "MissingParameter",
                    400,
                    format!("The request must contain the parameter {}.", in_batch(operation, &name)),
                )),
                None => Ok(()),
            },
            Validation::Framework => Err(found.told("ValidationException")),
            Validation::InvalidParameter => Err(found.told("InvalidParameterException")),
        }
    }

    fn told(&self, code: &'static str) -> Fault {
        let (count, plural) = (self.texts.len(), if self.texts.len() == 1 { "" } else { "s" });
        let message = format!("{count} validation error{plural} detected: {}", self.texts.join("; "));
        Fault::raw(code, code, 400, message)
    }

    /// A string member.
    pub fn text(&mut self, name: &str, value: Option<&str>, constraint: &'static Constraint) {
        match value {
            None => self.absent(name, constraint),
            Some(value) => {
                for rule in text_breaches(value, constraint) {
                    self.add(name, &value, &rule);
                }
            }
        }
    }

    /// A whole number.
    pub fn integer(&mut self, name: &str, value: Option<i64>, constraint: &'static Constraint) {
        match value {
            None => self.absent(name, constraint),
            Some(value) => {
                if let Some(max) = constraint.max.filter(|max| value > *max) {
                    self.add(name, &value, &format!("Member must have value less than or equal to {max}"));
                }
                if let Some(min) = constraint.min.filter(|min| value < *min) {
                    self.add(name, &value, &format!("Member must have value greater than or equal to {min}"));
                }
            }
        }
    }

    /// A number.
    #[expect(clippy::cast_precision_loss, reason = "bounds of doubles are small whole numbers")]
    pub fn double(&mut self, name: &str, value: Option<f64>, constraint: &'static Constraint) {
        match value {
            None => self.absent(name, constraint),
            Some(value) => {
                if let Some(max) = constraint.max.filter(|max| value > *max as f64) {
                    self.add(name, &value, &format!("Member must have value less than or equal to {max}"));
                }
                if let Some(min) = constraint.min.filter(|min| value < *min as f64) {
                    self.add(name, &value, &format!("Member must have value greater than or equal to {min}"));
                }
            }
        }
    }

    /// A truth value.
    pub fn boolean(&mut self, name: &str, value: Option<bool>, constraint: &'static Constraint) {
        if value.is_none() {
            self.absent(name, constraint);
        }
    }

    /// Bytes.
    pub fn blob(&mut self, name: &str, value: Option<&Bytes>, constraint: &'static Constraint) {
        match value {
            None => self.absent(name, constraint),
            Some(bytes) => {
                for rule in length_breaches(bytes.len(), constraint) {
                    self.add(name, &"<blob>", &rule);
                }
            }
        }
    }

    /// A structure that must be there.
    pub fn required<T: Shape>(&mut self, name: &str, value: Option<&T>) {
        if value.is_none() {
            self.miss(name);
        }
        self.nested(name, value);
    }

    /// A structure that may be there.
    pub fn nested<T: Shape>(&mut self, name: &str, value: Option<&T>) {
        if let Some(value) = value {
            self.descend(&camel(name), |found| value.validate(found));
        }
    }

    /// The structures of a list.
    pub fn list<'a, T: Shape>(&mut self, name: &str, items: impl Iterator<Item = &'a T>) {
        for (index, item) in items.enumerate() {
            self.descend(&format!("{}.{}.member", camel(name), index + 1), |found| item.validate(found));
        }
    }

    /// The structures of a map.
    pub fn structures<'a, T: Shape>(
        &mut self,
        name: &str,
        entries: impl Iterator<Item = (&'a String, &'a T)>,
    ) {
        for (key, item) in entries {
            let key: String = key.chars().take(QUOTED).collect();
            self.descend(&format!("{}.{key}.member", camel(name)), |found| item.validate(found));
        }
    }

    /// The number of entries of a list or map.
    pub fn size(&mut self, name: &str, size: Option<usize>, constraint: &'static Constraint) {
        match size {
            None => self.absent(name, constraint),
            Some(size) => {
                for rule in length_breaches(size, constraint) {
                    self.add(name, &format!("[{size} entries]"), &rule);
                }
            }
        }
    }

    /// A list of strings: its size, and each of them.
    pub fn texts(
        &mut self,
        name: &str,
        items: Option<&[String]>,
        size: &'static Constraint,
        each: &'static Constraint,
    ) {
        let Some(items) = items else { return self.absent(name, size) };
        let printed = || format!("[{}]", items.join(", "));
        for rule in length_breaches(items.len(), size) {
            self.add(name, &printed(), &rule);
        }
        if items.iter().any(|item| !text_breaches(item, each).is_empty()) {
            let rule = format!("Member must satisfy constraint: [{}]", all_rules(each));
            self.add(name, &printed(), &rule);
        }
    }

    /// A map of strings: its size, its keys and its values.
    pub fn map(
        &mut self,
        name: &str,
        entries: Option<&BTreeMap<String, String>>,
        size: &'static Constraint,
        key: &'static Constraint,
        each: &'static Constraint,
    ) {
        let inside = |value: &String| text_breaches(value, each).is_empty();
        self.entries(name, entries, (size, key, each), inside);
    }

    /// A map of numbers: its size, its keys and its values.
    #[expect(clippy::cast_precision_loss, reason = "bounds of doubles are small whole numbers")]
    pub fn doubles(
        &mut self,
        name: &str,
        entries: Option<&BTreeMap<String, f64>>,
        size: &'static Constraint,
        key: &'static Constraint,
        each: &'static Constraint,
    ) {
        let (most, least) = (each.max.map(|max| max as f64), each.min.map(|min| min as f64));
        let inside =
            |value: &f64| most.is_none_or(|max| *value <= max) && least.is_none_or(|min| *value >= min);
        self.entries(name, entries, (size, key, each), inside);
    }

    fn entries<T: Display>(
        &mut self,
        name: &str,
        entries: Option<&BTreeMap<String, T>>,
        (size, key, each): (&'static Constraint, &'static Constraint, &'static Constraint),
        inside: impl Fn(&T) -> bool,
    ) {
        let Some(entries) = entries else { return self.absent(name, size) };
        let printed = || {
            let inner: Vec<_> = entries.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("{{{}}}", inner.join(", "))
        };
        for rule in length_breaches(entries.len(), size) {
            self.add(name, &printed(), &rule);
        }
        if entries.keys().any(|it| !text_breaches(it, key).is_empty()) {
            self.add(name, &printed(), &format!("Map keys must satisfy constraint: [{}]", all_rules(key)));
        }
        if !entries.values().all(inside) {
            self.add(name, &printed(), &format!("Map value must satisfy constraint: [{}]", all_rules(each)));
        }
    }

    fn absent(&mut self, name: &str, constraint: &Constraint) {
        if constraint.required {
            self.miss(name);
        }
    }

    fn miss(&mut self, name: &str) {
        // What else an entry or an attribute lacks fails it alone, as the service says.
        if self.path.is_empty() || name == "Id" {
            self.missing.get_or_insert_with(|| format!("{}{name}", self.path));
        }
        let path = format!("{}{}", self.path, camel(name));
        self.push(format!("Value null at '{path}' failed to satisfy constraint: Member must not be null"));
    }

    fn add(&mut self, name: &str, value: &dyn Display, rule: &str) {
        let mut quoted = value.to_string();
        if let Some((cut, _)) = quoted.char_indices().nth(QUOTED) {
            quoted.truncate(cut);
        }
        let path = format!("{}{}", self.path, camel(name));
        self.push(format!("Value '{quoted}' at '{path}' failed to satisfy constraint: {rule}"));
    }

    fn push(&mut self, text: String) {
        if self.texts.len() < MOST_TOLD {
            self.texts.push(text);
        }
    }

    fn descend(&mut self, step: &str, walk: impl FnOnce(&mut Self)) {
        let before = self.path.len();
        write!(self.path, "{step}.").expect("strings take writes");
        walk(self);
        self.path.truncate(before);
    }
}

/// `entries.2.member.Id` is `SendMessageBatchRequestEntry.2.Id` to AWS (aws-sdk-js, issue 2388).
fn in_batch(operation: &Operation, path: &str) -> String {
    match path.strip_prefix("entries.").and_then(|rest| rest.split_once(".member.")) {
        Some((number, name)) => format!("{}RequestEntry.{number}.{name}", operation.name),
        None => path.to_owned(),
    }
}

fn camel(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

fn text_breaches(value: &str, constraint: &Constraint) -> Vec<String> {
    let mut breaches = Vec::new();
    if constraint.min_length.is_some() || constraint.max_length.is_some() {
        breaches.extend(length_breaches(value.chars().count(), constraint));
    }
    if let Some(pattern) = constraint.pattern.as_ref().filter(|pattern| !pattern.matches(value)) {
        breaches.push(format!("Member must satisfy regular expression pattern: {}", pattern.text));
    }
    if !constraint.values.is_empty() && !constraint.values.contains(&value) {
        breaches.push(format!("Member must satisfy enum value set: [{}]", constraint.values.join(", ")));
    }
    breaches
}

fn length_breaches(length: usize, constraint: &Constraint) -> Vec<String> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let mut breaches = Vec::new();
    if let Some(max) = constraint.max_length.filter(|max| length > *max) {
        breaches.push(format!("Member must have length less than or equal to {max}"));
    }
    if let Some(min) = constraint.min_length.filter(|min| length < *min) {
        breaches.push(format!("Member must have length greater than or equal to {min}"));
    }
    breaches
}

/// All the rules of a list's members, broken or not, as AWS prints them.
fn all_rules(constraint: &Constraint) -> String {
    let mut rules = Vec::new();
    if let Some(max) = constraint.max {
        rules.push(format!("Member must have value less than or equal to {max}"));
    }
    if let Some(min) = constraint.min {
        rules.push(format!("Member must have value greater than or equal to {min}"));
    }
    if let Some(max) = constraint.max_length {
        rules.push(format!("Member must have length less than or equal to {max}"));
    }
    if let Some(min) = constraint.min_length {
        rules.push(format!("Member must have length greater than or equal to {min}"));
    }
    if let Some(pattern) = &constraint.pattern {
        rules.push(format!("Member must satisfy regular expression pattern: {}", pattern.text));
    }
    if !constraint.values.is_empty() {
        rules.push(format!("Member must satisfy enum value set: [{}]", constraint.values.join(", ")));
    }
    rules.push("Member must not be null".to_owned());
    rules.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lambda::{CreateFunctionRequest, FunctionCode, LAMBDA_CREATE_FUNCTION};
    use crate::sqs::{
        SQS_SEND_MESSAGE, SQS_SEND_MESSAGE_BATCH, SendMessageBatchRequest, SendMessageBatchRequestEntry,
        SendMessageRequest,
    };

    #[test]
    fn every_pattern_of_the_contract_compiles() {
        for pattern in crate::messages::PATTERNS {
            if let Err(error) = fancy_regex::Regex::new(&format!("^(?:{pattern})$")) {
                panic!("{pattern}: {error}");
            }
        }
    }

    /// Texts recorded from AWS: facts, Lambda API §1 and §16.
    #[test]
    fn the_framework_words_breaches_as_aws_does() {
        let input = CreateFunctionRequest {
            function_name: Some("f".into()),
            role: Some("arn:aws:iam::000000000000:role/r".into()),
            code: Some(FunctionCode::default()),
            memory_size: Some(1),
            architectures: Some(vec!["x86_64".to_owned(), "z80".to_owned()].into()),
            ..Default::default()
        };
        let fault = Violations::check(&LAMBDA_CREATE_FUNCTION, &input).unwrap_err();
        assert_eq!((fault.code(), fault.http_status()), ("ValidationException", 400));
        assert_eq!(
            fault.message(),
            "3 validation errors detected: Value '1' at 'memorySize' failed to satisfy constraint: Member must have \
             value greater than or equal to 128; Value '[x86_64, z80]' at 'architectures' failed to satisfy \
             constraint: Member must have length less than or equal to 1; Value '[x86_64, z80]' at 'architectures' \
             failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: \
             [x86_64, arm64], Member must not be null]"
        );
    }

    #[test]
    fn a_missing_member_is_named_by_the_query_services() {
        let mut input = SendMessageRequest { queue_url: Some("q".into()), ..Default::default() };
        let fault = Violations::check(&SQS_SEND_MESSAGE, &input).unwrap_err();
        assert_eq!(fault.query_code(), "MissingParameter");
        assert_eq!(fault.message(), "The request must contain the parameter MessageBody.");
        // A queue that is not named does not exist: the service says so, before all else.
        input.queue_url = None;
        assert_eq!(Violations::check(&SQS_SEND_MESSAGE, &input), Ok(()));
        let entry =
            |id: Option<&str>| SendMessageBatchRequestEntry { id: id.map(Into::into), ..Default::default() };
        let input = SendMessageBatchRequest {
            queue_url: Some("q".into()),
            entries: vec![entry(Some("a")), entry(None)],
        };
        let fault = Violations::check(&SQS_SEND_MESSAGE_BATCH, &input).unwrap_err();
        assert_eq!(
            fault.message(),
            "The request must contain the parameter SendMessageBatchRequestEntry.2.Id."
        );
    }
}
