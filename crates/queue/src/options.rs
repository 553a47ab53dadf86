//! The engine's settings.

use std::time::Duration;

/// Bounds and rules of the queue engine. The defaults fit a laptop and a small server alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Messages of one standard queue that may be in flight; AWS allows about 120,000.
    pub in_flight_limit: usize,
    /// How long after its last purge a queue refuses another; AWS: 60 s, `None`: not at all.
    pub purge_cooldown: Option<Duration>,
    /// How long after a queue's deletion its name is blocked; AWS: 60 s, `None`: not at all.
    pub recreate_cooldown: Option<Duration>,
    /// Bytes of message bodies kept in memory, over all queues. Beyond that they stay in the store until they are
    /// near the head. A queue may always hold one page.
    pub body_cache_bytes: usize,
    /// Messages of one queue that were received before or are delayed, and so are indexed in memory (about
    /// 150 bytes each). At this many, receives hand out redeliveries only and delayed sends are refused.
    pub indexed_messages: usize,
    /// Bytes of messages that may wait for a commit, over all queues; beyond that sends are refused.
    pub uncommitted_bytes: usize,
    /// Commands that may wait for a queue's owner; beyond that they are refused.
    pub command_queue: usize,
    /// Receives that may wait on one queue; beyond that they are refused.
    pub waiters: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            in_flight_limit: 120_000,
            purge_cooldown: None,
            recreate_cooldown: None,
            body_cache_bytes: 16 << 20,
            indexed_messages: 2_000_000,
            uncommitted_bytes: 64 << 20,
            command_queue: 4096,
            waiters: 10_000,
        }
    }
}
