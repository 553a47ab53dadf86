//! Which group a caller means: by name, or by ARN with or without the `:*` that DescribeLogGroups shows.

use lambfold_api::Fault;
use lambfold_types::{Arn, Scope};

use crate::faults;

/// The group's name in `identifier`. Groups of other accounts and regions are not there.
pub(crate) fn group_name(scope: &Scope, identifier: &str) -> Result<String, Fault> {
    if !identifier.starts_with("arn:") {
        return Ok(identifier.to_owned());
    }
    let arn: Arn = identifier.parse().map_err(|_| faults::invalid("The log group identifier is no ARN."))?;
    let name = arn.resource.strip_prefix("log-group:").filter(|_| arn.service == "logs");
    let Some(name) = name else {
        return Err(faults::invalid("The ARN is not that of a log group."));
    };
    if arn.scope != *scope {
        return Err(faults::no_group());
    }
    Ok(name.strip_suffix(":*").unwrap_or(name).to_owned())
}

/// The group of a request that may name it in two ways, and must in one.
pub(crate) fn either(
    scope: &Scope,
    name: Option<&String>,
    identifier: Option<&String>,
) -> Result<String, Fault> {
    match (name, identifier) {
        (Some(name), None) => Ok(name.clone()),
        (None, Some(identifier)) => group_name(scope, identifier),
        _ => Err(faults::invalid("Exactly one of logGroupName and logGroupIdentifier must be specified.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_a_name_and_two_arns() {
        let scope = Scope::default();
        let arn = Arn::log_group(&scope, "/aws/lambda/f").to_string();
        for identifier in ["/aws/lambda/f", &arn, &format!("{arn}:*")] {
            assert_eq!(group_name(&scope, identifier).unwrap(), "/aws/lambda/f");
        }
        let elsewhere = arn.replace("us-east-1", "eu-west-1");
        assert_eq!(group_name(&scope, &elsewhere).unwrap_err().code(), "ResourceNotFoundException");
        for wrong in ["arn:aws:sqs:us-east-1:000000000000:q", "arn:x"] {
            assert_eq!(group_name(&scope, wrong).unwrap_err().code(), "InvalidParameterException");
        }
    }
}
