//! The forms in which callers name a function (facts: Lambda API §3).

use lambfold_api::{CallContext, Fault};
use lambfold_types::{Arn, Qualifier, Scope};

use crate::faults;

/// A function to invoke, as the caller named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) scope: Scope,
    pub(crate) name: String,
    /// `None` for the unqualified function, which is `$LATEST`.
    pub(crate) qualifier: Option<Qualifier>,
}

impl Target {
    /// Reads `name`, `function:name`, `account:function:name` or an ARN, each perhaps with `:qualifier`, and the
    /// request's own qualifier.
    pub(crate) fn read(ctx: &CallContext, text: &str, parameter: Option<&str>) -> Result<Self, Fault> {
        let wrong = || faults::invalid_function_name(text);
        let (scope, rest) = if text.starts_with("arn:") {
            let arn: Arn = text.parse().map_err(|_| wrong())?;
            (arn.scope, arn.resource.strip_prefix("function:").ok_or_else(wrong)?.to_owned())
        } else if let Some(rest) = text.strip_prefix("function:") {
            (ctx.scope.clone(), rest.to_owned())
        } else if let Some((account, rest)) = text.split_once(":function:") {
            // A region may stand before the account.
            let account = account.rsplit(':').next().unwrap_or(account).parse().map_err(|_| wrong())?;
            (Scope { account, region: ctx.scope.region.clone() }, rest.to_owned())
        } else {
            (ctx.scope.clone(), text.to_owned())
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
        if derived.is_some() && parameter.is_some() && derived != parameter {
            return Err(faults::qualifiers_disagree());
        }
        let qualifier = derived.or(parameter).map(str::parse).transpose().map_err(|()| wrong())?;
        Ok(Self { scope, name: name.to_owned(), qualifier })
    }

    /// The ARN that the function sees: qualified as the request was.
    pub(crate) fn arn(&self) -> String {
        let qualifier = self.qualifier.as_ref().map(ToString::to_string);
        Arn::function(&self.scope, &self.name, qualifier.as_deref()).to_string()
    }

    /// The version that is meant. `None`: an alias, of which there are none yet.
    pub(crate) fn version(&self) -> Option<String> {
        match &self.qualifier {
            None | Some(Qualifier::Latest) => Some("$LATEST".to_owned()),
            Some(Qualifier::Version(number)) => Some(number.to_string()),
            Some(Qualifier::Alias(_)) => None,
        }
    }

    pub(crate) fn not_found(&self) -> Fault {
        let qualifier = self.qualifier.as_ref().unwrap_or(&Qualifier::Latest);
        faults::function_not_found(&self.scope, &self.name, &qualifier.to_string())
    }
}

#[cfg(test)]
mod tests {
    use lambfold_types::Scope;

    use super::*;

    fn ctx() -> CallContext {
        CallContext::internal(Scope::default(), lambfold_types::uuid_v4(&lambfold_clock::SystemEntropy))
    }

    #[test]
    fn every_form_names_the_function() {
        for text in [
            "f",
            "function:f",
            "000000000000:function:f",
            "us-east-1:000000000000:function:f",
            "arn:aws:lambda:us-east-1:000000000000:function:f",
        ] {
            let target = Target::read(&ctx(), text, None).unwrap();
            assert_eq!((target.name.as_str(), &target.qualifier), ("f", &None), "{text}");
            let target = Target::read(&ctx(), &format!("{text}:live"), Some("live")).unwrap();
            assert_eq!(target.arn(), "arn:aws:lambda:us-east-1:000000000000:function:f:live");
            assert_eq!(target.version(), None);
        }
        let target = Target::read(&ctx(), "f", Some("$LATEST")).unwrap();
        assert_eq!(target.version().as_deref(), Some("$LATEST"));
        assert_eq!(
            target.not_found().message(),
            "Function not found: arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST"
        );
    }

    #[test]
    fn what_is_elsewhere_or_unclear_is_refused() {
        for (text, qualifier, code) in [
            ("f:1", Some("2"), "InvalidParameterValueException"),
            ("arn:aws:lambda:eu-west-1:000000000000:function:f", None, "ResourceNotFoundException"),
            ("arn:aws:lambda:us-east-1:123456789012:function:f", None, "AccessDeniedException"),
            ("123456789012:function:f", None, "AccessDeniedException"),
            ("arn:aws:sqs:us-east-1:000000000000:f", None, "InvalidParameterValueException"),
            ("f:a:b", None, "InvalidParameterValueException"),
        ] {
            assert_eq!(Target::read(&ctx(), text, qualifier).unwrap_err().code(), code, "{text}");
        }
    }
}
