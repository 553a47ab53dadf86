//! Invocations at once, and what they are taken from: a version's provisioned concurrency first, then the concurrency
//! that is reserved for its function, or else what the account has for all other functions. Pure.

use std::collections::HashMap;
use std::hash::Hash;

use lambfold_types::Scope;

use crate::functions::Name;
use crate::placement::ConfigurationId;

/// How much there is for an invocation of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Of the version: environments that are kept ready for it.
    pub(crate) provisioned: u32,
    /// Of its function, beside what is provisioned; `None` if nothing is reserved for it.
    pub(crate) reserved: Option<u32>,
    /// Of the account, beside what is reserved and provisioned.
    pub(crate) account: u32,
}

impl Limits {
    /// As if one were reserved for the function: a debugger is at one port, so it has one environment.
    pub(crate) fn for_one_at_a_time(self) -> Self {
        let provisioned = self.provisioned.min(1);
        Self { provisioned, reserved: Some(self.reserved.unwrap_or(1).min(1 - provisioned)), ..self }
    }
}

/// What an invocation that was admitted is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    Provisioned(ConfigurationId),
    Function(Name),
    Account(Scope),
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    Reserved,
    Account,
}

/// Invocations that run.
#[derive(Debug, Default)]
pub(crate) struct Concurrency {
    provisioned: HashMap<ConfigurationId, u32>,
    functions: HashMap<Name, u32>,
    accounts: HashMap<Scope, u32>,
}

impl Concurrency {
    /// Counts an invocation, if there is something left for it.
    pub(crate) fn admit(
        &mut self,
        name: &Name,
        configuration: &ConfigurationId,
        limits: Limits,
    ) -> Result<Share, Exhausted> {
        if take(&mut self.provisioned, configuration, limits.provisioned) {
            Ok(Share::Provisioned(configuration.clone()))
        } else if let Some(reserved) = limits.reserved {
            let admitted = take(&mut self.functions, name, reserved);
            if admitted { Ok(Share::Function(name.clone())) } else { Err(Exhausted::Reserved) }
        } else {
            let admitted = take(&mut self.accounts, &name.0, limits.account);
            if admitted { Ok(Share::Account(name.0.clone())) } else { Err(Exhausted::Account) }
        }
    }

    /// An invocation that was admitted is over.
    pub(crate) fn leave(&mut self, share: &Share) {
        match share {
            Share::Provisioned(configuration) => give_back(&mut self.provisioned, configuration),
            Share::Function(name) => give_back(&mut self.functions, name),
            Share::Account(scope) => give_back(&mut self.accounts, scope),
        }
    }
}

fn take<K: Clone + Eq + Hash>(counts: &mut HashMap<K, u32>, key: &K, limit: u32) -> bool {
    match counts.get_mut(key) {
        Some(count) if *count >= limit => return false,
        Some(count) => *count += 1,
        None if limit == 0 => return false,
        None => {
            counts.insert(key.clone(), 1);
        }
    }
    true
}

fn give_back<K: Eq + Hash>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_is_one_at_a_time() {
        let limits = |provisioned, reserved| {
            let limits = Limits { provisioned, reserved, account: 9 }.for_one_at_a_time();
            (limits.provisioned, limits.reserved)
        };
        assert_eq!(limits(0, None), (0, Some(1)));
        assert_eq!(limits(0, Some(5)), (0, Some(1)));
        assert_eq!(limits(3, None), (1, Some(0)));
        assert_eq!(limits(0, Some(0)), (0, Some(0)), "one that is switched off stays so");
    }

    #[test]
    fn what_is_provisioned_is_used_first_and_nothing_is_left_behind() {
        let mut concurrency = Concurrency::default();
        let name = (Scope::default(), "f".to_owned());
        let configuration: ConfigurationId = "c".into();
        let limits = Limits { provisioned: 1, reserved: Some(1), account: 9 };
        let mut admit = |limits| concurrency.admit(&name, &configuration, limits);
        let first = admit(limits).unwrap();
        let second = admit(limits).unwrap();
        assert_eq!(first, Share::Provisioned(configuration.clone()));
        assert_eq!(second, Share::Function(name.clone()));
        assert_eq!(admit(limits), Err(Exhausted::Reserved));
        let third = admit(Limits { reserved: None, account: 1, ..limits }).unwrap();
        assert_eq!(admit(Limits { reserved: None, account: 1, ..limits }), Err(Exhausted::Account));
        assert_eq!(admit(Limits::default()), Err(Exhausted::Account));
        concurrency.leave(&first);
        assert_eq!(concurrency.admit(&name, &configuration, limits), Ok(first.clone()));
        for share in [first, second, third] {
            concurrency.leave(&share);
        }
        assert!(concurrency.provisioned.is_empty() && concurrency.functions.is_empty());
        assert!(concurrency.accounts.is_empty());
    }
}
