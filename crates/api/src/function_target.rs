//! The forms in which callers name a function (facts, Lambda API §3).

use lambfold_types::{AccountId, Arn, FunctionName, Qualifier, Scope};

use crate::context::CallContext;
use crate::fault::Fault;
use crate::lambda::ErrorCode;

/// A function, perhaps with a qualifier, as a caller named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionTarget {
    /// Account and region: those of the caller.
    pub scope: Scope,
    /// The bare name.
    pub name: FunctionName,
    /// From the name or from the request's own member.
    pub qualifier: Option<Qualifier>,
}

impl FunctionTarget {
    /// Reads `name`, `function:name`, `account:name`, `account:function:name`, each perhaps behind a region, or an ARN;
    /// each perhaps with `:qualifier`, beside that of the request. Order of checks as on AWS: account (403), region
    /// (404), disagreeing qualifiers (400).
    pub fn read(ctx: &CallContext, text: &str, parameter: Option<&str>) -> Result<Self, Fault> {
        let (scope, rest) = locate(&ctx.scope, text).ok_or_else(|| malformed(text))?;
        if scope.account != ctx.scope.account {
            return Err(Fault::new(ErrorCode::AccessDeniedException, ""));
        }
        if scope.region != ctx.scope.region {
            let (named, here) = (&scope.region, &ctx.scope.region);
            let text = format!("Functions from '{named}' are not reachable in this region ('{here}')");
            return Err(refusal(ErrorCode::ResourceNotFoundException, text));
        }
        let (name, derived) = match rest.split_once(':') {
            Some((name, qualifier)) => (name, Some(qualifier)),
            None => (rest, None),
        };
        if let (Some(derived), Some(parameter)) = (derived, parameter)
            && derived != parameter
        {
            return Err(refusal(
                ErrorCode::InvalidParameterValueException,
                "The derived qualifier from the function name does not match the specified qualifier.",
            ));
        }
        let qualifier = derived.or(parameter).map(str::parse).transpose();
        let qualifier = qualifier.map_err(|()| malformed(text))?;
        let name = name.parse().map_err(|()| not_found(&scope, name, derived.or(parameter)))?;
        Ok(Self { scope, name, qualifier })
    }

    /// The ARN that answers carry: qualified as the request was.
    pub fn arn(&self) -> String {
        let qualifier = self.qualifier.as_ref().map(ToString::to_string);
        Arn::function(&self.scope, self.name.as_str(), qualifier.as_deref()).to_string()
    }

    /// That there is no such function, or no such version of it.
    pub fn not_found(&self) -> Fault {
        let qualifier = self.qualifier.as_ref().map(ToString::to_string);
        not_found(&self.scope, self.name.as_str(), qualifier.as_deref())
    }

    /// Whether it means the unpublished version, the only one there is so far.
    pub fn is_latest(&self) -> bool {
        matches!(self.qualifier, None | Some(Qualifier::Latest))
    }
}

/// The account and region that `text` names or leaves to the caller's, and what stands behind them: the name, perhaps
/// with a qualifier. `None` if it is an ARN of something else, or names no region where one must be.
pub(crate) fn locate<'a>(caller: &Scope, text: &'a str) -> Option<(Scope, &'a str)> {
    if text.starts_with("arn:") {
        let scope = text.parse::<Arn>().ok()?.scope;
        // arn, partition, service, region, account, then the resource.
        let resource = text.splitn(6, ':').nth(5)?;
        return Some((scope, resource.strip_prefix("function:")?));
    }
    let (mut scope, mut rest) = (caller.clone(), text);
    if let Some((region, behind)) = rest.split_once(':')
        && account_first(behind).is_some()
    {
        scope.region = region.parse().ok()?;
        rest = behind;
    }
    if let Some((account, behind)) = account_first(rest) {
        scope.account = account;
        rest = behind;
    }
    Some((scope, rest.strip_prefix("function:").filter(|name| is_name(name)).unwrap_or(rest)))
}

fn refusal(code: ErrorCode, text: impl Into<String>) -> Fault {
    Fault::new(code, text).with_member("Type", "User")
}

fn malformed(text: &str) -> Fault {
    let text: String = text.chars().take(256).collect();
    let text = format!("The function name or ARN {text} is malformed.");
    refusal(ErrorCode::InvalidParameterValueException, text)
}

fn not_found(scope: &Scope, name: &str, qualifier: Option<&str>) -> Fault {
    let arn = Arn::function(scope, name, qualifier);
    refusal(ErrorCode::ResourceNotFoundException, format!("Function not found: {arn}"))
}

/// The account in front of a partial ARN, and what is behind it.
fn account_first(text: &str) -> Option<(AccountId, &str)> {
    let (account, behind) = text.split_once(':').filter(|(_, behind)| is_name(behind))?;
    Some((account.parse().ok()?, behind))
}

/// Whether a name can begin here: `$LATEST` is the qualifier of what stands before it.
fn is_name(text: &str) -> bool {
    !text.starts_with('$')
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn every_form_names_the_function() {
        let ctx = CallContext::internal(Scope::default(), Uuid::nil());
        for text in [
            "f",
            "function:f",
            "000000000000:f",
            "000000000000:function:f",
            "us-east-1:000000000000:function:f",
            "arn:aws:lambda:us-east-1:000000000000:function:f",
        ] {
            let target = FunctionTarget::read(&ctx, text, None).unwrap();
            assert_eq!((target.name.as_str(), &target.qualifier), ("f", &None), "{text}");
            let target = FunctionTarget::read(&ctx, &format!("{text}:$LATEST"), None).unwrap();
            assert_eq!(target.arn(), "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST");
        }
        // What looks like a prefix may be the name.
        for name in ["my-function", "function", "123456789012"] {
            let target = FunctionTarget::read(&ctx, &format!("{name}:$LATEST"), None).unwrap();
            assert_eq!((target.name.as_str(), target.qualifier), (name, Some(Qualifier::Latest)));
        }
        for (text, qualifier, code) in [
            ("f:1", Some("2"), "InvalidParameterValueException"),
            ("arn:aws:lambda:eu-west-1:000000000000:function:f", None, "ResourceNotFoundException"),
            ("arn:aws:lambda:us-east-1:123456789012:function:f", None, "AccessDeniedException"),
            ("123456789012:function:f", None, "AccessDeniedException"),
            ("123456789012:f", None, "AccessDeniedException"),
            ("arn:aws:sqs:us-east-1:000000000000:f", None, "InvalidParameterValueException"),
            ("f:a:b", None, "InvalidParameterValueException"),
            ("eu-west-1:000000000000:function:f", None, "ResourceNotFoundException"),
        ] {
            assert_eq!(FunctionTarget::read(&ctx, text, qualifier).unwrap_err().code(), code, "{text}");
        }
    }
}
