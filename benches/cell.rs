//! One cell of a table: a rate and the latencies of its requests.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// What was counted and how long the requests took.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// What was measured.
    pub name: String,
    /// Units (messages, invocations) a second.
    pub per_second: f64,
    /// Median latency of one request, in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile, in milliseconds.
    pub p99_ms: f64,
    /// Requests that failed.
    pub errors: u64,
}

impl Cell {
    /// Sums up `units` counted in `elapsed`.
    pub fn new(name: &str, units: u64, elapsed: Duration, latencies: &Histogram<u64>, errors: u64) -> Self {
        Self {
            name: name.to_owned(),
            per_second: as_f64(units) / elapsed.as_secs_f64().max(1e-9),
            p50_ms: as_f64(latencies.value_at_quantile(0.5)) / 1e6,
            p99_ms: as_f64(latencies.value_at_quantile(0.99)) / 1e6,
            errors,
        }
    }
}

/// The cell whose rate is the median of `runs` (its latencies come along). Runs of one thing, in any order.
pub fn median(mut runs: Vec<Cell>) -> Option<Cell> {
    runs.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
    let middle = runs.len() / 2;
    (!runs.is_empty()).then(|| runs.swap_remove(middle))
}

/// Nanoseconds up to a minute, three digits.
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("the bounds are sound")
}

/// Adds one latency.
pub fn note(latencies: &mut Histogram<u64>, elapsed: Duration) {
    latencies.saturating_record(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
}

#[expect(clippy::cast_precision_loss, reason = "counts of a bench are far below 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
