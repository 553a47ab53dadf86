//! Reserved and provisioned concurrency: the rules; what acts on them is the dispatcher.

use lambfold_api::Fault;

use crate::faults;
use crate::record::{Alias, FunctionRecord};

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
