//! How callers name layers and their versions.

use lambfold_api::{CallContext, Fault};
use lambfold_types::{Arn, LayerName, Scope};

use crate::faults;

/// A layer, by its name or its ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LayerTarget {
    pub(super) scope: Scope,
    pub(super) name: LayerName,
}

impl LayerTarget {
    /// Reads what the contract's pattern let pass.
    pub(super) fn read(ctx: &CallContext, text: &str) -> Result<Self, Fault> {
        if !text.starts_with("arn:") {
            return Ok(Self { scope: ctx.scope.clone(), name: text.parse().map_err(|()| malformed(text))? });
        }
        let arn: Arn = text.parse().map_err(|_| malformed(text))?;
        let name = arn.resource.strip_prefix("layer:").and_then(|name| name.parse().ok());
        let target = Self { name: name.ok_or_else(|| malformed(text))?, scope: arn.scope };
        if target.scope.region == ctx.scope.region { Ok(target) } else { Err(faults::resource_not_found()) }
    }

    /// Only its own account may change a layer.
    pub(super) fn owned_by(self, ctx: &CallContext) -> Result<Self, Fault> {
        if self.scope.account == ctx.scope.account { Ok(self) } else { Err(faults::other_account()) }
    }

    pub(super) fn arn(&self) -> String {
        Arn::layer(&self.scope, self.name.as_str(), None).to_string()
    }

    pub(super) fn version_arn(&self, version: u64) -> String {
        Arn::layer(&self.scope, self.name.as_str(), Some(version)).to_string()
    }
}

/// The layer and number that the ARN of a layer version names.
pub(super) fn read_version_arn(text: &str) -> Result<(LayerTarget, u64), Fault> {
    let read = || {
        let arn: Arn = text.parse().ok()?;
        let (name, version) = arn.resource.strip_prefix("layer:")?.rsplit_once(':')?;
        Some((LayerTarget { name: name.parse().ok()?, scope: arn.scope.clone() }, version.parse().ok()?))
    };
    let (target, version): (_, i64) = read().ok_or_else(|| malformed(text))?;
    Ok((target, number(Some(version))?))
}

/// `VersionNumber`
pub(super) fn number(given: Option<i64>) -> Result<u64, Fault> {
    given
        .and_then(|number| u64::try_from(number).ok())
        .filter(|number| *number > 0)
        .ok_or_else(|| faults::invalid_parameter("Layer Version Cannot be less than 1"))
}

fn malformed(text: &str) -> Fault {
    let text: String = text.chars().take(256).collect();
    faults::invalid_parameter(format!("The layer name or ARN {text} is malformed."))
}
