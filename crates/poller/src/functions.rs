//! Time-outs of functions, as the watch tells them: a batch is held as long as its function may run.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use lambfold_api::control;
use lambfold_types::{Qualifier, Scope};

/// AWS's longest; where a function is not known.
const LONGEST: Duration = Duration::from_mins(15);

/// Time-outs by function and version. Never locked across an await.
#[derive(Debug, Default)]
pub(crate) struct FunctionTimeouts(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    functions: BTreeMap<(Scope, String), BTreeMap<String, Version>>,
    /// Which version an incarnation is.
    incarnations: BTreeMap<String, ((Scope, String), String)>,
}

#[derive(Debug)]
struct Version {
    incarnation: String,
    timeout: Duration,
}

impl FunctionTimeouts {
    /// The time-out of what `qualifier` names. Aliases are not watched: the longest of the function's versions.
    pub(crate) fn get(&self, scope: &Scope, function: &str, qualifier: &Qualifier) -> Duration {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(versions) = known.functions.get(&(scope.clone(), function.to_owned())) else {
            return LONGEST;
        };
        let exact = match qualifier {
            Qualifier::Alias(_) => None,
            version => versions.get(&version.to_string()).map(|it| it.timeout),
        };
        exact.or_else(|| versions.values().map(|it| it.timeout).max()).unwrap_or(LONGEST)
    }

    pub(crate) fn insert(&self, told: control::FunctionVersion) {
        let (Ok(account), Ok(region)) = (told.account.parse(), told.region.parse()) else { return };
        let name = (Scope { account, region }, told.function_name);
        let timeout = Duration::from_secs(told.timeout_seconds.into());
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.incarnations.insert(told.incarnation.clone(), (name.clone(), told.version.clone()));
        let versions = known.functions.entry(name).or_default();
        versions.insert(told.version, Version { incarnation: told.incarnation, timeout });
    }

    pub(crate) fn remove(&self, incarnation: &str) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some((name, version)) = known.incarnations.remove(incarnation) else { return };
        if let Some(versions) = known.functions.get_mut(&name) {
            // A later incarnation of the same name may have taken the place already.
            if versions.get(&version).is_some_and(|it| it.incarnation == incarnation) {
                versions.remove(&version);
            }
            if versions.is_empty() {
                known.functions.remove(&name);
            }
        }
    }

    /// Forgets all; the longest time-out counts until functions are told again.
    pub(crate) fn clear(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Known::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(version: &str, incarnation: &str, timeout_seconds: u32) -> control::FunctionVersion {
        control::FunctionVersion {
            account: "000000000000".into(),
            region: "us-east-1".into(),
            function_name: "work".into(),
            version: version.into(),
            incarnation: incarnation.into(),
            timeout_seconds,
            ..control::FunctionVersion::default()
        }
    }

    #[test]
    fn the_version_counts_and_for_an_alias_the_longest() {
        let timeouts = FunctionTimeouts::default();
        let get =
            |qualifier: &str| timeouts.get(&Scope::default(), "work", &qualifier.parse().unwrap()).as_secs();
        assert_eq!(get("$LATEST"), 900);
        timeouts.insert(version("$LATEST", "a", 3));
        timeouts.insert(version("1", "b", 60));
        assert_eq!((get("$LATEST"), get("1"), get("live")), (3, 60, 60));
        timeouts.insert(version("$LATEST", "c", 9));
        timeouts.remove("a");
        assert_eq!(get("$LATEST"), 9);
        timeouts.remove("c");
        timeouts.remove("b");
        assert_eq!(get("1"), 900);
        assert!(timeouts.0.read().unwrap().functions.is_empty());
    }
}
