//! A store in memory: for tests and the simulation. Keeps the contract of [`QueueStore`] to the letter, forgets
//! everything when it is dropped.

mod shared;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lambfold_types::Timestamp;
use uuid::Uuid;

use crate::mac::MacKey;
use crate::move_task::MoveTask;

use super::{
    DeduplicationRow, DeletedQueue, DeliveryRow, Directory, DirectoryChange, FencedWrite, MessageRow,
    QueueRow, QueueStore, Result, ShardHead, ShardKey, ShardWrite, StoreError,
};

pub use shared::{MemoryCluster, MemoryNode};

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queues: BTreeMap<u64, QueueRow>,
    deleted: BTreeMap<u64, DeletedQueue>,
    mac_keys: Vec<MacKey>,
    move_tasks: BTreeMap<Uuid, MoveTask>,
    last_incarnation: u64,
    shards: BTreeMap<ShardKey, Shard>,
}

#[derive(Debug)]
struct Shard {
    head: ShardHead,
    messages: BTreeMap<u64, MessageRow>,
    deliveries: BTreeMap<u64, DeliveryRow>,
    deduplications: BTreeMap<u64, DeduplicationRow>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn queue(&mut self, incarnation: u64) -> Result<&mut QueueRow> {
        let missing = StoreError::NoSuchShard(ShardKey { incarnation, shard: 0 });
        self.queues.get_mut(&incarnation).ok_or(missing)
    }

    /// A shard whose queue is not deleted.
    fn shard(&self, key: ShardKey) -> Result<&Shard> {
        let live = self.queues.contains_key(&key.incarnation);
        self.shards.get(&key).filter(|_| live).ok_or(StoreError::NoSuchShard(key))
    }
}

impl Shard {
    fn new() -> Self {
        let head = ShardHead {
            epoch: 0,
            next_sequence: 1,
            purged_before: 0,
            purged_at: None,
            live: 0,
            clock: Timestamp::default(),
        };
        Self { head, messages: BTreeMap::new(), deliveries: BTreeMap::new(), deduplications: BTreeMap::new() }
    }

    fn apply(&mut self, write: &ShardWrite) {
        for row in &write.inserts {
            let NewMessageParts { message, delivery } = NewMessageParts::of(row);
            self.messages.insert(message.sequence, message);
            self.deliveries.extend(delivery.map(|delivery| (delivery.sequence, delivery)));
        }
        for row in &write.deliveries {
            self.deliveries.insert(row.sequence, *row);
        }
        for sequence in &write.deletes {
            self.messages.remove(sequence);
            self.deliveries.remove(sequence);
        }
        self.deduplications.extend(write.deduplications.iter().map(|row| (row.sequence, *row)));
        if let Some(before) = write.deduplicated_before {
            self.deduplications = self.deduplications.split_off(&before);
        }
        self.head.live = write.live_change(self.head.purged_before).apply(self.head.live);
        if let Some((before, at)) = write.purge {
            self.head.purged_before = before;
            self.head.purged_at = Some(at);
        }
        self.head.next_sequence = self.head.next_sequence.max(write.next_sequence);
        self.head.clock = write.clock;
    }
}

/// A new message as the two rows that it becomes.
struct NewMessageParts {
    message: MessageRow,
    delivery: Option<DeliveryRow>,
}

impl NewMessageParts {
    fn of(row: &super::NewMessageRow) -> Self {
        let message = MessageRow { sequence: row.sequence, sent_at: row.sent_at, record: row.record.clone() };
        Self { message, delivery: row.delivery() }
    }
}

impl QueueStore for MemoryStore {
    fn blocks(&self) -> bool {
        false
    }

    fn load_directory(&self) -> Result<Directory> {
        let state = self.state();
        Ok(Directory {
            queues: state.queues.values().cloned().collect(),
            deleted: state.deleted.values().cloned().collect(),
            mac_keys: state.mac_keys.clone(),
            move_tasks: state.move_tasks.values().cloned().collect(),
            revision: 0,
        })
    }

    fn create_queue(&self, row: &QueueRow) -> Result<QueueRow> {
        let mut state = self.state();
        if state.queues.values().any(|queue| queue.scope == row.scope && queue.name == row.name) {
            return Err(StoreError::NameTaken);
        }
        state.last_incarnation += 1;
        let row = QueueRow { incarnation: state.last_incarnation, ..row.clone() };
        state.queues.insert(row.incarnation, row.clone());
        state.shards.insert(ShardKey { incarnation: row.incarnation, shard: 0 }, Shard::new());
        Ok(row)
    }

    fn change_directory(&self, change: &DirectoryChange) -> Result<()> {
        let mut state = self.state();
        match change {
            DirectoryChange::SetProperties { incarnation, properties, modified_at } => {
                let row = state.queue(*incarnation)?;
                row.properties = properties.clone();
                row.modified_at = *modified_at;
            }
            DirectoryChange::Delete { incarnation, deleted_at } => {
                state.queue(*incarnation)?;
                if let Some(row) = state.queues.remove(incarnation) {
                    let deleted = DeletedQueue { scope: row.scope, name: row.name, deleted_at: *deleted_at };
                    state.deleted.insert(*incarnation, deleted);
                }
            }
            DirectoryChange::AddMacKey(key) => state.mac_keys.push(key.clone()),
            DirectoryChange::PutMoveTask(task) => {
                let task = state.move_tasks.get(&task.id).map_or(task.clone(), |it| it.changed_to(task));
                state.move_tasks.insert(task.id, task);
            }
            DirectoryChange::ForgetMoveTask(id) => _ = state.move_tasks.remove(id),
        }
        Ok(())
    }

    fn take_shard(&self, shard: ShardKey) -> Result<ShardHead> {
        let mut state = self.state();
        state.shard(shard)?;
        let shard = state.shards.get_mut(&shard).ok_or(StoreError::NoSuchShard(shard))?;
        shard.head.epoch += 1;
        Ok(shard.head)
    }

    fn apply(&self, batch: &[FencedWrite]) -> Result<()> {
        let mut state = self.state();
        for FencedWrite { shard, epoch, .. } in batch {
            if state.shard(*shard)?.head.epoch != *epoch {
                return Err(StoreError::Fenced(*shard));
            }
        }
        for FencedWrite { shard, write, .. } in batch {
            if let Some(shard) = state.shards.get_mut(shard) {
                shard.apply(write);
            }
        }
        Ok(())
    }

    fn load_deliveries(&self, shard: ShardKey, from: u64, limit: usize) -> Result<Vec<DeliveryRow>> {
        Ok(self.state().shard(shard)?.deliveries.range(from..).take(limit).map(|(_, row)| *row).collect())
    }

    fn load_deduplications(&self, shard: ShardKey, from: u64, limit: usize) -> Result<Vec<DeduplicationRow>> {
        let state = self.state();
        Ok(state.shard(shard)?.deduplications.range(from..).take(limit).map(|(_, row)| *row).collect())
    }

    fn load_page(
        &self,
        shard: ShardKey,
        range: Range<u64>,
        max_messages: usize,
        max_bytes: usize,
    ) -> Result<(Vec<MessageRow>, bool)> {
        let state = self.state();
        let mut rows: Vec<MessageRow> = Vec::new();
        let mut bytes = 0;
        for row in state.shard(shard)?.messages.range(range).map(|(_, row)| row) {
            bytes += row.record.len();
            if rows.len() >= max_messages || (bytes > max_bytes && !rows.is_empty()) {
                return Ok((rows, false));
            }
            rows.push(row.clone());
        }
        Ok((rows, true))
    }

    fn load_messages(&self, shard: ShardKey, sequences: &[u64], max_bytes: usize) -> Result<Vec<MessageRow>> {
        let state = self.state();
        let messages = &state.shard(shard)?.messages;
        let mut rows: Vec<MessageRow> = Vec::new();
        let mut bytes = 0;
        for row in sequences.iter().filter_map(|sequence| messages.get(sequence)) {
            bytes += row.record.len();
            if bytes > max_bytes && !rows.is_empty() {
                break;
            }
            rows.push(row.clone());
        }
        Ok(rows)
    }

    fn collect(&self, limit: usize, forget_before: Timestamp) -> Result<bool> {
        let mut state = self.state();
        let State { queues, deleted, shards, .. } = &mut *state;
        let mut left = limit;
        for (key, shard) in shards.iter_mut() {
            let gone =
                if queues.contains_key(&key.incarnation) { shard.head.purged_before } else { u64::MAX };
            while left > 0
                && let Some(entry) = shard.messages.first_entry()
                && *entry.key() < gone
            {
                shard.deliveries.remove(&entry.remove().sequence);
                left -= 1;
            }
            // Delivery rows outlive their messages nowhere but in a purge that is being collected.
            if left > 0 {
                shard.deliveries = shard.deliveries.split_off(&gone);
                shard.deduplications = shard.deduplications.split_off(&gone);
            }
        }
        if left == 0 {
            return Ok(true);
        }
        shards.retain(|key, _| queues.contains_key(&key.incarnation));
        deleted.retain(|_, queue| queue.deleted_at >= forget_before);
        Ok(false)
    }

    fn idle(&self) {}
}

#[cfg(test)]
mod tests {
    #[test]
    fn conforms() {
        crate::store::conformance::run(super::MemoryStore::new);
    }
}
