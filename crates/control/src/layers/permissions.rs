//! AddLayerVersionPermission, GetLayerVersionPolicy, RemoveLayerVersionPermission; and what they let other accounts
//! do.

use std::sync::Arc;

use lambfold_api::lambda::{
    AddLayerVersionPermissionRequest, AddLayerVersionPermissionResponse, ErrorCode,
    GetLayerVersionPolicyRequest, GetLayerVersionPolicyResponse, RemoveLayerVersionPermissionRequest,
    RemoveLayerVersionPermissionResponse,
};
use lambfold_api::{CallContext, Fault};
use lambfold_types::Arn;
use serde_json::{Value, json};

use super::get::find;
use super::target::{LayerTarget, number};
use crate::faults;
use crate::record::{LayerPermission, LayerVersionRecord};
use crate::service::Shared;
use crate::store::Decision;

const ACTION: &str = "lambda:GetLayerVersion";

/// The longest policy, in bytes, as of functions.
const MOST_POLICY_BYTES: usize = 20_480;

pub(crate) async fn add(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: AddLayerVersionPermissionRequest,
) -> Result<AddLayerVersionPermissionResponse, Fault> {
    let version = number(input.version_number)?;
    let target = LayerTarget::read(ctx, &input.layer_name.unwrap_or_default())?.owned_by(ctx)?;
    if input.organization_id.is_some() && input.principal.as_deref() != Some("*") {
        return Err(faults::invalid_parameter(
            "OrganizationId is only supported when the principal is * (all accounts).",
        ));
    }
    let permission = LayerPermission {
        statement_id: input.statement_id.unwrap_or_default(),
        principal: input.principal.unwrap_or_default(),
        organization_id: input.organization_id,
    };
    let arn = target.version_arn(version);
    let shown = statement(&permission, &arn).to_string();
    let revision_id = edit(shared, target, version, input.revision_id, move |record| {
        if record.permissions.iter().any(|it| it.statement_id == permission.statement_id) {
            return Err(faults::conflict(format!(
                "The statement id ({}) provided already exists. Please provide a new statement id, or remove the existing \
                 statement.",
                permission.statement_id
            )));
        }
        record.permissions.push(permission.clone());
        if document(record, &arn).len() > MOST_POLICY_BYTES {
            let text = format!("The final policy size is bigger than the limit ({MOST_POLICY_BYTES}).");
            return Err(
                Fault::new(ErrorCode::PolicyLengthExceededException, text).with_member("Type", "User")
            );
        }
        Ok(())
    });
    Ok(AddLayerVersionPermissionResponse { statement: Some(shown), revision_id: Some(revision_id.await?) })
}

pub(crate) async fn policy(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: GetLayerVersionPolicyRequest,
) -> Result<GetLayerVersionPolicyResponse, Fault> {
    let version = number(input.version_number)?;
    let target = LayerTarget::read(ctx, &input.layer_name.unwrap_or_default())?.owned_by(ctx)?;
    let arn = target.version_arn(version);
    let record = find(shared, &target, version).await?.ok_or_else(|| faults::no_layer_version(&arn))?;
    if record.permissions.is_empty() {
        return Err(faults::not_found("No policy is associated with the given resource."));
    }
    let policy = document(&record, &arn);
    Ok(GetLayerVersionPolicyResponse { policy: Some(policy), revision_id: Some(record.revision_id) })
}

pub(crate) async fn remove(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: RemoveLayerVersionPermissionRequest,
) -> Result<RemoveLayerVersionPermissionResponse, Fault> {
    let version = number(input.version_number)?;
    let target = LayerTarget::read(ctx, &input.layer_name.unwrap_or_default())?.owned_by(ctx)?;
    let id = input.statement_id.unwrap_or_default();
    edit(shared, target, version, input.revision_id, move |record| {
        let before = record.permissions.len();
        record.permissions.retain(|it| it.statement_id != id);
        if record.permissions.len() == before {
            return Err(faults::not_found(format!("Statement {id} is not found in resource policy.")));
        }
        Ok(())
    })
    .await?;
    Ok(RemoveLayerVersionPermissionResponse {})
}

/// Whether an account that is not the owner may use a layer version. One that is not there is not told from one that
/// is closed.
pub(super) fn check(
    ctx: &CallContext,
    target: &LayerTarget,
    version: u64,
    record: Option<&LayerVersionRecord>,
) -> Result<(), Fault> {
    let root = root(&ctx.scope.account.to_string(), &ctx.scope);
    let allows = |it: &LayerPermission| {
        // Nothing here knows of organisations, so nobody is known to be in one.
        it.organization_id.is_none()
            && (it.principal == "*" || it.principal == root || it.principal == ctx.scope.account.to_string())
    };
    if record.is_some_and(|record| record.permissions.iter().any(allows)) {
        return Ok(());
    }
    let text = format!(
        "User: {root} is not authorized to perform: {ACTION} on resource: {} because no resource-based policy allows the \
         {ACTION} action",
        target.version_arn(version)
    );
    Err(Fault::new(ErrorCode::AccessDeniedException, text))
}

/// Changes the permissions of a version; its new revision id.
async fn edit(
    shared: &Arc<Shared>,
    target: LayerTarget,
    version: u64,
    expected: Option<String>,
    change: impl Fn(&mut LayerVersionRecord) -> Result<(), Fault> + Send + 'static,
) -> Result<String, Fault> {
    let revision_id = shared.uuid();
    let (arn, next) = (target.version_arn(version), revision_id.clone());
    let outcome = shared.store(move |store| {
        let mut outcome = None;
        store.edit_layer_version(&target.scope, &target.name, version, &mut |record| {
            let changed = if expected.as_ref().is_some_and(|expected| *expected != record.revision_id) {
                Err(faults::stale_layer_revision())
            } else {
                change(record)
            };
            record.revision_id.clone_from(&next);
            let decision = if changed.is_ok() { Decision::Keep } else { Decision::Leave };
            outcome = Some(changed);
            decision
        })?;
        Ok(outcome)
    });
    outcome.await?.ok_or_else(|| faults::no_layer_version(&arn))??;
    Ok(revision_id)
}

fn document(record: &LayerVersionRecord, arn: &str) -> String {
    let statements: Vec<Value> = record.permissions.iter().map(|it| statement(it, arn)).collect();
    json!({"Version": "2012-10-17", "Id": "default", "Statement": statements}).to_string()
}

fn statement(permission: &LayerPermission, arn: &str) -> Value {
    let principal = match permission.principal.as_str() {
        "*" => json!("*"),
        given if given.starts_with("arn:") => json!({"AWS": given}),
        account => {
            let scope = arn.parse::<Arn>().map(|arn| arn.scope).unwrap_or_default();
            json!({"AWS": root(account, &scope)})
        }
    };
    let mut statement = json!({
        "Sid": permission.statement_id,
        "Effect": "Allow",
        "Principal": principal,
        "Action": ACTION,
        "Resource": arn,
    });
    if let Some(organization) = &permission.organization_id {
        statement["Condition"] = json!({"StringEquals": {"aws:PrincipalOrgID": organization}});
    }
    statement
}

fn root(account: &str, scope: &lambfold_types::Scope) -> String {
    format!("arn:{}:iam::{account}:root", scope.region.partition())
}
