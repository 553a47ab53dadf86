//! What the workers can run, as dispatchers tell it. Soft: forgotten after a while and after a restart, and while
//! nobody has told anything, nothing is refused for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lambfold_api::control::{ReportWorkerRequest, ReportWorkerResponse};
use lambfold_types::Timestamp;

/// A worker that nobody tells of for this long does not count. Dispatchers tell every 20 seconds.
const REMEMBERED: Duration = Duration::from_mins(1);
/// Workers that are remembered; a report of one more is dropped.
const MOST_WORKERS: usize = 10_000;

/// The workers that were told of.
#[derive(Debug, Default)]
pub(crate) struct Workers(Mutex<BTreeMap<String, Told>>);

#[derive(Debug)]
struct Told {
    at: Timestamp,
    runtimes: BTreeSet<String>,
}

impl Workers {
    pub(crate) fn report(&self, input: ReportWorkerRequest, now: Timestamp) -> ReportWorkerResponse {
        let mut workers = self.workers();
        workers.retain(|_, told| now < told.at + REMEMBERED);
        if workers.len() < MOST_WORKERS || workers.contains_key(&input.incarnation) {
            let runtimes = input.runtimes.into_iter().collect();
            workers.insert(input.incarnation, Told { at: now, runtimes });
        }
        ReportWorkerResponse {}
    }

    /// What they run instead, if there are workers and none runs `runtime`.
    pub(crate) fn lack(&self, runtime: &str, now: Timestamp) -> Option<String> {
        let workers = self.workers();
        let present: Vec<_> = workers.values().filter(|told| now < told.at + REMEMBERED).collect();
        if present.is_empty() || present.iter().any(|told| told.runtimes.contains(runtime)) {
            return None;
        }
        let runtimes: BTreeSet<&str> =
            present.iter().flat_map(|told| told.runtimes.iter().map(String::as_str)).collect();
        Some(runtimes.into_iter().collect::<Vec<_>>().join(", "))
    }

    fn workers(&self) -> MutexGuard<'_, BTreeMap<String, Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_worker_runs_is_known_only_while_workers_are() {
        let workers = Workers::default();
        let report = |incarnation: &str, runtime: &str, second: i64| {
            let runtimes = vec![runtime.to_owned()];
            let input = ReportWorkerRequest { incarnation: incarnation.into(), runtimes };
            workers.report(input, Timestamp::from_millis(second * 1000));
        };
        let lack = |second: i64| workers.lack("ruby3.3", Timestamp::from_millis(second * 1000));
        assert_eq!(lack(0), None, "nobody has told anything yet");
        report("a", "python3.12", 0);
        assert_eq!(lack(1).as_deref(), Some("python3.12"));
        report("b", "ruby3.3", 30);
        assert_eq!(lack(31), None);
        report("a", "python3.12", 80);
        assert_eq!(lack(95).as_deref(), Some("python3.12"), "b was not told of any more");
        assert_eq!(lack(200), None);
    }
}
