//! The rows that a batch comes to.

use std::collections::HashSet;

use crate::store::{DeduplicationRow, DeliveryRow, FencedWrite, NewMessageRow};

use super::key;

/// What a batch adds and removes, by key. A message that is received and deleted within the batch needs no delivery row,
/// and one that is sent and deleted within it no row at all.
#[derive(Debug)]
pub struct BatchRows<'a> {
    /// New messages.
    pub inserts: Vec<(i64, &'a NewMessageRow)>,
    /// New or replacing delivery rows: one for a message, in the order of the keys.
    pub deliveries: Vec<(i64, DeliveryRow)>,
    /// New messages of FIFO queues, by their deduplication ids.
    pub deduplications: Vec<(i64, &'a DeduplicationRow)>,
    /// Messages to remove with their delivery rows, in the order of the keys.
    pub deletes: Vec<i64>,
}

impl<'a> BatchRows<'a> {
    /// The rows of `batch`; `slots` are those of its shards.
    pub fn of(batch: &'a [FencedWrite], slots: &[i64]) -> Self {
        let writes = || batch.iter().map(|write| &write.write).zip(slots.iter().copied());
        let mut deletes: Vec<i64> = writes()
            .flat_map(|(write, slot)| write.deletes.iter().map(move |sequence| key(slot, *sequence)))
            .collect();
        let mut gone: HashSet<i64> = deletes.iter().copied().collect();
        let mut inserts: Vec<(i64, &NewMessageRow)> = writes()
            .flat_map(|(write, slot)| write.inserts.iter().map(move |row| (key(slot, row.sequence), row)))
            .collect();
        if !gone.is_empty() {
            let mut never: HashSet<i64> = HashSet::new();
            inserts.retain(|(key, _)| !(gone.contains(key) && never.insert(*key)));
            deletes.retain(|key| !never.contains(key));
        }
        // In the order of the tree.
        deletes.sort_unstable();
        let delayed = writes().flat_map(|(write, slot)| {
            write.inserts.iter().filter_map(move |row| Some((key(slot, row.sequence), row.delivery()?)))
        });
        let received = writes().flat_map(|(write, slot)| {
            write.deliveries.iter().map(move |row| (key(slot, row.sequence), *row))
        });
        let mut deliveries: Vec<(i64, DeliveryRow)> = delayed.chain(received).collect();
        // The last one for a message counts.
        deliveries.reverse();
        deliveries.retain(|(key, _)| gone.insert(*key));
        deliveries.sort_unstable_by_key(|(key, _)| *key);
        let deduplications = writes()
            .flat_map(|(write, slot)| {
                write.deduplications.iter().map(move |row| (key(slot, row.sequence), row))
            })
            .collect();
        Self { inserts, deliveries, deduplications, deletes }
    }
}
