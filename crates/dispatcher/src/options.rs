//! Settings of the dispatcher.

use std::time::Duration;

/// Settings of the dispatcher.
#[derive(Clone, Debug)]
pub struct Options {
    /// Invocations at once in one account and region (AWS: 1000).
    pub account_concurrency: u32,
    /// How long an invocation waits for room on full machines before it is throttled.
    pub placement_wait: Duration,
    /// How long an invocation of an unknown function waits for news from control while it is away.
    pub control_wait: Duration,
    /// The same while control is heard: only what was changed this moment can still be on its way.
    pub news_wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            account_concurrency: 1000,
            placement_wait: Duration::from_secs(2),
            control_wait: Duration::from_secs(2),
            news_wait: Duration::from_millis(100),
        }
    }
}
