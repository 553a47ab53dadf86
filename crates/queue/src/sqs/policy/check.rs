//! What SQS takes for a policy. The texts are AWS's, as quoted in public trackers.

use lambfold_api::Fault;
use lambfold_api::sqs::{ErrorCode, SQS_OPERATIONS};
use serde_json::Value;

use crate::sqs::attributes::POLICY;
use crate::sqs::faults;

/// Actions in a statement (developer guide, "Amazon SQS policy quotas").
pub(in crate::sqs) const MOST_ACTIONS: usize = 7;
/// Statements in a policy.
pub(in crate::sqs) const MOST_STATEMENTS: usize = 20;
/// Bytes of a policy.
const MOST_BYTES: usize = 8192;
/// Kinds of those whom a statement is about.
const PRINCIPALS: [&str; 4] = ["AWS", "CanonicalUser", "Federated", "Service"];
const VERSIONS: [&str; 2] = ["2008-10-17", "2012-10-17"];

/// What only the owner of a queue may do (developer guide, "Amazon SQS API permissions").
const OWNER_ONLY: [&str; 12] = [
    "AddPermission",
    "CancelMessageMoveTask",
    "CreateQueue",
    "DeleteQueue",
    "ListMessageMoveTasks",
    "ListQueues",
    "ListQueueTags",
    "RemovePermission",
    "SetQueueAttributes",
    "StartMessageMoveTask",
    "TagQueue",
    "UntagQueue",
];

/// Refuses what is no policy of a queue.
pub(in crate::sqs) fn check(text: &str) -> Result<(), Fault> {
    let wrong = || faults::attribute_value(POLICY);
    check_size(text)?;
    let policy: Value = serde_json::from_str(text).map_err(|_| wrong())?;
    let version = policy.get("Version");
    if version.is_some_and(|version| !version.as_str().is_some_and(|it| VERSIONS.contains(&it))) {
        return Err(wrong());
    }
    let statements = one_or_many(policy.get("Statement")).filter(|it| !it.is_empty()).ok_or_else(wrong)?;
    if statements.len() > MOST_STATEMENTS {
        let count = statements.len();
        return Err(over_limit(format!(
            "{count} statements were found in the submitted policy, max allowed is {MOST_STATEMENTS}"
        )));
    }
    statements.iter().try_for_each(check_statement)
}

/// Refuses what is too long.
pub(in crate::sqs) fn check_size(text: &str) -> Result<(), Fault> {
    if text.len() > MOST_BYTES {
        return Err(over_limit("Submitted policy is over max allowed size.".to_owned()));
    }
    Ok(())
}

fn check_statement(statement: &Value) -> Result<(), Fault> {
    let has_one_of = |name: &str| {
        let (is, is_not) = (statement.get(name), statement.get(format!("Not{name}")));
        is.is_some() != is_not.is_some()
    };
    let effect = statement.get("Effect").and_then(Value::as_str);
    if !matches!(effect, Some("Allow" | "Deny")) || !has_one_of("Principal") || !has_one_of("Action") {
        return Err(faults::attribute_value(POLICY));
    }
    let mut principals = ["Principal", "NotPrincipal"].into_iter().filter_map(|it| statement.get(it));
    let is_sound = principals.all(is_principal) && statement.get("Condition").is_none_or(is_condition);
    if !is_sound {
        return Err(faults::attribute_value(POLICY));
    }
    let Some(actions) = statement.get("Action") else { return Ok(()) };
    let actions = one_or_many(Some(actions)).filter(|it| !it.is_empty());
    let actions = actions.ok_or_else(|| faults::attribute_value(POLICY))?;
    if actions.len() > MOST_ACTIONS {
        let count = actions.len();
        return Err(over_limit(format!(
            "{count} actions were found in a statement from the submitted policy, max allowed is {MOST_ACTIONS}"
        )));
    }
    actions
        .iter()
        .try_for_each(|action| check_action(action.as_str().ok_or_else(|| faults::attribute_value(POLICY))?))
}

/// Everybody, or lists by the kind of who is meant (IAM's grammar of policies, `<principal_block>`).
fn is_principal(value: &Value) -> bool {
    // Templates write accounts as numbers, too.
    let is_name = |it: &Value| it.is_string() || it.is_number();
    let names = |names: &Value| one_or_many(Some(names)).is_some_and(|it| it.iter().all(is_name));
    match value {
        Value::String(name) => name == "*",
        Value::Object(kinds) => {
            !kinds.is_empty()
                && kinds.iter().all(|(kind, listed)| PRINCIPALS.contains(&kind.as_str()) && names(listed))
        }
        _ => false,
    }
}

/// Operators, and for each the keys that it compares (`<condition_block>`).
fn is_condition(value: &Value) -> bool {
    let is_operand = |it: &Value| it.is_string() || it.is_number() || it.is_boolean();
    let operands = |it: &Value| one_or_many(Some(it)).is_some_and(|it| it.iter().all(is_operand));
    value.as_object().is_some_and(|operators| {
        operators.values().all(|keys| keys.as_object().is_some_and(|keys| keys.values().all(operands)))
    })
}

/// Refuses what AddPermission gives nobody. Policies may speak of it, as those do that forbid it.
pub(in crate::sqs) fn check_grant(action: &str) -> Result<(), Fault> {
    check_action(action)?;
    match action.split_once(':') {
        Some((_, name)) if OWNER_ONLY.contains(&name) => {
            Err(refused(action, "Only the queue owner is allowed to invoke this action."))
        }
        _ => Ok(()),
    }
}

/// Refuses what a statement cannot speak of. `action` is `SQS:SendMessage`, or a pattern. A permission for an action is one for
/// its batches, which have no name here.
fn check_action(action: &str) -> Result<(), Fault> {
    if action == "*" {
        return Ok(());
    }
    let of_sqs = action.split_once(':').filter(|(service, _)| service.eq_ignore_ascii_case("sqs"));
    let name = of_sqs.map_or("", |(_, name)| name);
    if name.contains(['*', '?']) {
        return Ok(());
    }
    let is = |known: &str| known.eq_ignore_ascii_case(name);
    let known =
        SQS_OPERATIONS.iter().any(|operation| is(operation.name) && !operation.name.ends_with("Batch"));
    if known {
        return Ok(());
    }
    let shown = if of_sqs.is_some() { format!("SQS:{name}") } else { action.to_owned() };
    Err(refused(&shown, "Please refer to the appropriate WSDL for a list of valid actions."))
}

fn refused(action: &str, reason: &str) -> Fault {
    faults::invalid_value(action, "ActionName", reason)
}

/// IAM takes a single thing without brackets, too.
fn one_or_many(value: Option<&Value>) -> Option<&[Value]> {
    match value? {
        Value::Array(many) => Some(many),
        one => Some(std::slice::from_ref(one)),
    }
}

fn over_limit(text: String) -> Fault {
    Fault::new(ErrorCode::OverLimit, text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(policy: &Value) -> String {
        match check(&policy.to_string()) {
            Ok(()) => "fine".to_owned(),
            Err(fault) => format!("{}: {}", fault.code(), fault.message()),
        }
    }

    #[test]
    fn policies_are_taken_and_refused_as_by_aws() {
        let with = |name: &str, value: Value| {
            let mut statement =
                json!({"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"});
            statement[name] = value;
            statement
        };
        let policy = |statement: Value| json!({"Version": "2012-10-17", "Statement": statement});
        let sound = with("Sid", json!("one"));
        for fine in [
            policy(sound.clone()),
            policy(json!([sound, with("Effect", json!("Deny"))])),
            json!({"Statement": [sound], "Id": "x"}),
            policy(with(
                "Action",
                json!(["sqs:sendmessage", "SQS:Get*", "*", "sqs:PurgeQueue", "sqs:AddPermission"]),
            )),
            policy(json!({"Effect": "Deny", "NotPrincipal": {"AWS": "1"}, "NotAction": "sqs:CreateQueue"})),
            policy(with("Principal", json!({"AWS": ["1", "*"], "Service": "sns.amazonaws.com"}))),
            policy(with(
                "Condition",
                json!({"Bool": {"aws:SecureTransport": false}, "StringLike": {"aws:x": ["a", 1]}}),
            )),
        ] {
            assert_eq!(said(&fine), "fine", "{fine}");
        }
        let no_principal = json!({"Effect": "Allow", "Action": "sqs:SendMessage"});
        let both = with("NotAction", json!("sqs:SendMessage"));
        for wrong in [
            json!({}),
            json!([]),
            json!({"foo": "bar"}),
            policy(json!([])),
            policy(json!("text")),
            json!({"Version": "2013-01-01", "Statement": [sound]}),
            policy(with("Effect", json!("Maybe"))),
            policy(with("Action", json!(7))),
            policy(with("Principal", Value::Null)),
            policy(with("Principal", json!("111122223333"))),
            policy(with("Principal", json!({"aws": "*"}))),
            policy(with("Condition", json!(5))),
            policy(with("Condition", json!({"Bool": "aws:SecureTransport"}))),
            policy(no_principal),
            policy(both),
        ] {
            assert_eq!(
                said(&wrong),
                "InvalidAttributeValue: Invalid value for the parameter Policy.",
                "{wrong}"
            );
        }
        let reason = "Please refer to the appropriate WSDL for a list of valid actions.";
        for (action, shown) in [
            ("sqs:ChangeMessageVisibilityBatch", "SQS:ChangeMessageVisibilityBatch"),
            ("sqs:Bogus", "SQS:Bogus"),
            ("sns:Publish", "sns:Publish"),
        ] {
            assert_eq!(
                said(&policy(with("Action", json!([action])))),
                format!(
                    "InvalidParameterValueException: Value {shown} for parameter ActionName is invalid. Reason: {reason}"
                )
            );
        }
    }

    #[test]
    fn policies_have_quotas() {
        let statement = |actions: usize, resource: &str| json!({"Effect": "Allow", "Principal": "*", "Action": vec!["sqs:SendMessage"; actions], "Resource": resource});
        let policy = |statements: Vec<Value>| json!({"Statement": statements});
        assert_eq!(said(&policy(vec![statement(7, "*"); 20])), "fine");
        for (refused, words) in [
            (
                vec![statement(1, "*"); 21],
                "21 statements were found in the submitted policy, max allowed is 20",
            ),
            (
                vec![statement(8, "*")],
                "8 actions were found in a statement from the submitted policy, max allowed is 7",
            ),
            (vec![statement(1, &"x".repeat(8192))], "Submitted policy is over max allowed size."),
        ] {
            assert_eq!(said(&policy(refused)), format!("OverLimit: {words}"));
        }
    }
}
