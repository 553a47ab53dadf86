//! What has become of provisioned concurrency, as dispatchers tell it. Soft: after a restart it is told again within
//! seconds, and until then nothing is known to be ready.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lambfold_api::control::{ProvisionedAllocation, ReportProvisionedConcurrencyRequest};
use lambfold_types::{FunctionName, Scope, Timestamp};

/// What nobody has told of for this long does not count. Dispatchers tell every 20 seconds.
const REMEMBERED: Duration = Duration::from_mins(1);

/// Environments of one configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allocation {
    /// Which request it is about.
    pub(crate) requested: u32,
    /// Those that are there or on their way.
    pub(crate) allocated: u32,
    /// Those that are initialised.
    pub(crate) available: u32,
    /// Why there are not more of them.
    pub(crate) trouble: Option<String>,
}

/// All that was told last.
#[derive(Debug, Default)]
pub(crate) struct Allocations(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    at: Timestamp,
    allocations: HashMap<Key, Allocation>,
}

type Key = (String, String, String, String);

impl Allocations {
    /// Takes over the whole picture.
    pub(crate) fn report(&self, input: ReportProvisionedConcurrencyRequest, now: Timestamp) {
        let all = input.allocations.into_iter().map(|told| {
            let ProvisionedAllocation {
                account,
                region,
                function_name,
                qualifier,
                requested,
                allocated,
                available,
                trouble,
            } = told;
            let trouble = Some(trouble).filter(|text| !text.is_empty());
            (
                (account, region, function_name, qualifier),
                Allocation { requested, allocated, available, trouble },
            )
        });
        *self.told() = Told { at: now, allocations: all.collect() };
    }

    /// What is known of one.
    pub(crate) fn get(
        &self,
        scope: &Scope,
        name: &FunctionName,
        qualifier: &str,
        now: Timestamp,
    ) -> Allocation {
        let told = self.told();
        if told.at + REMEMBERED < now {
            return Allocation::default();
        }
        let key =
            (scope.account.to_string(), scope.region.to_string(), name.to_string(), qualifier.to_owned());
        told.allocations.get(&key).cloned().unwrap_or_default()
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
