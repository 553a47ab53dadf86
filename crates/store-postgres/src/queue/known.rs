//! What an owner knows of its shards without asking: nobody else changes it for as long as the epoch is theirs.

use std::collections::HashMap;

use lambfold_queue::store::{FencedWrite, ShardKey};

/// By shard.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<ShardKey, KnownShard>);

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownShard {
    /// Where its messages are kept.
    pub(super) slot: i64,
    pub(super) epoch: u64,
    pub(super) purged_before: u64,
    /// Below it there are no deduplication rows any more.
    pub(super) deduplicated_before: u64,
}

impl Known {
    pub(super) fn learn(&mut self, shard: ShardKey, slot: i64, epoch: u64, purged_before: u64) {
        self.0.insert(shard, KnownShard { slot, epoch, purged_before, deduplicated_before: 0 });
    }

    pub(super) fn forget(&mut self, shard: ShardKey) {
        self.0.remove(&shard);
    }

    pub(super) fn forget_queue(&mut self, incarnation: u64) {
        self.0.retain(|shard, _| shard.incarnation != incarnation);
    }

    /// Whether the shard is known under that epoch.
    pub(super) fn has(&self, shard: ShardKey, epoch: u64) -> bool {
        self.0.get(&shard).is_some_and(|known| known.epoch == epoch)
    }

    /// One that [`Known::has`] or that was learnt of.
    pub(super) fn get(&self, shard: ShardKey) -> KnownShard {
        self.0[&shard]
    }

    /// The batch was committed.
    pub(super) fn applied(&mut self, batch: &[FencedWrite]) {
        for FencedWrite { shard, write, .. } in batch {
            let Some(known) = self.0.get_mut(shard) else { continue };
            if let Some((before, _)) = write.purge {
                known.purged_before = before;
            }
            if let Some(before) = write.deduplicated_before {
                known.deduplicated_before = known.deduplicated_before.max(before);
            }
        }
    }
}
