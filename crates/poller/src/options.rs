//! Settings of the poller.

use std::time::Duration;

/// Settings of the poller.
#[derive(Clone, Debug)]
pub struct Options {
    /// Batches of one mapping that are invoked at once, where the mapping itself sets no lower limit. AWS: 1250;
    /// 100 is more than one machine runs.
    pub max_concurrency: usize,
    /// How long batches that run may take to finish when the poller is stopped. What does not finish is left to
    /// the visibility timeout of its messages.
    pub stop_within: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_concurrency: 100, stop_within: Duration::from_secs(10) }
    }
}
