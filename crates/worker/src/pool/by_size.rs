//! Pools for functions of one memory size: made when one is first started, kept while some are, and so many at most.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::Pool;

/// How long some wait after the last function of a size was started: what runs every few minutes finds one.
pub(super) const KEPT: Duration = Duration::from_hours(1);
/// A function can have any of ten thousand sizes, and all pools share one budget.
const MOST: usize = 16;

/// What was asked for last comes first: so it also does where there is not enough for all.
#[derive(Default)]
pub(super) struct BySize(VecDeque<Arc<Pool>>);

impl BySize {
    /// The pool of that label, which `make` makes if it is not there; and the one that has to go for it, which was asked for
    /// longest ago.
    pub(super) fn ask(
        &mut self,
        runtime: String,
        make: impl FnOnce(String) -> Pool,
    ) -> (Arc<Pool>, Option<Arc<Pool>>) {
        let there = self.0.iter().position(|pool| pool.labels.runtime == runtime);
        let pool = there.and_then(|at| self.0.remove(at)).unwrap_or_else(|| Arc::new(make(runtime)));
        self.0.push_front(Arc::clone(&pool));
        let least_recent = if self.0.len() > MOST { self.0.pop_back() } else { None };
        (pool, least_recent)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.0.iter()
    }

    pub(super) fn retain(&mut self, mut is_kept: impl FnMut(&Pool) -> bool) {
        self.0.retain(|pool| is_kept(pool));
    }
}
