//! Which runtimes a function may have: by the catalogue, and by what the workers said they can run (facts, Lambda API
//! §14 and §16).

use lambfold_api::Fault;
use lambfold_types::{RUNTIMES, Runtime, RuntimeKind, RuntimeState};

use crate::faults;
use crate::service::Shared;

/// Refuses what cannot be run, in AWS's words where AWS would refuse it too.
pub(super) fn check(shared: &Shared, identifier: &str) -> Result<(), Fault> {
    let Some(runtime) = Runtime::find(identifier) else {
        let quoted: String = identifier.chars().take(128).collect();
        let offered = RUNTIMES.iter().filter(|runtime| runtime.state != RuntimeState::Retired);
        return Err(faults::invalid_parameter(format!(
            "Value {quoted} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [{}] or be a \
             valid ARN",
            offered.map(|runtime| runtime.identifier).collect::<Vec<_>>().join(", ")
        )));
    };
    if runtime.state == RuntimeState::Retired {
        return Err(faults::invalid_parameter(format!(
            "The runtime parameter of {identifier} is no longer supported for creating or updating AWS Lambda functions. \
             We recommend you use a supported runtime while creating or updating functions."
        )));
    }
    match runtime.kind {
        RuntimeKind::NotHere => Err(faults::not_supported(&format!("the runtime {identifier}"))),
        RuntimeKind::Provided => Ok(()),
        RuntimeKind::Managed(language, version) => {
            if let Some(found) = shared.workers.lack(identifier, shared.clock.now()) {
                return Err(faults::invalid_parameter(format!(
                    "No worker can run {identifier}: {language} {version} is not installed (workers run: {found}). Install it, \
                     put it on the PATH that the worker is started with, or let another version do \
                     (worker.nearest_version)."
                )));
            }
            if runtime.state == RuntimeState::Deprecated {
                tracing::warn!(runtime = identifier, "AWS has deprecated this runtime");
            }
            Ok(())
        }
    }
}
