//! Log groups and their retention.

use lambfold_api::logs::{
    CreateLogGroupRequest, CreateLogGroupResponse, DeleteLogGroupRequest, DeleteLogGroupResponse,
    DeleteRetentionPolicyRequest, DeleteRetentionPolicyResponse, DescribeLogGroupsRequest,
    DescribeLogGroupsResponse, ErrorCode, LogGroup, PutRetentionPolicyRequest, PutRetentionPolicyResponse,
};
use lambfold_api::{CallContext, Fault};
use lambfold_types::{Arn, Scope};

use super::limit;
use crate::record::{Group, GroupSettings};
use crate::service::Shared;
use crate::store::GroupFilter;
use crate::{faults, identifier};

/// What AWS takes as days.
const RETENTIONS: [u32; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

pub(crate) async fn create(
    shared: &Shared,
    ctx: &CallContext,
    input: CreateLogGroupRequest,
) -> Result<CreateLogGroupResponse, Fault> {
    if input.kms_key_id.is_some() {
        return Err(faults::invalid(
            "Lambfold does not encrypt log groups: leave kmsKeyId out (docs/gaps.md).",
        ));
    }
    let name = input.log_group_name.unwrap_or_default();
    if name.starts_with("aws/") {
        return Err(faults::invalid("Log groups starting with AWS/ are reserved for AWS."));
    }
    let settings = GroupSettings {
        class: input.log_group_class.unwrap_or_else(|| "STANDARD".to_owned()),
        deletion_protection: input.deletion_protection_enabled.unwrap_or_default(),
        tags: input.tags.map(|tags| tags.items).unwrap_or_default(),
        ..GroupSettings::default()
    };
    let (scope, now) = (ctx.scope.clone(), shared.clock.now());
    let made = shared.store(move |store| store.create_group(&scope, &name, &settings, now)).await?;
    if made { Ok(CreateLogGroupResponse {}) } else { Err(faults::group_exists()) }
}

pub(crate) async fn delete(
    shared: &Shared,
    ctx: &CallContext,
    input: DeleteLogGroupRequest,
) -> Result<DeleteLogGroupResponse, Fault> {
    let name = input.log_group_name.unwrap_or_default();
    if super::group(shared, &ctx.scope, &name).await?.settings.deletion_protection {
        let text = "The log group cannot be deleted because deletion protection is enabled.";
        return Err(Fault::new(ErrorCode::ValidationException, text));
    }
    let scope = ctx.scope.clone();
    let gone = shared.store(move |store| store.delete_group(&scope, &name)).await?;
    if gone { Ok(DeleteLogGroupResponse {}) } else { Err(faults::no_group()) }
}

pub(crate) async fn describe(
    shared: &Shared,
    ctx: &CallContext,
    input: DescribeLogGroupsRequest,
) -> Result<DescribeLogGroupsResponse, Fault> {
    let scope = &ctx.scope;
    let pattern = input.log_group_name_pattern.filter(|it| !it.is_empty());
    if pattern.is_some() && input.log_group_name_prefix.is_some() {
        return Err(faults::invalid(
            "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
        ));
    }
    let own = scope.account.to_string();
    if !input.account_identifiers.is_empty() && !input.account_identifiers.contains(&own) {
        return Ok(DescribeLogGroupsResponse { log_groups: Some(Vec::new().into()), next_token: None });
    }
    if let Some(identifiers) = input.log_group_identifiers {
        let mut found = Vec::new();
        for identifier in &identifiers.items {
            let name = identifier::group_name(scope, identifier)?;
            if let Ok(group) = super::group(shared, scope, &name).await {
                found.push(render(scope, group));
            }
        }
        return Ok(DescribeLogGroupsResponse { log_groups: Some(found.into()), next_token: None });
    }
    let filter = GroupFilter {
        prefix: input.log_group_name_prefix.unwrap_or_default(),
        contains: pattern.unwrap_or_default(),
        class: input.log_group_class,
    };
    // The token is the name that the page before ended with.
    let after = input.next_token.unwrap_or_default();
    let most = limit(input.limit, 50);
    let of = scope.clone();
    let mut groups = shared.store(move |store| store.groups(&of, &filter, &after, most + 1)).await?;
    let more = groups.len() > most;
    groups.truncate(most);
    let next_token = groups.last().map(|group| group.name.clone()).filter(|_| more);
    let groups: Vec<LogGroup> = groups.into_iter().map(|group| render(scope, group)).collect();
    Ok(DescribeLogGroupsResponse { log_groups: Some(groups.into()), next_token })
}

fn render(scope: &Scope, group: Group) -> LogGroup {
    let arn = Arn::log_group(scope, &group.name).to_string();
    LogGroup {
        creation_time: Some(group.created.millis()),
        retention_in_days: group.settings.retention_days.and_then(|days| i32::try_from(days).ok()),
        metric_filter_count: Some(0),
        arn: Some(format!("{arn}:*")),
        stored_bytes: Some(i64::try_from(group.stored_bytes).unwrap_or(i64::MAX)),
        log_group_class: Some(group.settings.class),
        log_group_arn: Some(arn),
        deletion_protection_enabled: Some(group.settings.deletion_protection),
        log_group_name: Some(group.name),
        ..LogGroup::default()
    }
}

pub(crate) async fn put_retention(
    shared: &Shared,
    ctx: &CallContext,
    input: PutRetentionPolicyRequest,
) -> Result<PutRetentionPolicyResponse, Fault> {
    let days = input.retention_in_days.and_then(|days| u32::try_from(days).ok());
    let Some(days) = days.filter(|days| RETENTIONS.contains(days)) else {
        let valid = RETENTIONS.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        return Err(faults::invalid(format!(
            "1 validation error detected: Value '{}' at 'retentionInDays' failed to satisfy constraint: Member must satisfy enum value set: [{valid}]",
            input.retention_in_days.unwrap_or_default()
        )));
    };
    retain(shared, ctx, input.log_group_name, Some(days)).await?;
    Ok(PutRetentionPolicyResponse {})
}

pub(crate) async fn delete_retention(
    shared: &Shared,
    ctx: &CallContext,
    input: DeleteRetentionPolicyRequest,
) -> Result<DeleteRetentionPolicyResponse, Fault> {
    retain(shared, ctx, input.log_group_name, None).await?;
    Ok(DeleteRetentionPolicyResponse {})
}

async fn retain(
    shared: &Shared,
    ctx: &CallContext,
    name: Option<String>,
    days: Option<u32>,
) -> Result<(), Fault> {
    let (scope, name) = (ctx.scope.clone(), name.unwrap_or_default());
    let mut edit = move |settings: &mut GroupSettings| {
        settings.retention_days = days;
        true
    };
    let found = shared.store(move |store| store.edit_group(&scope, &name, &mut edit)).await?;
    if found { Ok(()) } else { Err(faults::no_group()) }
}
