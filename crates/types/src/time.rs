//! Time as a parameter: wall-clock milliseconds, and the clock that hands them out.

use std::fmt;
use std::future::Future;
use std::ops::{Add, Sub};
use std::pin::Pin;
use std::time::Duration;

use chrono::DateTime;
use serde::{Deserialize, Serialize};

/// A moment, in milliseconds since the Unix epoch. Every persisted deadline is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// As UTC in the Gregorian calendar, by a pattern of `strftime`: `%Y-%m-%dT%H:%M:%S%.3fZ`. The epoch for a moment
    /// that the calendar does not reach.
    pub fn utc(self, pattern: &str) -> String {
        DateTime::from_timestamp_millis(self.0).unwrap_or_default().format(pattern).to_string()
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// What [`Clock::sleep_until`] returns.
pub type SleepFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a service's `run` returns: its work, until it is told to stop. Boxed where it is defined, so that its machine
/// code is made with its own crate; an `async fn` is compiled with whoever awaits it, and again after every change below.
pub type RunFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The only source of time for deadlines, leases, back-offs, windows and delays (DESIGN §3 Time).
pub trait Clock: Send + Sync + 'static {
    /// The current wall-clock time. Never goes backwards within one process.
    fn now(&self) -> Timestamp;

    /// Completes when `now()` has reached `deadline`.
    fn sleep_until(&self, deadline: Timestamp) -> SleepFuture;
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn days_of_note() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z"),
            (1_798_761_599_000, "2026-12-31T23:59:59.000Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (i64::MAX, "1970-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp::from_millis(millis).utc("%Y-%m-%dT%H:%M:%S%.3fZ"), text);
        }
    }
}
