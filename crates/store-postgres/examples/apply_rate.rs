//! How fast batches are applied: whole lives of messages (sent, received, deleted) over one shard or several.
//!
//! `scripts/postgres run cargo run --release -p lambfold-store-postgres --features testing --example apply_rate`

#![expect(clippy::print_stdout, reason = "it reports")]

use std::time::Instant;

use lambfold_queue::store::{DeliveryRow, FencedWrite, NewMessageRow, QueueRow, ShardKey, ShardWrite};
use lambfold_queue::{QueueKind, QueueProperties, QueueStore};
use lambfold_store_postgres::{PostgresQueueStore, testing};
use lambfold_types::{Scope, Timestamp};

const SECONDS: f64 = 4.0;

fn main() {
    let server = testing::server().expect("a server");
    for (shards, rows, received) in
        [(1, 100, false), (1, 100, true), (10, 10, true), (100, 1, true), (1, 400, true), (1, 1, true)]
    {
        let schema = server.schema();
        let store = PostgresQueueStore::open(schema.options()).expect("a store");
        let mut owners: Vec<(ShardKey, u64, u64)> = (0..shards).map(|number| own(&store, number)).collect();
        let (mut batches, mut slowest) = (0u32, 0.0f64);
        let began = Instant::now();
        while began.elapsed().as_secs_f64() < SECONDS {
            for step in 0..if received { 3 } else { 2 } {
                let batch =
                    owners.iter_mut().map(|owner| write(owner, rows, step, received)).collect::<Vec<_>>();
                let start = Instant::now();
                store.apply(&batch).expect("applied");
                slowest = slowest.max(start.elapsed().as_secs_f64());
                batches += 1;
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        let steps = if received { 3.0 } else { 2.0 };
        let lives =
            f64::from(batches) / steps * f64::from(shards) * f64::from(u32::try_from(rows).expect("few"));
        println!(
            "{shards:3} shards x {rows:3} rows, {}: {:7.0} lives/s, {:5.0} batches/s, slowest {:.1} ms",
            if received { "send, receive, delete" } else { "send, delete" },
            lives / seconds,
            f64::from(batches) / seconds,
            slowest * 1e3,
        );
    }
}

fn own(store: &PostgresQueueStore, number: u32) -> (ShardKey, u64, u64) {
    let row = QueueRow {
        scope: Scope::default(),
        name: format!("queue-{number}").parse().expect("a name"),
        incarnation: 0,
        kind: QueueKind::Standard,
        created_at: Timestamp::default(),
        modified_at: Timestamp::default(),
        properties: QueueProperties::default(),
    };
    let shard = ShardKey { incarnation: store.create_queue(&row).expect("created").incarnation, shard: 0 };
    (shard, store.take_shard(shard).expect("taken").epoch, 1)
}

fn write(
    (shard, epoch, next): &mut (ShardKey, u64, u64),
    rows: u64,
    step: usize,
    received: bool,
) -> FencedWrite {
    let mut write = ShardWrite { clock: Timestamp::from_millis(1), ..ShardWrite::default() };
    let sequences = *next..*next + rows;
    match step {
        0 => {
            let insert = |sequence| NewMessageRow {
                sequence,
                sent_at: Timestamp::from_millis(1_700_000_000_000),
                delayed_until: None,
                record: vec![b'x'; 120].into(),
            };
            write.inserts = sequences.map(insert).collect();
        }
        1 if received => {
            let delivery = |sequence| DeliveryRow {
                sequence,
                sent_at: Timestamp::from_millis(1_700_000_000_000),
                visible_at: Timestamp::from_millis(1_700_000_030_000),
                receive_count: 1,
                first_received_at: Timestamp::from_millis(1_700_000_000_000),
                last_received_at: Timestamp::from_millis(1_700_000_000_000),
                attempt: None,
            };
            write.deliveries = sequences.map(delivery).collect();
        }
        _ => {
            write.deletes = sequences.collect();
            *next += rows;
        }
    }
    write.next_sequence = *next + if step == 0 { rows } else { 0 };
    FencedWrite { shard: *shard, epoch: *epoch, write }
}
