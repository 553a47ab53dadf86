//! The operations, a file for each subject.

pub(crate) mod deliver;
pub(crate) mod events;
pub(crate) mod filter;
pub(crate) mod groups;
pub(crate) mod live_tail;
pub(crate) mod put;
pub(crate) mod streams;
pub(crate) mod tags;

use lambfold_api::Fault;
use lambfold_types::Scope;

use crate::faults;
use crate::record::Group;
use crate::service::Shared;

/// What AWS puts on one page of events.
const PAGE_EVENTS: usize = 10_000;
const PAGE_BYTES: usize = 1 << 20;

/// The group of that name, which must be there.
async fn group(shared: &Shared, scope: &Scope, name: &str) -> Result<Group, Fault> {
    let (scope, name) = (scope.clone(), name.to_owned());
    shared.store(move |store| store.group(&scope, &name)).await?.ok_or_else(faults::no_group)
}

/// The times from `start` up to but not at `end`, without what has expired.
fn times(shared: &Shared, group: &Group, start: Option<i64>, end: Option<i64>) -> std::ops::Range<i64> {
    let kept = group.settings.expired_before(shared.clock.now()).map_or(0, lambfold_types::Timestamp::millis);
    start.unwrap_or(0).max(kept)..end.unwrap_or(i64::MAX)
}

/// A page's length.
fn limit(wanted: Option<i32>, default: usize) -> usize {
    wanted.and_then(|wanted| usize::try_from(wanted).ok()).unwrap_or(default)
}
