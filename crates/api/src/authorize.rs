//! The one authorisation layer: asked for every public operation, over HTTP and gRPC alike (DESIGN §2).

use lambfold_types::{Arn, Scope};

use crate::context::CallContext;
use crate::fault::Fault;
use crate::function_target;
use crate::operation::{Operation, ResourceKind};

/// Decides whether a principal may do something.
pub trait Authorizer: Send + Sync + 'static {
    /// `Ok` to let `ctx.principal` perform `operation.action` on `resource`; the fault that the caller gets
    /// otherwise (AWS: `AccessDeniedException`, 403).
    fn authorize(
        &self,
        ctx: &CallContext,
        operation: &'static Operation,
        resource: &Resource<'_>,
    ) -> Result<(), Fault>;
}

/// A laptop's policy: everybody may do everything within the account that the signature names.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Authorizer for AllowAll {
    fn authorize(&self, _: &CallContext, _: &'static Operation, _: &Resource<'_>) -> Result<(), Fault> {
        Ok(())
    }
}

/// What an operation acts on: the member that its rpc option names, as the caller wrote it.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    pub(crate) operation: &'static Operation,
    pub(crate) scope: &'a Scope,
    pub(crate) member: Option<&'a str>,
}

impl Resource<'_> {
    /// Its ARN; `*` where the operation names nothing, as IAM policies write it for such actions.
    pub fn arn(&self) -> String {
        let Some(name) = self.member.filter(|name| !name.is_empty()) else { return "*".to_owned() };
        if name.starts_with("arn:") {
            return name.to_owned();
        }
        let scope = self.scope;
        match self.operation.resource {
            ResourceKind::Service => "*".to_owned(),
            ResourceKind::Arn => name.to_owned(),
            // The last two segments of a queue URL are account and name; a bare name is the caller's own.
            ResourceKind::QueueUrl | ResourceKind::QueueName => {
                let mut segments = name.trim_end_matches('/').rsplit('/');
                let queue = segments.next().unwrap_or(name);
                match segments.next().and_then(|account| account.parse().ok()) {
                    Some(account) => {
                        Arn::queue(&Scope { account, region: scope.region.clone() }, queue).to_string()
                    }
                    None => Arn::queue(scope, queue).to_string(),
                }
            }
            ResourceKind::Function => {
                let (scope, rest) =
                    function_target::locate(scope, name).unwrap_or_else(|| (scope.clone(), name));
                Arn::function(&scope, rest, None).to_string()
            }
            ResourceKind::EventSourceMapping => Arn::event_source_mapping(scope, name).to_string(),
            ResourceKind::LogGroup => Arn::log_group(scope, name).to_string(),
            ResourceKind::Layer => lambda_arn(scope, "layer", name),
            ResourceKind::CapacityProvider => lambda_arn(scope, "capacity-provider", name),
        }
    }
}

fn lambda_arn(scope: &Scope, kind: &str, name: &str) -> String {
    Arn { service: "lambda".into(), scope: scope.clone(), resource: format!("{kind}:{name}") }.to_string()
}

#[cfg(test)]
mod tests {
    use lambfold_types::Scope;

    use super::Resource;
    use crate::Operation;

    #[test]
    fn the_resource_member_becomes_an_arn() {
        let scope = Scope::default();
        let arn_of =
            |operation: &'static Operation, member| Resource { operation, scope: &scope, member }.arn();
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
            assert_eq!(arn_of(operation, Some(member)), arn);
        }
        assert_eq!(arn_of(&crate::sqs::SQS_LIST_QUEUES, None), "*");
        assert_eq!(
            arn_of(&crate::logs::LOGS_PUT_LOG_EVENTS, Some("/aws/lambda/f")),
            "arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/f"
        );
    }
}
