//! Two stores, one history: whatever an engine may ask of them, in an order that a seed decides, they answer alike.

use std::collections::BTreeSet;
use std::fmt::Debug;

use bytes::Bytes;
use lambfold_types::{Scope, Timestamp};
use uuid::Uuid;

use crate::queue::{DeduplicationScope, QueueKind, QueueProperties};

use super::{
    DeduplicationRow, DeliveryRow, Directory, DirectoryChange, FencedWrite, NewMessageRow, QueueRow,
    QueueStore, ReceiveAttempt, Result, ShardKey, ShardWrite, StoreError,
};

/// Queues that exist at once.
const QUEUES: usize = 3;

/// A shard as its owner would know it.
struct Shard {
    key: ShardKey,
    epoch: u64,
    next_sequence: u64,
    purged_before: u64,
    messages: BTreeSet<u64>,
}

/// The same numbers for the same seed.
struct Dice(u64);

impl Dice {
    /// A number below `end`: splitmix64.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn time(&mut self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.below(1_000_000)).unwrap_or_default())
    }
}

/// Asks `left` and `right` the same `steps` times and compares what they say.
///
/// # Panics
///
/// At the first difference.
pub fn run(left: &dyn QueueStore, right: &dyn QueueStore, seed: u64, steps: usize) {
    let mut dice = Dice(seed);
    let mut shards: Vec<Shard> = Vec::new();
    let mut created = 0;
    let both = |what: &str, ask: &dyn Fn(&dyn QueueStore) -> String| {
        let answers = (ask(left), ask(right));
        assert_eq!(answers.0, answers.1, "seed {seed}: {what}");
        answers.0
    };
    for _ in 0..steps {
        match dice.below(12) {
            0 if shards.len() < QUEUES => {
                created += 1;
                let row = row(created, &mut dice);
                both("create", &|store| said(store.create_queue(&row)));
                let key = ShardKey { incarnation: created, shard: 0 };
                both("take", &|store| said(store.take_shard(key)));
                let messages = BTreeSet::new();
                shards.push(Shard { key, epoch: 1, next_sequence: 1, purged_before: 0, messages });
            }
            1 if dice.one_in(6) && !shards.is_empty() => {
                let gone = shards.swap_remove(pick(&mut dice, shards.len()));
                let change =
                    DirectoryChange::Delete { incarnation: gone.key.incarnation, deleted_at: dice.time() };
                both("delete", &|store| said(store.change_directory(&change)));
                both("take what is gone", &|store| said(store.take_shard(gone.key)));
            }
            2 if !shards.is_empty() => {
                let at = pick(&mut dice, shards.len());
                let shard = &mut shards[at];
                shard.epoch += 1;
                both("take", &|store| said(store.take_shard(shard.key)));
            }
            3 => {
                let forget_before = dice.time();
                let limit = 1 + pick(&mut dice, 20);
                for store in [left, right] {
                    while store.collect(limit, forget_before).expect("collect") {}
                }
                // Revisions are of stores that nodes share.
                both("directory", &|store| {
                    said(store.load_directory().map(|directory| Directory { revision: 0, ..directory }))
                });
            }
            4..=8 if !shards.is_empty() => {
                let stale = dice.one_in(8);
                let mut batch: Vec<FencedWrite> = Vec::new();
                let mut after = Vec::new();
                for (at, shard) in shards.iter().enumerate() {
                    if at > 0 && dice.one_in(2) {
                        continue;
                    }
                    let (write, messages) = write(shard, &mut dice);
                    let epoch = if stale && at == 0 { shard.epoch - 1 } else { shard.epoch };
                    after.push((at, write.next_sequence, write.purge, messages));
                    batch.push(FencedWrite { shard: shard.key, epoch, write });
                }
                let outcome = both("apply", &|store| said(store.apply(&batch)));
                if outcome == said(Ok(())) {
                    for (at, next_sequence, purge, messages) in after {
                        let shard = &mut shards[at];
                        shard.next_sequence = next_sequence;
                        shard.purged_before = purge.map_or(shard.purged_before, |(before, _)| before);
                        shard.messages = messages;
                    }
                }
            }
            _ if !shards.is_empty() => {
                let shard = &shards[pick(&mut dice, shards.len())];
                let key = shard.key;
                let from = shard.purged_before.max(dice.below(shard.next_sequence));
                let range = from..from + dice.below(shard.next_sequence + 2);
                let (max, bytes) = (1 + pick(&mut dice, 20), pick(&mut dice, 400));
                both("page", &|store| said(store.load_page(key, range.clone(), max, bytes)));
                both("deliveries", &|store| said(store.load_deliveries(key, from, max)));
                both("deduplications", &|store| said(store.load_deduplications(key, from, max)));
                let wanted: Vec<u64> =
                    (0..5).map(|_| shard.purged_before.max(dice.below(shard.next_sequence + 1))).collect();
                both("messages", &|store| said(store.load_messages(key, &wanted, bytes)));
                let all = both("all", &|store| {
                    let all = shard.purged_before..shard.next_sequence;
                    said(
                        store
                            .load_page(key, all, usize::MAX, usize::MAX)
                            .map(|(rows, _)| rows.into_iter().map(|row| row.sequence).collect::<Vec<_>>()),
                    )
                });
                assert_eq!(all, said(Ok(shard.messages.iter().copied().collect::<Vec<_>>())), "seed {seed}");
            }
            _ => {}
        }
    }
}

/// A write that an owner could decide upon, and the messages that there are after it.
fn write(shard: &Shard, dice: &mut Dice) -> (ShardWrite, BTreeSet<u64>) {
    let mut messages = shard.messages.clone();
    let mut write = ShardWrite { clock: dice.time(), ..ShardWrite::default() };
    let mut next = shard.next_sequence;
    for _ in 0..dice.below(8) {
        let sent_at = dice.time();
        let delayed_until = dice.one_in(3).then(|| dice.time());
        let record = Bytes::from(vec![b'r'; 1 + pick(dice, 60)]);
        write.inserts.push(NewMessageRow { sequence: next, sent_at, delayed_until, record });
        if dice.one_in(2) {
            let (id, message_id) = (u128::from(dice.below(u64::MAX)), Uuid::from_u128(next.into()));
            write.deduplications.push(DeduplicationRow { sequence: next, sent_at, id, message_id });
        }
        messages.insert(next);
        next += 1;
    }
    for sequence in messages.iter().copied().collect::<Vec<_>>() {
        if dice.one_in(4) {
            write.deliveries.push(DeliveryRow {
                sequence,
                sent_at: dice.time(),
                visible_at: dice.time(),
                receive_count: u32::try_from(dice.below(5)).unwrap_or_default(),
                first_received_at: dice.time(),
                last_received_at: dice.time(),
                attempt: dice.one_in(2).then(|| ReceiveAttempt {
                    id: dice.below(9).into(),
                    messages: 3,
                    epoch: 1,
                }),
            });
        }
        if dice.one_in(5) {
            write.deletes.push(sequence);
            messages.remove(&sequence);
        }
    }
    if dice.one_in(10) {
        // As an owner does it: what a purged message was about to become no longer matters.
        write.purge = Some((next, dice.time()));
        write.deliveries.clear();
        write.deletes.clear();
        messages.clear();
    }
    if dice.one_in(4) {
        write.deduplicated_before = Some(dice.below(next));
    }
    write.next_sequence = next;
    (write, messages)
}

fn row(incarnation: u64, dice: &mut Dice) -> QueueRow {
    let kind = match dice.below(3) {
        0 => QueueKind::Standard,
        1 => QueueKind::Fifo(DeduplicationScope::Queue),
        _ => QueueKind::Fifo(DeduplicationScope::MessageGroup),
    };
    let at = dice.time();
    QueueRow {
        scope: Scope::default(),
        name: format!("queue-{incarnation}").parse().expect("a queue name"),
        incarnation,
        kind,
        created_at: at,
        modified_at: at,
        properties: QueueProperties::default(),
    }
}

fn pick(dice: &mut Dice, end: usize) -> usize {
    usize::try_from(dice.below(end as u64)).unwrap_or_default()
}

/// An answer as text; of an error, what the engine goes by.
fn said<T: Debug>(answer: Result<T>) -> String {
    match answer {
        Ok(value) => format!("{value:?}"),
        Err(StoreError::Fenced(shard)) => format!("fenced {shard}"),
        Err(StoreError::NoSuchShard(shard)) => format!("no shard {shard}"),
        Err(error) => format!("another error: {error}"),
    }
}
