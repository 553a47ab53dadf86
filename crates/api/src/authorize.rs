//! The one authorisation layer: asked for every public operation, over HTTP and gRPC alike (DESIGN §2).

use lambfold_types::Arn;

use crate::context::CallContext;
use crate::fault::Fault;
use crate::function_target;
use crate::operation::{Operation, ResourceKind};

/// Decides whether a principal may do something.
pub trait Authorizer: Send + Sync + 'static {
    /// `Ok` to let `ctx.principal` perform `operation.action` on `resource_arn`; the fault that the caller gets
    /// otherwise (AWS: `AccessDeniedException`, 403).
    fn authorize(
        &self,
        ctx: &CallContext,
        operation: &'static Operation,
        resource_arn: &str,
    ) -> Result<(), Fault>;
}

/// A laptop's policy: everybody may do everything within the account that the signature names.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Authorizer for AllowAll {
    fn authorize(&self, _: &CallContext, _: &'static Operation, _: &str) -> Result<(), Fault> {
        Ok(())
    }
}

/// The ARN of what an operation acts on, from the member that its rpc option names; `*` where it names none, as
/// IAM policies write it for such actions.
pub fn resource_arn(operation: &Operation, ctx: &CallContext, member: Option<&str>) -> String {
    let Some(name) = member.filter(|name| !name.is_empty()) else { return "*".to_owned() };
    if name.starts_with("arn:") {
        return name.to_owned();
    }
    let scope = &ctx.scope;
    match operation.resource {
        ResourceKind::Service => "*".to_owned(),
        ResourceKind::Arn => name.to_owned(),
        // The last two segments of a queue URL are account and name; a bare name is the caller's own.
        ResourceKind::QueueUrl | ResourceKind::QueueName => {
            let mut segments = name.trim_end_matches('/').rsplit('/');
            let queue = segments.next().unwrap_or(name);
            match segments.next().and_then(|account| account.parse().ok()) {
                Some(account) => {
                    Arn::queue(&lambfold_types::Scope { account, region: scope.region.clone() }, queue)
                        .to_string()
                }
                None => Arn::queue(scope, queue).to_string(),
            }
        }
        ResourceKind::Function => {
            let (scope, rest) = function_target::locate(scope, name).unwrap_or_else(|| (scope.clone(), name));
            Arn::function(&scope, rest, None).to_string()
        }
        ResourceKind::EventSourceMapping => Arn::event_source_mapping(scope, name).to_string(),
        ResourceKind::Layer => lambda_arn(scope, "layer", name),
        ResourceKind::CapacityProvider => lambda_arn(scope, "capacity-provider", name),
    }
}

fn lambda_arn(scope: &lambfold_types::Scope, kind: &str, name: &str) -> String {
    Arn { service: "lambda".into(), scope: scope.clone(), resource: format!("{kind}:{name}") }.to_string()
}

#[cfg(test)]
mod tests {
    use lambfold_types::Scope;
    use uuid::Uuid;

    use super::resource_arn;
    use crate::CallContext;

    #[test]
    fn the_resource_member_becomes_an_arn() {
        let ctx = CallContext::internal(Scope::default(), Uuid::nil());
        let send = &crate::sqs::SQS_SEND_MESSAGE;
        let invoke = &crate::lambda::LAMBDA_INVOKE_INVOKE;
        for (operation, member, arn) in [
            (send, "http://localhost:4566/123456789012/jobs", "arn:aws:sqs:us-east-1:123456789012:jobs"),
            (send, "jobs", "arn:aws:sqs:us-east-1:000000000000:jobs"),
            (invoke, "resize", "arn:aws:lambda:us-east-1:000000000000:function:resize"),
            (invoke, "function:resize:live", "arn:aws:lambda:us-east-1:000000000000:function:resize:live"),
            (invoke, "123456789012:resize", "arn:aws:lambda:us-east-1:123456789012:function:resize"),
            (invoke, "123456789012:function:resize", "arn:aws:lambda:us-east-1:123456789012:function:resize"),
            (invoke, "arn:aws:lambda:eu-west-1:1:function:x", "arn:aws:lambda:eu-west-1:1:function:x"),
        ] {
            assert_eq!(resource_arn(operation, &ctx, Some(member)), arn);
        }
        assert_eq!(resource_arn(&crate::sqs::SQS_LIST_QUEUES, &ctx, None), "*");
    }
}
