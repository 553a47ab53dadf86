//! How many environments are initialised ahead at once, and whose. An init may take many minutes, so nobody may have all places.

use std::collections::HashMap;
use std::hash::Hash;

use lambfold_types::Scope;

use crate::placement::ConfigurationId;

/// Of all accounts and regions together.
const MOST_AT_ONCE: usize = 64;
/// Of one account and region.
const MOST_OF_SCOPE: usize = 16;
/// Of one configuration: a function whose init hangs leaves places to others of its account.
const MOST_OF_CONFIGURATION: usize = 8;

/// The preparations that run.
#[derive(Debug, Default)]
pub(super) struct Running {
    all: usize,
    scopes: HashMap<Scope, usize>,
    configurations: HashMap<ConfigurationId, usize>,
}

impl Running {
    /// Whether one more of that configuration may begin.
    pub(super) fn has_room(&self, scope: &Scope, configuration: &str) -> bool {
        self.all < MOST_AT_ONCE
            && self.scopes.get(scope).is_none_or(|count| *count < MOST_OF_SCOPE)
            && self.configurations.get(configuration).is_none_or(|count| *count < MOST_OF_CONFIGURATION)
    }

    /// One begins; to be [ended](Self::end).
    pub(super) fn begin(&mut self, scope: &Scope, configuration: &ConfigurationId) {
        self.all += 1;
        *self.scopes.entry(scope.clone()).or_default() += 1;
        *self.configurations.entry(configuration.clone()).or_default() += 1;
    }

    /// One that began is over.
    pub(super) fn end(&mut self, scope: &Scope, configuration: &ConfigurationId) {
        self.all = self.all.saturating_sub(1);
        one_less(&mut self.scopes, scope);
        one_less(&mut self.configurations, configuration);
    }
}

fn one_less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
