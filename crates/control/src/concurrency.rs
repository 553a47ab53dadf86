//! Reserved and provisioned concurrency: the rules. What acts on them is the dispatcher, which tells what has become of
//! them.

mod allocation;
mod provisioned;
mod reserved;

use std::sync::Arc;

use lambfold_api::Fault;
use lambfold_types::{FunctionName, Scope};

use crate::faults;
use crate::record::{Alias, Function, FunctionConcurrency, FunctionRecord};
use crate::service::Shared;

pub(crate) use allocation::Allocations;
pub(crate) use provisioned::{delete_provisioned, get_provisioned, list_provisioned, put_provisioned};
pub(crate) use reserved::{delete_reserved, get_reserved, put_reserved};

/// What must be left for the functions of an account that have no concurrency of their own.
const LEAST_UNRESERVED: u32 = 100;

impl FunctionConcurrency {
    /// What is provisioned under all qualifiers, but that one.
    fn provisioned_beside(&self, qualifier: &str) -> u32 {
        let others = self.provisioned.iter().filter(|(name, _)| *name != qualifier);
        others.map(|(_, it)| it.requested).fold(0, u32::saturating_add)
    }

    /// What other functions cannot use.
    fn own(&self) -> u32 {
        self.reserved.unwrap_or_else(|| self.provisioned_beside(""))
    }
}

/// A version that has concurrency of its own cannot be reached through an alias that has some, too.
pub(crate) fn check_alias(record: &FunctionRecord, alias: &Alias) -> Result<(), Fault> {
    let additional = alias.additional.as_ref().map(|it| it.version.to_string());
    let versions = [Some(&alias.version), additional.as_ref()].into_iter().flatten();
    for version in versions {
        if record.concurrency.provisioned.contains_key(version) {
            return Err(faults::conflict(
                "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version",
            ));
        }
    }
    Ok(())
}

/// What the account has for functions without concurrency of their own, beside that one.
async fn unreserved(shared: &Arc<Shared>, scope: &Scope, beside: &FunctionName) -> Result<u32, Fault> {
    let key = scope.clone();
    let functions: Vec<Function> = shared.store(move |store| store.functions(&key, None, usize::MAX)).await?;
    let others = functions.iter().filter(|it| it.name != *beside);
    let own = others.map(|it| it.record.concurrency.own()).fold(0, u32::saturating_add);
    Ok(shared.options.account_concurrency.saturating_sub(own))
}

/// The least that must be left; nothing, where the account has no more than that to begin with.
fn least(shared: &Shared) -> u32 {
    if shared.options.account_concurrency > LEAST_UNRESERVED { LEAST_UNRESERVED } else { 0 }
}
