//! AddPermission and RemovePermission: statements of the queue's policy (facts, SQS §9).

use lambfold_api::sqs::{
    AddPermissionRequest, AddPermissionResponse, ErrorCode, RemovePermissionRequest, RemovePermissionResponse,
};
use lambfold_api::{CallContext, Fault};
use lambfold_types::{AccountId, Arn};

use crate::sqs::attributes::POLICY;
use crate::sqs::policy::{self, MOST_ACTIONS, MOST_STATEMENTS, Policy};
use crate::sqs::service::{SqsService, fault};
use crate::sqs::{batch, faults};
use crate::{Queue, QueueProperties};

pub(in crate::sqs) async fn add_permission(
    service: &SqsService,
    ctx: &CallContext,
    input: AddPermissionRequest,
) -> Result<AddPermissionResponse, Fault> {
    let queue = service.queue(ctx, input.queue_url.as_deref())?;
    let label = label(input.label)?;
    let actions = actions(&input.actions)?;
    let principals = principals(&queue, &input.aws_account_ids)?;
    let arn = Arn::queue(queue.scope(), queue.name().as_str()).to_string();
    let change = move |properties: &mut QueueProperties| {
        let mut policy = Policy::of(properties.attributes.get(POLICY).map(String::as_str), &arn);
        if policy.has(&label) {
            return Err(faults::invalid_value(&label, "Label", "Already exists."));
        }
        let count = policy.len() + 1;
        if count > MOST_STATEMENTS {
            let text = format!("{count} Statements were found, maximum allowed is {MOST_STATEMENTS}.");
            return Err(Fault::new(ErrorCode::OverLimit, text));
        }
        policy.add(&label, principals, actions, &arn);
        policy::check_size(&policy.text().unwrap_or_default())?;
        keep(properties, &policy);
        Ok(())
    };
    service.engine.update_queue(&queue, change).await.map_err(fault(&queue))??;
    Ok(AddPermissionResponse {})
}

pub(in crate::sqs) async fn remove_permission(
    service: &SqsService,
    ctx: &CallContext,
    input: RemovePermissionRequest,
) -> Result<RemovePermissionResponse, Fault> {
    let queue = service.queue(ctx, input.queue_url.as_deref())?;
    let label = label(input.label)?;
    let arn = Arn::queue(queue.scope(), queue.name().as_str()).to_string();
    let change = move |properties: &mut QueueProperties| {
        let mut policy = Policy::of(properties.attributes.get(POLICY).map(String::as_str), &arn);
        if !policy.has(&label) {
            return Err(faults::invalid_value(&label, "Label", "can't find label."));
        }
        policy.remove(&label);
        keep(properties, &policy);
        Ok(())
    };
    service.engine.update_queue(&queue, change).await.map_err(fault(&queue))??;
    Ok(RemovePermissionResponse {})
}

fn keep(properties: &mut QueueProperties, policy: &Policy) {
    match policy.text() {
        Some(text) => _ = properties.attributes.insert(POLICY.to_owned(), text),
        None => _ = properties.attributes.remove(POLICY),
    }
}

/// Labels have the characters of batch ids.
fn label(label: Option<String>) -> Result<String, Fault> {
    let label = label.unwrap_or_default();
    if batch::is_id(&label) {
        Ok(label)
    } else {
        let reason =
            "A label can only contain alphanumeric characters, hyphens and underscores. 1 to 80 in length.";
        Err(faults::invalid_value(&label, "Label", reason))
    }
}

fn actions(names: &[String]) -> Result<Vec<String>, Fault> {
    if names.is_empty() {
        return Err(faults::missing("Actions"));
    }
    if names.len() > MOST_ACTIONS {
        let text = format!("{} Actions were found, maximum allowed is {MOST_ACTIONS}.", names.len());
        return Err(Fault::new(ErrorCode::OverLimit, text));
    }
    let check = |name: &String| {
        let action = format!("SQS:{name}");
        policy::check_grant(&action).map(|()| action)
    };
    names.iter().map(check).collect()
}

fn principals(queue: &Queue, accounts: &[String]) -> Result<Vec<String>, Fault> {
    if accounts.is_empty() {
        return Err(faults::missing("AWSAccountIds"));
    }
    let partition = queue.scope().region.partition();
    let root = |account: &String| match account.parse::<AccountId>() {
        Ok(account) => Ok(format!("arn:{partition}:iam::{account}:root")),
        Err(_) => Err(faults::invalid_value(&format!("[{account}]"), "PrincipalId", "Unable to verify.")),
    };
    accounts.iter().map(root).collect()
}
