//! How many batches of a mapping are invoked at once (facts: Lambda API §9, SQS polling and scaling).

use std::time::Duration;

use lambfold_types::Timestamp;

/// Batches at once of a mapping that begins or idles.
const START: usize = 5;
/// AWS adds up to 300 concurrent invocations a minute.
const GROWTH_INTERVAL: Duration = Duration::from_millis(200);
/// What may be added at once after a quiet time.
const GROWTH_STEP: usize = 5;

/// The current limit of concurrent batches: begins at five, grows while the queue has more than it takes, falls when
/// the function is throttled or fails, and goes back to five when the queue is empty.
#[derive(Debug)]
pub(crate) struct Scaling {
    limit: usize,
    most: usize,
    grown_at: Timestamp,
}

impl Scaling {
    /// Never above `most`: the mapping's MaximumConcurrency or the poller's cap.
    pub(crate) fn new(most: usize, now: Timestamp) -> Self {
        let most = most.max(1);
        Self { limit: START.min(most), most, grown_at: now }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn reconfigure(&mut self, most: usize) {
        self.most = most.max(1);
        self.limit = self.limit.min(self.most).max(START.min(self.most));
    }

    /// Every place is taken and the queue has more.
    pub(crate) fn saturated(&mut self, now: Timestamp) {
        let intervals = now.since(self.grown_at).as_millis() / GROWTH_INTERVAL.as_millis();
        let step = usize::try_from(intervals).unwrap_or(GROWTH_STEP).min(GROWTH_STEP);
        if step > 0 {
            self.limit = (self.limit + step).min(self.most);
            self.grown_at = now;
        }
    }

    /// When [`Scaling::saturated`] may add the next place.
    pub(crate) fn grows_at(&self) -> Option<Timestamp> {
        (self.limit < self.most).then(|| self.grown_at + GROWTH_INTERVAL)
    }

    /// A long poll found nothing.
    pub(crate) fn idle(&mut self) {
        let start = START.min(self.most);
        self.limit = if self.limit > start { (self.limit / 2).max(start) } else { start };
    }

    /// The function was throttled: halve, and hold for a second.
    pub(crate) fn throttled(&mut self, now: Timestamp) {
        self.limit = (self.limit / 2).max(1);
        self.grown_at = now + Duration::from_secs(1) - GROWTH_INTERVAL;
    }

    /// A whole batch failed. AWS does not scale down for failures that ReportBatchItemFailures names.
    pub(crate) fn failed(&mut self) {
        if self.limit > START.min(self.most) {
            self.limit -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn grows_by_three_hundred_a_minute_up_to_the_most() {
        let mut scaling = Scaling::new(1000, at(0));
        assert_eq!(scaling.limit(), 5);
        for millis in (0..=60_000).step_by(50) {
            scaling.saturated(at(millis));
        }
        assert_eq!(scaling.limit(), 305);
        for _ in 0..1000 {
            let next = scaling.grows_at();
            scaling.saturated(next.unwrap_or(at(0)));
        }
        assert_eq!(scaling.limit(), 1000);
        assert_eq!(scaling.grows_at(), None);
    }

    #[test]
    fn a_burst_after_quiet_is_a_small_step() {
        let mut scaling = Scaling::new(1000, at(0));
        scaling.saturated(at(3_600_000));
        assert_eq!(scaling.limit(), 10);
        scaling.saturated(at(3_600_100));
        assert_eq!(scaling.limit(), 10);
    }

    #[test]
    fn throttles_halve_and_idleness_restores() {
        let mut scaling = Scaling::new(100, at(0));
        for second in 1..=19 {
            scaling.saturated(at(second * 1000));
        }
        assert_eq!(scaling.limit(), 100);
        scaling.throttled(at(20_000));
        assert_eq!(scaling.limit(), 50);
        scaling.saturated(at(20_900));
        assert_eq!(scaling.limit(), 50);
        scaling.saturated(at(21_000));
        assert_eq!(scaling.limit(), 51);
        for _ in 0..10 {
            scaling.throttled(at(22_000));
        }
        assert_eq!(scaling.limit(), 1);
        scaling.idle();
        assert_eq!(scaling.limit(), 5);
    }

    #[test]
    fn failures_never_go_below_the_start() {
        let mut scaling = Scaling::new(100, at(0));
        scaling.saturated(at(1000));
        assert_eq!(scaling.limit(), 10);
        for _ in 0..20 {
            scaling.failed();
        }
        assert_eq!(scaling.limit(), 5);
    }

    #[test]
    fn maximum_concurrency_holds_from_the_start() {
        let mut scaling = Scaling::new(2, at(0));
        scaling.saturated(at(100_000));
        assert_eq!(scaling.limit(), 2);
        scaling.reconfigure(3);
        assert_eq!(scaling.limit(), 3);
        scaling.reconfigure(1);
        scaling.idle();
        assert_eq!(scaling.limit(), 1);
    }
}
