//! A batch of decisions as one call.

use std::collections::BTreeMap;

use lambfold_queue::store::stored::{BatchRows, attempt_bytes, int, key, uint};
use lambfold_queue::store::{FencedWrite, Result, ShardKey, StoreError};
use uuid::Uuid;

use crate::connection::{Param, Session};

use super::known::Known;

/// What `apply_batch` fails with when a shard has another epoch.
pub(super) const FENCED: &str = "LF001";

const APPLY: &str = "SELECT apply_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, \
    $18, $19, $20, $21, $22, $23, $24, $25)";

/// What has to be known of a shard to write to it.
pub(super) struct Owned {
    pub(super) slot: i64,
    pub(super) purged_before: u64,
}

/// Looks whether `epoch` is the shard's.
pub(super) async fn owned(session: &mut Session, shard: ShardKey, epoch: u64) -> Result<Owned> {
    let sql = "SELECT slot, epoch, purged_before FROM shards JOIN queues USING (incarnation) \
               WHERE incarnation = $1 AND shard = $2 AND deleted_at IS NULL";
    let params: [Param<'_>; 2] = [&int(shard.incarnation), &i32::from(shard.shard)];
    let row = session.row(sql, &params).await?.ok_or(StoreError::NoSuchShard(shard))?;
    if row.get::<_, i64>(1) != int(epoch) {
        return Err(StoreError::Fenced(shard));
    }
    Ok(Owned { slot: row.get(0), purged_before: uint(row.get(2)) })
}

/// How a shard's own row changes.
struct Head {
    incarnation: i64,
    epoch: i64,
    next_sequence: i64,
    clock: i64,
    /// To be added, if it is not purged.
    live: i64,
    purged_before: u64,
    purge: Option<(i64, i64)>,
}

impl Head {
    fn add(&mut self, FencedWrite { epoch, write, .. }: &FencedWrite) {
        if self.epoch != int(*epoch) {
            // One of them is stale, and no epoch is negative.
            self.epoch = -1;
        }
        let change = write.live_change(self.purged_before);
        if change.from_zero {
            self.live = 0;
        }
        self.live += int(change.added) - int(change.removed);
        if let Some((before, at)) = write.purge {
            self.purged_before = before;
            self.purge = Some((int(before), at.millis()));
        }
        self.next_sequence = self.next_sequence.max(int(write.next_sequence));
        self.clock = write.clock.millis();
    }
}

/// All that a batch changes.
pub(super) struct Batch<'a> {
    /// By slot.
    heads: BTreeMap<i64, Head>,
    rows: BatchRows<'a>,
    /// Ranges of deduplication rows to drop.
    forget: Vec<(i64, i64)>,
}

impl<'a> Batch<'a> {
    /// All shards of the batch are `known`.
    pub(super) fn of(batch: &'a [FencedWrite], known: &Known) -> Self {
        let mut heads: BTreeMap<i64, Head> = BTreeMap::new();
        let mut slots = Vec::with_capacity(batch.len());
        let mut forget = Vec::new();
        for write in batch {
            let shard = known.get(write.shard);
            slots.push(shard.slot);
            let head = heads.entry(shard.slot).or_insert_with(|| Head {
                incarnation: int(write.shard.incarnation),
                epoch: int(write.epoch),
                next_sequence: 0,
                clock: 0,
                live: 0,
                purged_before: shard.purged_before,
                purge: None,
            });
            head.add(write);
            if let Some(before) = write.write.deduplicated_before
                && before > shard.deduplicated_before
            {
                forget.push((key(shard.slot, shard.deduplicated_before), key(shard.slot, before)));
            }
        }
        Self { heads, rows: BatchRows::of(batch, &slots), forget }
    }

    /// All of it or nothing.
    pub(super) async fn apply(&self, session: &mut Session) -> Result<()> {
        let Self { heads, rows, forget } = self;
        let BatchRows { inserts, deliveries, deduplications, deletes } = rows;
        let slots: Vec<i64> = heads.keys().copied().collect();
        let head = |value: fn(&Head) -> i64| heads.values().map(value).collect::<Vec<i64>>();
        let purge = |value: fn(&Head) -> Option<i64>| heads.values().map(value).collect::<Vec<_>>();
        let delivery = |value: fn(&(i64, lambfold_queue::store::DeliveryRow)) -> i64| {
            deliveries.iter().map(value).collect::<Vec<i64>>()
        };
        let records: Vec<&[u8]> = inserts.iter().map(|(_, row)| &row.record[..]).collect();
        let params: [Param<'_>; 25] = [
            &slots,
            &head(|head| head.incarnation),
            &head(|head| head.epoch),
            &head(|head| head.next_sequence),
            &head(|head| head.clock),
            &head(|head| head.live),
            &purge(|head| head.purge.map(|(before, _)| before)),
            &purge(|head| head.purge.map(|(_, at)| at)),
            &inserts.iter().map(|(key, _)| *key).collect::<Vec<_>>(),
            &inserts.iter().map(|(_, row)| row.sent_at.millis()).collect::<Vec<_>>(),
            &records,
            &delivery(|(key, _)| *key),
            &delivery(|(_, row)| row.sent_at.millis()),
            &delivery(|(_, row)| row.visible_at.millis()),
            &delivery(|(_, row)| row.receive_count.into()),
            &delivery(|(_, row)| row.first_received_at.millis()),
            &delivery(|(_, row)| row.last_received_at.millis()),
            &deliveries.iter().map(|(_, row)| row.attempt.map(attempt_bytes)).collect::<Vec<_>>(),
            &deduplications.iter().map(|(key, _)| *key).collect::<Vec<_>>(),
            &deduplications.iter().map(|(_, row)| row.sent_at.millis()).collect::<Vec<_>>(),
            &deduplications.iter().map(|(_, row)| Uuid::from_u128(row.id)).collect::<Vec<_>>(),
            &deduplications.iter().map(|(_, row)| row.message_id).collect::<Vec<_>>(),
            &forget.iter().map(|(from, _)| *from).collect::<Vec<_>>(),
            &forget.iter().map(|(_, before)| *before).collect::<Vec<_>>(),
            deletes,
        ];
        session.execute(APPLY, &params).await.map(|_| ())
    }
}
