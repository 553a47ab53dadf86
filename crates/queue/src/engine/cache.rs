//! The memory for message bodies, shared by all shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a shard may always hold, so that it can hand out messages however full the rest is.
const FLOOR: usize = 64 << 10;

/// A shard's part in the shared memory for bodies.
#[derive(Debug)]
pub(crate) struct CacheShare {
    total: Arc<CacheTotal>,
    used: usize,
}

/// The memory for bodies of a whole service.
#[derive(Debug)]
pub(crate) struct CacheTotal {
    limit: usize,
    used: AtomicUsize,
}

impl CacheTotal {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0) })
    }
}

impl CacheShare {
    pub(crate) fn new(total: Arc<CacheTotal>) -> Self {
        Self { total, used: 0 }
    }

    /// Notes that the shard holds `used` bytes; returns how many it may hold.
    pub(crate) fn update(&mut self, used: usize) -> usize {
        if used != self.used {
            self.total.used.fetch_add(used, Ordering::Relaxed);
            self.total.used.fetch_sub(self.used, Ordering::Relaxed);
            self.used = used;
        }
        let free = self.total.limit.saturating_sub(self.total.used.load(Ordering::Relaxed));
        FLOOR.max(used + free)
    }
}

impl Drop for CacheShare {
    fn drop(&mut self) {
        self.total.used.fetch_sub(self.used, Ordering::Relaxed);
    }
}
