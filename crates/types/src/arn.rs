//! Amazon Resource Names.

use std::fmt;
use std::str::FromStr;

use crate::{AccountId, Region, Scope};

/// `arn:<partition>:<service>:<region>:<account>:<resource>`, where region and account are present: the form
/// that SQS and Lambda resources have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Arn {
    /// `sqs`, `lambda`, …
    pub service: String,
    /// The region and account that own the resource.
    pub scope: Scope,
    /// All behind the account, colons included: `my-queue`, `function:name:alias`.
    pub resource: String,
}

/// The text is not an ARN of a resource with account and region.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an ARN")]
pub struct ParseArnError(pub String);

impl Arn {
    /// The ARN of an SQS queue.
    pub fn queue(scope: &Scope, name: &str) -> Self {
        Self { service: "sqs".into(), scope: scope.clone(), resource: name.into() }
    }

    /// The ARN of a Lambda function, with `:qualifier` if one is given.
    pub fn function(scope: &Scope, name: &str, qualifier: Option<&str>) -> Self {
        let resource = match qualifier {
            Some(qualifier) => format!("function:{name}:{qualifier}"),
            None => format!("function:{name}"),
        };
        Self { service: "lambda".into(), scope: scope.clone(), resource }
    }

    /// The ARN of a CloudWatch Logs log group.
    pub fn log_group(scope: &Scope, name: &str) -> Self {
        Self { service: "logs".into(), scope: scope.clone(), resource: format!("log-group:{name}") }
    }

    /// The ARN of a layer, with `:version` if one is given.
    pub fn layer(scope: &Scope, name: &str, version: Option<u64>) -> Self {
        let resource = match version {
            Some(version) => format!("layer:{name}:{version}"),
            None => format!("layer:{name}"),
        };
        Self { service: "lambda".into(), scope: scope.clone(), resource }
    }

    /// The ARN of a Lambda event source mapping.
    pub fn event_source_mapping(scope: &Scope, uuid: &str) -> Self {
        Self {
            service: "lambda".into(),
            scope: scope.clone(),
            resource: format!("event-source-mapping:{uuid}"),
        }
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scope { account, region } = &self.scope;
        write!(f, "arn:{}:{}:{region}:{account}:{}", region.partition(), self.service, self.resource)
    }
}

impl FromStr for Arn {
    type Err = ParseArnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseArnError(text.chars().take(256).collect());
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next().ok_or_else(wrong);
        if next()? != "arn" || !next()?.starts_with("aws") {
            return Err(wrong());
        }
        let service = next()?.to_owned();
        let region: Region = next()?.parse().map_err(|_| wrong())?;
        let account: AccountId = next()?.parse().map_err(|_| wrong())?;
        let resource = next()?.to_owned();
        if service.is_empty() || resource.is_empty() {
            return Err(wrong());
        }
        Ok(Self { service, scope: Scope { account, region }, resource })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_survive_a_round_trip() {
        for text in [
            "arn:aws:sqs:us-east-1:000000000000:jobs.fifo",
            "arn:aws:lambda:eu-west-1:123456789012:function:resize:live",
        ] {
            assert_eq!(text.parse::<Arn>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_not_an_arn_is_refused() {
        for text in
            ["", "jobs", "arn:aws:sqs:us-east-1:jobs", "arn:aws:s3:::bucket", "arn:aws:sqs:us-east-1:1:q"]
        {
            assert!(text.parse::<Arn>().is_err(), "{text}");
        }
    }
}
