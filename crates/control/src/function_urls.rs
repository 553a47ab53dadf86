//! Function URLs: their settings. The gateway answers at them, by what the watch tells it.

mod create;
mod delete;
mod get;
mod render;
mod update;

use lambfold_api::lambda::ErrorCode;
use lambfold_api::{CallContext, Fault, FunctionTarget};
use lambfold_types::{Arn, Qualifier};

use crate::faults;
use crate::record::FunctionRecord;

pub(crate) use create::create;
pub(crate) use delete::delete;
pub(crate) use get::{get, list};
pub(crate) use render::wire;
pub(crate) use update::update;

/// A function and the alias of it that a request names.
struct UrlTarget {
    function: FunctionTarget,
    /// Nothing for the unqualified function.
    qualifier: String,
}

impl UrlTarget {
    /// Reads what a request names; versions have no URLs.
    fn read(ctx: &CallContext, name: Option<String>, qualifier: Option<&str>) -> Result<Self, Fault> {
        let function = FunctionTarget::read(ctx, &name.unwrap_or_default(), qualifier)?;
        let qualifier = match &function.qualifier {
            None => String::new(),
            Some(Qualifier::Alias(alias)) => alias.to_string(),
            Some(version @ (Qualifier::Latest | Qualifier::Version(_))) => {
                let text = format!(
                    "1 validation error detected: Value '{version}' at 'qualifier' failed to satisfy constraint: Member must \
                     satisfy regular expression pattern: ((?!^\\d+$)^[0-9a-zA-Z-_]+$)"
                );
                return Err(Fault::new(ErrorCode::ValidationException, text));
            }
        };
        Ok(Self { function, qualifier })
    }

    /// The ARN, with the alias if there is one.
    fn arn(&self) -> String {
        arn(&self.function, &self.qualifier)
    }
}

fn arn(function: &FunctionTarget, qualifier: &str) -> String {
    let qualifier = (!qualifier.is_empty()).then_some(qualifier);
    Arn::function(&function.scope, function.name.as_str(), qualifier).to_string()
}

/// Whether a function has what a URL may lead to: itself, or that alias.
fn has(record: &FunctionRecord, qualifier: &str) -> bool {
    qualifier.is_empty() || record.aliases.contains_key(qualifier)
}

fn no_function() -> Fault {
    faults::not_found("Function does not exist")
}
