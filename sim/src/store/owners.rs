//! Who took which shard, and whether only owners commit: told by the store's users, and not by what the store checks.

use std::collections::BTreeMap;

use lambfold_queue::store::{FencedWrite, ShardKey};
use lambfold_types::Timestamp;

use crate::executor::Process;

/// A shard has a new owner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Takeover {
    pub(crate) shard: ShardKey,
    pub(crate) epoch: u64,
    pub(crate) at: Timestamp,
}

#[derive(Debug, Default)]
pub(crate) struct Owners {
    /// All that ever owned a shard, by epoch.
    tenures: BTreeMap<ShardKey, BTreeMap<u64, Process>>,
    /// Since the simulation last asked.
    takeovers: Vec<Takeover>,
    wrong: Option<String>,
}

impl Owners {
    pub(super) fn takes(&mut self, process: Process, shard: ShardKey, epoch: u64, at: Timestamp) {
        let tenures = self.tenures.entry(shard).or_default();
        if let Some((last, owner)) = tenures.last_key_value().filter(|(last, _)| **last >= epoch) {
            self.wrong =
                Some(format!("{shard} was given under epoch {epoch} after {last} of process {owner}"));
        }
        tenures.insert(epoch, process);
        self.takeovers.push(Takeover { shard, epoch, at });
    }

    pub(super) fn commits(&mut self, process: Process, batch: &[FencedWrite]) {
        for FencedWrite { shard, epoch, write } in batch {
            let last = self.tenures.get(shard).and_then(BTreeMap::last_key_value);
            let Some((current, owner)) = last else { continue };
            // What leaves for another queue is committed by that queue's owner, for this one.
            let leaves = write.inserts.is_empty() && write.deliveries.is_empty() && write.purge.is_none();
            if current != epoch || owner != &process && !leaves {
                self.wrong = Some(format!(
                    "process {process} has committed to {shard} under epoch {epoch}, which process {owner} owns under {current}"
                ));
            }
        }
    }

    /// What the store was used for that it should not have been.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        self.wrong.take().map_or(Ok(()), Err)
    }

    pub(crate) fn take_takeovers(&mut self) -> Vec<Takeover> {
        std::mem::take(&mut self.takeovers)
    }

    /// The shards that a process took last.
    pub(crate) fn of(&self, process: Process) -> Vec<ShardKey> {
        let last = |tenures: &BTreeMap<u64, Process>| tenures.last_key_value().map(|(_, owner)| *owner);
        self.tenures
            .iter()
            .filter(|(_, tenures)| last(tenures) == Some(process))
            .map(|(key, _)| *key)
            .collect()
    }
}
