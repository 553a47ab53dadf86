//! `RedrivePolicy` and `RedriveAllowPolicy` (facts, SQS §8 and §11).

use std::collections::BTreeMap;

use lambfold_api::Fault;
use lambfold_types::{Arn, QueueName, Scope};
use serde::Deserialize;
use serde_json::Value;

use super::faults;
use crate::{Queue, QueueHandle, QueueProperties, Redrive};

/// The attribute of the source.
pub(super) const REDRIVE_POLICY: &str = "RedrivePolicy";
/// The attribute of the dead-letter queue.
pub(super) const REDRIVE_ALLOW_POLICY: &str = "RedriveAllowPolicy";

const TARGET: &str = "deadLetterTargetArn";
const MAX_RECEIVE_COUNT: &str = "maxReceiveCount";
const MOST_SOURCES: usize = 10;

/// Reads a redrive policy as far as that takes no other queue.
pub(super) fn policy(text: &str) -> Result<Redrive, Fault> {
    let policy = serde_json::from_str::<BTreeMap<String, Value>>(text).map_err(|_| {
        faults::attribute_value_for(REDRIVE_POLICY, "Redrive policy is not a valid JSON map.")
    })?;
    let member = |name: &str| {
        let missing = format!("Redrive policy does not contain mandatory attribute: {name}.");
        policy.get(name).filter(|value| !value.is_null()).ok_or_else(|| refused(text, &missing))
    };
    let (count, target) = (member(MAX_RECEIVE_COUNT)?, member(TARGET)?);
    // A string, too: CloudFormation and Terraform have always sent it so.
    let shown = count.as_str().map_or_else(|| count.to_string(), str::to_owned);
    let max_receive_count =
        shown.parse().ok().filter(|count| (1..=1000).contains(count)).ok_or_else(|| {
            let reason = format!(
                "Invalid value for maxReceiveCount: {shown}, valid values are from 1 to 1000 both inclusive."
            );
            refused(text, &reason)
        })?;
    let dead_letter_queue = arn(target.as_str().unwrap_or_default())
        .map(|(_, name)| name)
        .ok_or_else(|| refused(text, "Invalid value for deadLetterTargetArn."))?;
    Ok(Redrive { dead_letter_queue, max_receive_count })
}

/// Refuses the redrive policy in `given`, if there is one, unless its target is there, is of the same kind, account and
/// region, and lets this source in.
pub(super) fn check_target(
    engine: &QueueHandle,
    scope: &Scope,
    name: &QueueName,
    given: &BTreeMap<String, String>,
) -> Result<(), Fault> {
    let Some(text) = given.get(REDRIVE_POLICY).filter(|text| !text.is_empty()) else { return Ok(()) };
    let redrive = policy(text)?;
    let value: Value = serde_json::from_str(text).map_err(|_| faults::attribute_value(REDRIVE_POLICY))?;
    let missing = || refused(text, "Dead letter target does not exist.");
    let (target, _) = arn(value[TARGET].as_str().unwrap_or_default()).ok_or_else(missing)?;
    if target.region != scope.region {
        return Err(refused(text, "Dead-letter target must be in same region as the source."));
    }
    if target.account != scope.account {
        return Err(refused(text, "Dead-letter target owner should be same as the source."));
    }
    let target = engine.queue(scope, &redrive.dead_letter_queue).map_err(|_| missing())?;
    if target.name().is_fifo() != name.is_fifo() {
        return Err(refused(text, "Dead-letter queue must be same type of queue as the source."));
    }
    if !allows(&target.properties(), &Arn::queue(scope, name.as_str()).to_string()) {
        let reason = "Dead letter target does not allow this queue as a source: see its RedriveAllowPolicy.";
        return Err(refused(text, reason));
    }
    Ok(())
}

/// Whether `source` sends its dead letters to `target`.
pub(super) fn leads_to(source: &Queue, target: &Queue) -> bool {
    let redrive =
        source.properties().settings.redrive.as_ref().map(|redrive| redrive.dead_letter_queue.clone());
    source.scope() == target.scope() && redrive.as_ref() == Some(target.name())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AllowPolicy {
    redrive_permission: String,
    source_queue_arns: Option<Vec<String>>,
}

/// Refuses what is no redrive allow policy.
pub(super) fn check_allow_policy(text: &str) -> Result<(), Fault> {
    const CANNOT: &str = "Amazon SQS can't create the redrive allow policy";
    let policy: AllowPolicy = serde_json::from_str(text).map_err(|_| {
        let reason = format!("{CANNOT}, as it's in an unsupported format.");
        faults::attribute_value_for(REDRIVE_ALLOW_POLICY, &reason)
    })?;
    let sources = policy.source_queue_arns.as_deref();
    let wrong = match policy.redrive_permission.as_str() {
        "allowAll" | "denyAll" if sources.is_none() => return Ok(()),
        "allowAll" | "denyAll" => "sourceQueueArns go with the redrivePermission byQueue only.".to_owned(),
        "byQueue" => match sources.unwrap_or_default() {
            [] => "The redrivePermission byQueue takes sourceQueueArns.".to_owned(),
            many if many.len() > MOST_SOURCES => {
                format!("There may be up to {MOST_SOURCES} sourceQueueArns.")
            }
            some => match some.iter().find(|source| arn(source).is_none()) {
                Some(source) => format!("{source} is not the ARN of a queue."),
                None => return Ok(()),
            },
        },
        other => format!("The redrivePermission {other} is not one of allowAll, denyAll and byQueue."),
    };
    Err(faults::invalid_value(text, REDRIVE_ALLOW_POLICY, &format!("{CANNOT}. {wrong}")))
}

/// Without a policy every queue of the account may name this one.
fn allows(target: &QueueProperties, source_arn: &str) -> bool {
    let policy = target.attributes.get(REDRIVE_ALLOW_POLICY);
    let Some(policy) = policy.and_then(|text| serde_json::from_str::<AllowPolicy>(text).ok()) else {
        return true;
    };
    match policy.redrive_permission.as_str() {
        "denyAll" => false,
        "byQueue" => policy.source_queue_arns.unwrap_or_default().iter().any(|source| source == source_arn),
        _ => true,
    }
}

fn arn(text: &str) -> Option<(Scope, QueueName)> {
    let arn: Arn = text.parse().ok()?;
    let name = arn.resource.parse().ok()?;
    (arn.service == "sqs").then_some((arn.scope, name))
}

fn refused(policy: &str, reason: &str) -> Fault {
    faults::invalid_value(policy, REDRIVE_POLICY, reason)
}
