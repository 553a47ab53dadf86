//! The machine's clock and random numbers.

use std::time::{Duration, Instant, SystemTime};

use lambfold_types::{Clock, Entropy, SleepFuture, Timestamp};
use rand::RngCore;

/// Wall time read once at start, carried on by the monotonic clock: it never goes backwards while the process
/// runs, whatever is done to the machine's clock meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
    started_at: Timestamp,
}

impl SystemClock {
    /// Reads the machine's clock.
    #[expect(clippy::disallowed_methods, reason = "this adapter is where the machine's clock is read")]
    pub fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_at: Timestamp::from_millis(0) + since_epoch }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.started_at + self.started.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this adapter is where tokio's timer is used")]
    fn sleep_until(&self, deadline: Timestamp) -> SleepFuture {
        // Wake past the deadline's millisecond, never before it: tokio rounds up to its own, too.
        let from_start = deadline.since(self.started_at);
        let wake = self.started.checked_add(from_start + Duration::from_micros(1));
        Box::pin(async move {
            match wake {
                Some(wake) => tokio::time::sleep_until(wake.into()).await,
                None => std::future::pending().await,
            }
        })
    }
}

/// The operating system's random numbers, through a per-thread generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "this adapter is where the thread's generator is used")]
    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleeping_reaches_the_deadline() {
        let clock = SystemClock::new();
        let deadline = clock.now() + Duration::from_millis(3);
        clock.sleep_until(deadline).await;
        assert!(clock.now() >= deadline);
        clock.sleep_until(deadline).await;
    }
}
