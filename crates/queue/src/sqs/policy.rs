//! The queue's policy: what is one, and how AddPermission and RemovePermission write it (facts, SQS §9).

mod check;

pub(super) use check::{MOST_ACTIONS, MOST_STATEMENTS, check, check_grant, check_size};
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A policy document, its members in the order in which AWS writes them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Policy {
    #[serde(rename = "Version", default = "version")]
    version: String,
    #[serde(rename = "Id", skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(rename = "Statement", default, deserialize_with = "one_or_many")]
    statements: Vec<Statement>,
    /// What a policy that was set whole may have besides.
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Statement {
    Added(Box<Added>),
    Other(Value),
}

/// A statement as AddPermission makes it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Added {
    #[serde(rename = "Sid")]
    sid: String,
    #[serde(rename = "Effect")]
    effect: String,
    #[serde(rename = "Principal")]
    principal: Principal,
    #[serde(rename = "Action")]
    action: OneOrMany,
    #[serde(rename = "Resource")]
    resource: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Principal {
    #[serde(rename = "AWS")]
    aws: OneOrMany,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<Vec<String>> for OneOrMany {
    fn from(mut texts: Vec<String>) -> Self {
        if texts.len() == 1 { Self::One(texts.remove(0)) } else { Self::Many(texts) }
    }
}

impl Policy {
    /// The queue's policy, or a new one for the queue of that ARN.
    pub(super) fn of(current: Option<&str>, queue_arn: &str) -> Self {
        current.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| Self {
            version: version(),
            id: Some(format!("{queue_arn}/SQSDefaultPolicy")),
            statements: Vec::new(),
            rest: BTreeMap::new(),
        })
    }

    /// How many statements it has.
    pub(super) fn len(&self) -> usize {
        self.statements.len()
    }

    /// Whether a statement has that label.
    pub(super) fn has(&self, label: &str) -> bool {
        self.statements.iter().any(|statement| statement.label() == Some(label))
    }

    /// Lets `principals` (ARNs) perform `actions` (`SQS:SendMessage`) on the queue.
    pub(super) fn add(
        &mut self,
        label: &str,
        principals: Vec<String>,
        actions: Vec<String>,
        queue_arn: &str,
    ) {
        self.statements.push(Statement::Added(Box::new(Added {
            sid: label.to_owned(),
            effect: "Allow".to_owned(),
            principal: Principal { aws: principals.into() },
            action: actions.into(),
            resource: queue_arn.to_owned(),
        })));
    }

    /// Takes out the statement of that label.
    pub(super) fn remove(&mut self, label: &str) {
        self.statements.retain(|statement| statement.label() != Some(label));
    }

    /// The document; `None` if nothing is left to say.
    pub(super) fn text(&self) -> Option<String> {
        if self.statements.is_empty() { None } else { serde_json::to_string(self).ok() }
    }
}

impl Statement {
    fn label(&self) -> Option<&str> {
        match self {
            Self::Added(added) => Some(&added.sid),
            Self::Other(value) => value["Sid"].as_str(),
        }
    }
}

fn version() -> String {
    "2008-10-17".to_owned()
}

/// IAM takes a single statement without brackets, too.
fn one_or_many<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<Statement>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Many(Vec<Statement>),
        One(Statement),
    }
    Ok(match Form::deserialize(from)? {
        Form::Many(statements) => statements,
        Form::One(statement) => vec![statement],
    })
}

#[cfg(test)]
mod tests {
    use super::Policy;

    const ARN: &str = "arn:aws:sqs:us-east-1:000000000000:jobs";

    #[test]
    fn a_new_policy_is_written_as_aws_writes_it() {
        let mut policy = Policy::of(None, ARN);
        let root = |account: &str| format!("arn:aws:iam::{account}:root");
        policy.add("one", vec![root("111111111111")], vec!["SQS:SendMessage".into()], ARN);
        assert_eq!(
            policy.text().unwrap(),
            "{\"Version\":\"2008-10-17\",\"Id\":\"arn:aws:sqs:us-east-1:000000000000:jobs/SQSDefaultPolicy\",\
             \"Statement\":[{\"Sid\":\"one\",\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\
             \"arn:aws:iam::111111111111:root\"},\"Action\":\"SQS:SendMessage\",\
             \"Resource\":\"arn:aws:sqs:us-east-1:000000000000:jobs\"}]}"
        );
        let mut again = Policy::of(policy.text().as_deref(), ARN);
        assert!(again.has("one") && !again.has("two"));
        assert_eq!(again.text(), policy.text(), "it reads what it wrote");
        again.remove("one");
        assert_eq!(again.text(), None);
    }

    #[test]
    fn what_somebody_else_wrote_stays() {
        let theirs = r#"{"Version":"2012-10-17","Statement":{"Sid":"own","Effect":"Deny","Principal":"*","Action":"*","Condition":{}}}"#;
        let mut policy = Policy::of(Some(theirs), ARN);
        assert!(policy.has("own"));
        policy.add("two", vec!["a".into(), "b".into()], vec!["SQS:*".into()], ARN);
        let text = policy.text().unwrap();
        assert!(
            text.contains("2012-10-17") && text.contains("Condition") && !text.contains("SQSDefaultPolicy")
        );
    }
}
