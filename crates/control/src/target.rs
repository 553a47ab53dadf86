//! The forms in which callers name a function (facts, Lambda API §3).

use lambfold_api::{CallContext, Fault};
use lambfold_types::{AccountId, Arn, FunctionName, Qualifier, Scope};

use crate::faults;

/// A function, perhaps with a qualifier, as a caller named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) scope: Scope,
    pub(crate) name: FunctionName,
    pub(crate) qualifier: Option<Qualifier>,
}

impl Target {
    /// Reads `name`, `function:name`, `account:name`, `account:function:name`, each perhaps behind a region, or an ARN;
    /// each perhaps with `:qualifier`, beside that of the request. Order of checks as on AWS: account (403), region
    /// (404), disagreeing qualifiers (400).
    pub(crate) fn read(ctx: &CallContext, text: &str, parameter: Option<&str>) -> Result<Self, Fault> {
        let (scope, rest) = if text.starts_with("arn:") {
            let arn: Arn = text.parse().map_err(|_| faults::invalid_function_name(text))?;
            let rest =
                arn.resource.strip_prefix("function:").ok_or_else(|| faults::invalid_function_name(text))?;
            (arn.scope.clone(), rest.to_owned())
        } else {
            let mut scope = ctx.scope.clone();
            let mut rest = text;
            if let Some((region, behind)) = rest.split_once(':')
                && account_first(behind).is_some()
            {
                scope.region = region.parse().map_err(|_| faults::invalid_function_name(text))?;
                rest = behind;
            }
            if let Some((account, behind)) = account_first(rest) {
                scope.account = account;
                rest = behind;
            }
            (scope, rest.strip_prefix("function:").filter(|name| is_name(name)).unwrap_or(rest).to_owned())
        };
        if scope.account != ctx.scope.account {
            return Err(faults::other_account());
        }
        if scope.region != ctx.scope.region {
            return Err(faults::other_region(&scope.region, &ctx.scope.region));
        }
        let (name, derived) = match rest.split_once(':') {
            Some((name, qualifier)) => (name, Some(qualifier)),
            None => (rest.as_str(), None),
        };
        if let (Some(derived), Some(parameter)) = (derived, parameter)
            && derived != parameter
        {
            return Err(faults::invalid_parameter(
                "The derived qualifier from the function name does not match the specified qualifier.",
            ));
        }
        let qualifier = derived.or(parameter).map(str::parse).transpose();
        let qualifier = qualifier.map_err(|()| faults::invalid_function_name(text))?;
        let name =
            name.parse().map_err(|()| faults::function_not_found(&scope, name, derived.or(parameter)))?;
        Ok(Self { scope, name, qualifier })
    }

    /// The ARN that answers carry: qualified as the request was.
    pub(crate) fn arn(&self) -> String {
        let qualifier = self.qualifier.as_ref().map(ToString::to_string);
        Arn::function(&self.scope, self.name.as_str(), qualifier.as_deref()).to_string()
    }

    /// That there is no such function, or no such version of it.
    pub(crate) fn not_found(&self) -> Fault {
        let qualifier = self.qualifier.as_ref().map(ToString::to_string);
        faults::function_not_found(&self.scope, self.name.as_str(), qualifier.as_deref())
    }

    /// Whether it means the unpublished version, the only one there is so far.
    pub(crate) fn is_latest(&self) -> bool {
        matches!(self.qualifier, None | Some(Qualifier::Latest))
    }
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
            let target = Target::read(&ctx, text, None).unwrap();
            assert_eq!((target.name.as_str(), &target.qualifier), ("f", &None), "{text}");
            let target = Target::read(&ctx, &format!("{text}:$LATEST"), None).unwrap();
            assert_eq!(target.arn(), "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST");
        }
        // What looks like a prefix may be the name.
        for name in ["my-function", "function", "123456789012"] {
            let target = Target::read(&ctx, &format!("{name}:$LATEST"), None).unwrap();
            assert_eq!((target.name.as_str(), target.qualifier), (name, Some(Qualifier::Latest)));
        }
        for (text, qualifier, code) in [
            ("f:1", Some("2"), "InvalidParameterValueException"),
            ("arn:aws:lambda:eu-west-1:000000000000:function:f", None, "ResourceNotFoundException"),
            ("arn:aws:lambda:us-east-1:123456789012:function:f", None, "AccessDeniedException"),
            ("123456789012:function:f", None, "AccessDeniedException"),
            ("123456789012:f", None, "AccessDeniedException"),
            ("eu-west-1:000000000000:function:f", None, "ResourceNotFoundException"),
        ] {
            assert_eq!(Target::read(&ctx, text, qualifier).unwrap_err().code(), code, "{text}");
        }
    }
}
