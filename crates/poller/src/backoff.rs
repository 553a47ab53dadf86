//! Waiting longer after every failure.

use std::time::Duration;

use lambfold_types::Entropy;

/// Exponential back-off with jitter: half of each wait is random, so that who failed together does not come back
/// together.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits of about `first`, then twice as long each time, up to `most`.
    pub(crate) const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: 0 }
    }

    /// The next wait.
    pub(crate) fn failed(&mut self, entropy: &dyn Entropy) -> Duration {
        let whole = self.first.saturating_mul(1 << self.failures.min(20)).min(self.most);
        self.failures = self.failures.saturating_add(1);
        let mut random = [0; 1];
        entropy.fill(&mut random);
        whole / 2 + whole * u32::from(random[0]) / 510
    }

    /// Begins anew.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use lambfold_clock::SeededEntropy;

    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_are_spread() {
        let entropy = SeededEntropy::new(1);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for whole in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.failed(&entropy);
            assert!(wait >= Duration::from_millis(whole / 2), "{wait:?}");
            assert!(wait <= Duration::from_millis(whole), "{wait:?}");
        }
        for _ in 0..100 {
            assert!(backoff.failed(&entropy) <= Duration::from_secs(1));
        }
        backoff.succeeded();
        assert!(backoff.failed(&entropy) <= Duration::from_millis(100));
    }
}
