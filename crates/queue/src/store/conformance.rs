//! What every store must do, as functions over a fresh one. A dialect's test calls [`run`]; [`reopen`] adds what only
//! a store that outlives its process can show.

use bytes::Bytes;
use lambfold_types::{AccountId, Region, Scope, Timestamp};
use uuid::Uuid;

use crate::mac::MacKey;
use crate::move_task::{MoveStatus, MoveTask};
use crate::queue::{QueueKind, QueueProperties};

use super::{
    DeduplicationRow, DeliveryRow, DirectoryChange, FencedWrite, NewMessageRow, QueueRow, QueueStore,
    ReceiveAttempt, ShardKey, ShardWrite, StoreError,
};

/// Runs all cases, each on a store of its own.
pub fn run<S: QueueStore>(mut fresh: impl FnMut() -> S) {
    directory_keeps_queues_apart(&fresh());
    incarnations_are_not_reused(&fresh());
    messages_come_back_by_range(&fresh());
    deliveries_replace_each_other(&fresh());
    a_stale_owner_is_fenced(&fresh());
    a_batch_is_all_or_nothing(&fresh());
    a_purge_hides_and_is_collected(&fresh());
    a_deleted_queue_is_gone(&fresh());
    large_batches_are_whole(&fresh());
    messages_move_between_shards_at_once(&fresh());
    deduplications_outlive_messages(&fresh());
    move_tasks_are_kept_until_they_are_forgotten(&fresh());
}

/// The same rows are there after `reopen` closed and opened the store.
pub fn reopen<S: QueueStore>(store: S, reopen: impl FnOnce(S) -> S) {
    let (mine, other) = (create(&store, "mine"), create(&store, "other"));
    let head = store.take_shard(mine).expect("take");
    let mut write = write_of(1..=5);
    write.inserts[1].delayed_until = Some(at(9_000));
    write.deliveries.push(delivery(3, 31_000, 1));
    write.deletes.push(4);
    apply(&store, mine, head.epoch, write).expect("apply");
    store
        .change_directory(&DirectoryChange::Delete { incarnation: other.incarnation, deleted_at: at(5) })
        .expect("delete");
    store.change_directory(&DirectoryChange::AddMacKey(MacKey { id: 7, secret: [3; 32] })).expect("key");
    let before = store.load_directory().expect("directory");

    let store = reopen(store);
    assert_eq!(store.load_directory().expect("directory"), before);
    let again = store.take_shard(mine).expect("take");
    assert!(again.epoch > head.epoch, "the epoch rises at every start");
    assert_eq!((again.live, again.next_sequence, again.clock), (4, 6, at(2_000)));
    assert_eq!(sequences(&store, mine), [1, 2, 3, 5]);
    let deliveries = store.load_deliveries(mine, 0, 100).expect("deliveries");
    let delayed = DeliveryRow { visible_at: at(9_000), receive_count: 0, ..delivery(2, 0, 0) };
    let never = Timestamp::default();
    let delayed = DeliveryRow { first_received_at: never, last_received_at: never, attempt: None, ..delayed };
    assert_eq!(deliveries, [delayed, delivery(3, 31_000, 1)]);
    assert!(matches!(store.take_shard(other), Err(StoreError::NoSuchShard(_))));
}

fn directory_keeps_queues_apart(store: &impl QueueStore) {
    assert!(store.load_directory().expect("directory").queues.is_empty());
    let mut rows = Vec::new();
    for (account, region) in
        [("000000000001", "us-east-1"), ("000000000001", "eu-west-1"), ("000000000002", "us-east-1")]
    {
        let scope = Scope { account: parse::<AccountId>(account), region: parse::<Region>(region) };
        let row = QueueRow { scope, ..row("jobs") };
        let created = store.create_queue(&row).expect("create");
        assert_eq!(created, QueueRow { incarnation: created.incarnation, ..row.clone() });
        assert!(matches!(store.create_queue(&row), Err(StoreError::NameTaken)));
        rows.push(created);
    }
    let mut properties = QueueProperties::default();
    properties.settings.delay = std::time::Duration::from_secs(7);
    properties.attributes.insert("Policy".into(), "{\"a\": \"ü\"}".into());
    properties.tags.insert("team".into(), String::new());
    rows[1].properties = properties.clone();
    rows[1].modified_at = at(77);
    let change =
        DirectoryChange::SetProperties { incarnation: rows[1].incarnation, properties, modified_at: at(77) };
    store.change_directory(&change).expect("change");
    let mut found = store.load_directory().expect("directory").queues;
    found.sort_by_key(|row| row.incarnation);
    assert_eq!(found, rows);
}

fn incarnations_are_not_reused(store: &impl QueueStore) {
    let old = create(store, "again");
    let incarnation = old.incarnation;
    store.change_directory(&DirectoryChange::Delete { incarnation, deleted_at: at(50) }).expect("delete");
    let missing = store.change_directory(&DirectoryChange::Delete { incarnation, deleted_at: at(51) });
    assert!(matches!(missing, Err(StoreError::NoSuchShard(key)) if key == old));
    let directory = store.load_directory().expect("directory");
    assert_eq!(directory.deleted.len(), 1);
    assert_eq!(directory.deleted[0].deleted_at, at(50));
    while store.collect(100, at(0)).expect("collect") {}
    assert_eq!(store.load_directory().expect("directory").deleted.len(), 1, "not to be forgotten yet");
    while store.collect(100, at(1_000)).expect("collect") {}
    assert_eq!(store.load_directory().expect("directory").deleted.len(), 0);
    assert!(create(store, "again").incarnation > old.incarnation);
}

fn messages_come_back_by_range(store: &impl QueueStore) {
    let (mine, other) = (create(store, "mine"), create(store, "other"));
    let head = store.take_shard(mine).expect("take");
    assert_eq!((head.live, head.next_sequence, head.purged_before, head.purged_at), (0, 1, 0, None));
    apply(store, mine, head.epoch, write_of(1..=20)).expect("apply");
    let epoch = store.take_shard(other).expect("take").epoch;
    apply(store, other, epoch, write_of(1..=3)).expect("apply");

    let (rows, exhausted) = store.load_page(mine, 3..15, 5, usize::MAX).expect("page");
    assert_eq!(rows.iter().map(|row| row.sequence).collect::<Vec<_>>(), [3, 4, 5, 6, 7]);
    assert!(!exhausted);
    assert_eq!(rows[0].record, record(3));
    assert_eq!(rows[0].sent_at, at(1_000));
    let (rows, exhausted) = store.load_page(mine, 18..99, 5, usize::MAX).expect("page");
    assert_eq!((rows.len(), exhausted), (3, true));
    let (rows, exhausted) = store.load_page(mine, 1..99, 100, record(1).len() * 2).expect("page");
    assert_eq!((rows.len(), exhausted), (2, false), "as many as fit");
    let (rows, _) = store.load_page(mine, 1..99, 100, 1).expect("page");
    assert_eq!(rows.len(), 1, "but at least one");
    let rows = store.load_messages(mine, &[20, 4, 500], usize::MAX).expect("messages");
    assert_eq!(rows.iter().map(|row| row.sequence).collect::<Vec<_>>(), [20, 4], "in the order asked for");
    assert_eq!(store.load_messages(mine, &[20, 4], 1).expect("messages").len(), 1);
    assert_eq!(sequences(store, other), [1, 2, 3]);
}

fn deliveries_replace_each_other(store: &impl QueueStore) {
    let mine = create(store, "mine");
    let epoch = store.take_shard(mine).expect("take").epoch;
    let mut write = write_of(1..=3);
    write.deliveries = vec![delivery(2, 31_000, 1), delivery(3, 31_000, 1), delivery(2, 61_000, 2)];
    apply(store, mine, epoch, write).expect("apply");
    assert_eq!(
        store.load_deliveries(mine, 0, 10).expect("load"),
        [delivery(2, 61_000, 2), delivery(3, 31_000, 1)]
    );
    assert_eq!(store.load_deliveries(mine, 0, 1).expect("load"), [delivery(2, 61_000, 2)]);
    assert_eq!(store.load_deliveries(mine, 3, 10).expect("load"), [delivery(3, 31_000, 1)]);

    let write = ShardWrite {
        deliveries: vec![delivery(1, 99_000, 5), delivery(3, 99_000, 2)],
        deletes: vec![3, 1],
        next_sequence: 4,
        clock: at(3_000),
        ..ShardWrite::default()
    };
    apply(store, mine, epoch, write).expect("apply");
    assert_eq!(store.load_deliveries(mine, 0, 10).expect("load"), [delivery(2, 61_000, 2)]);
    assert_eq!(sequences(store, mine), [2]);
    let head = store.take_shard(mine).expect("take");
    assert_eq!((head.live, head.next_sequence, head.clock), (1, 4, at(3_000)));
}

fn deduplications_outlive_messages(store: &impl QueueStore) {
    let (mine, other) = (create(store, "mine"), create(store, "other"));
    let epochs = [mine, other].map(|shard| store.take_shard(shard).expect("take").epoch);
    let row = |sequence: u64| DeduplicationRow {
        sequence,
        sent_at: at(1_000),
        id: u128::MAX - u128::from(sequence),
        message_id: Uuid::from_u128(sequence.into()),
    };
    let load = |shard, from, limit| store.load_deduplications(shard, from, limit).expect("load");
    for (shard, epoch) in [mine, other].into_iter().zip(epochs) {
        let write = ShardWrite { deduplications: (1..=5).map(row).collect(), ..write_of(1..=5) };
        apply(store, shard, epoch, write).expect("apply");
    }
    apply(store, mine, epochs[0], ShardWrite { deletes: vec![1, 2, 3], ..write_of(6..=6) }).expect("apply");
    assert_eq!(load(mine, 0, 100), (1..=5).map(row).collect::<Vec<_>>());
    assert_eq!(load(mine, 2, 2), [row(2), row(3)]);
    let forget = ShardWrite { deduplicated_before: Some(4), ..write_of(7..=7) };
    apply(store, mine, epochs[0], forget).expect("apply");
    assert_eq!(load(mine, 0, 100), [row(4), row(5)]);
    let purge = ShardWrite { purge: Some((8, at(2_000))), next_sequence: 8, ..ShardWrite::default() };
    apply(store, mine, epochs[0], purge).expect("apply");
    while store.collect(100, at(0)).expect("collect") {}
    assert_eq!(load(mine, 0, 100), []);
    assert_eq!(load(other, 0, 100).len(), 5);
}

fn move_tasks_are_kept_until_they_are_forgotten(store: &impl QueueStore) {
    let task = |id: u128| MoveTask {
        id: Uuid::from_u128(id),
        scope: Scope::default(),
        source: parse("dead"),
        destination: Some(parse("jobs")),
        per_second: Some(7),
        status: MoveStatus::Running,
        failure_reason: None,
        moved: 0,
        to_move: 9,
        started_at: at(5),
    };
    let change = |change| store.change_directory(&change).expect("change");
    let stored = || store.load_directory().expect("directory").move_tasks;
    change(DirectoryChange::PutMoveTask(task(1)));
    change(DirectoryChange::PutMoveTask(MoveTask { destination: None, per_second: None, ..task(2) }));
    let failed = MoveTask {
        status: MoveStatus::Failed,
        failure_reason: Some("no such queue".into()),
        moved: 3,
        ..task(1)
    };
    change(DirectoryChange::PutMoveTask(failed.clone()));
    assert_eq!(stored(), [failed.clone(), MoveTask { destination: None, per_second: None, ..task(2) }]);
    // From a node that was paused while another went on.
    change(DirectoryChange::PutMoveTask(MoveTask { moved: 4, ..task(1) }));
    let cancelling = MoveTask { status: MoveStatus::Cancelling, moved: 5, ..task(2) };
    change(DirectoryChange::PutMoveTask(cancelling.clone()));
    change(DirectoryChange::PutMoveTask(MoveTask { moved: 2, ..task(2) }));
    assert_eq!(stored(), [failed, cancelling]);
    change(DirectoryChange::ForgetMoveTask(Uuid::from_u128(1)));
    assert_eq!(stored().iter().map(|task| task.id.as_u128()).collect::<Vec<_>>(), [2]);
}

fn a_stale_owner_is_fenced(store: &impl QueueStore) {
    let mine = create(store, "mine");
    let old = store.take_shard(mine).expect("take").epoch;
    let new = store.take_shard(mine).expect("take").epoch;
    assert!(new > old);
    let fenced = apply(store, mine, old, write_of(1..=1));
    assert!(matches!(fenced, Err(StoreError::Fenced(key)) if key == mine));
    assert_eq!(sequences(store, mine), [0u64; 0]);
    apply(store, mine, new, write_of(1..=1)).expect("the owner may write");
    let unknown = ShardKey { incarnation: 99, shard: 0 };
    assert!(matches!(store.take_shard(unknown), Err(StoreError::NoSuchShard(key)) if key == unknown));
    assert!(matches!(apply(store, unknown, 1, write_of(1..=1)), Err(StoreError::NoSuchShard(_))));
}

fn a_batch_is_all_or_nothing(store: &impl QueueStore) {
    let (first, second) = (create(store, "first"), create(store, "second"));
    let epochs = [first, second].map(|key| store.take_shard(key).expect("take").epoch);
    let write = |shard, epoch| FencedWrite { shard, epoch, write: write_of(1..=3) };
    let fenced = store.apply(&[write(first, epochs[0]), write(second, epochs[1] + 1)]);
    assert!(matches!(fenced, Err(StoreError::Fenced(key)) if key == second));
    assert_eq!(sequences(store, first), [0u64; 0]);
    assert_eq!(store.take_shard(first).expect("take").live, 0);
    let epoch = store.take_shard(first).expect("take").epoch;
    store.apply(&[write(first, epoch), write(second, epochs[1])]).expect("apply");
    let mut more = write_of(4..=4);
    more.deletes = vec![1, 2];
    let more = FencedWrite { shard: first, epoch, write: more };
    let mut most = more.clone();
    most.write = write_of(5..=6);
    store.apply(&[more, most]).expect("two writes of one shard in a batch");
    assert_eq!(sequences(store, first), [3, 4, 5, 6]);
    assert_eq!(sequences(store, second), [1, 2, 3]);
    assert_eq!(store.take_shard(first).expect("take").live, 4);
}

fn a_purge_hides_and_is_collected(store: &impl QueueStore) {
    let (mine, other) = (create(store, "mine"), create(store, "other"));
    let epoch = store.take_shard(mine).expect("take").epoch;
    let theirs = store.take_shard(other).expect("take").epoch;
    apply(store, other, theirs, write_of(1..=9)).expect("apply");
    let mut write = write_of(1..=9);
    write.deliveries.push(delivery(2, 31_000, 1));
    apply(store, mine, epoch, write).expect("apply");
    let mut write = write_of(10..=11);
    write.deletes = vec![4, 11];
    write.purge = Some((10, at(4_000)));
    apply(store, mine, epoch, write).expect("apply");
    let head = store.take_shard(mine).expect("take");
    assert_eq!((head.live, head.purged_before, head.purged_at), (1, 10, Some(at(4_000))));
    let mut rounds = 0;
    while store.collect(3, at(0)).expect("collect") {
        rounds += 1;
        assert!(rounds < 20, "collecting ends");
    }
    assert_eq!(sequences(store, mine), [10]);
    assert!(store.load_deliveries(mine, 0, 10).expect("load").is_empty());
    assert_eq!(sequences(store, other).len(), 9);
}

fn messages_move_between_shards_at_once(store: &impl QueueStore) {
    let (from, to) = (create(store, "from"), create(store, "to"));
    let (from_epoch, to_epoch) =
        (store.take_shard(from).expect("take").epoch, store.take_shard(to).expect("take").epoch);
    apply(store, from, from_epoch, write_of(1..=3)).expect("apply");
    let departure = |epoch, sequence| {
        // Decided when the next message was the second.
        let write =
            ShardWrite { deletes: vec![sequence], next_sequence: 2, clock: at(1), ..ShardWrite::default() };
        FencedWrite { shard: from, epoch, write }
    };
    let arrival = |sequence| FencedWrite { shard: to, epoch: to_epoch, write: write_of(sequence..=sequence) };
    let stale = store.apply(&[arrival(1), departure(from_epoch - 1, 1)]);
    assert!(matches!(stale, Err(StoreError::Fenced(shard)) if shard == from));
    assert_eq!((sequences(store, from), sequences(store, to)), (vec![1, 2, 3], vec![]), "nothing of it");
    store.apply(&[arrival(1), departure(from_epoch, 1)]).expect("apply");
    assert_eq!((sequences(store, from), sequences(store, to)), (vec![2, 3], vec![1]));
    // A purge comes first, then a new message, then a departure that was decided before both.
    let purge =
        ShardWrite { purge: Some((4, at(5))), next_sequence: 4, clock: at(5), ..ShardWrite::default() };
    apply(store, from, from_epoch, purge).expect("apply");
    apply(store, from, from_epoch, write_of(4..=4)).expect("apply");
    store.apply(&[arrival(2), departure(from_epoch, 2)]).expect("apply");
    let head = store.take_shard(from).expect("take");
    assert_eq!((head.live, head.next_sequence), (1, 5), "neither the count nor the sequences go back");
}

fn a_deleted_queue_is_gone(store: &impl QueueStore) {
    let (mine, other) = (create(store, "mine"), create(store, "other"));
    let epoch = store.take_shard(mine).expect("take").epoch;
    let theirs = store.take_shard(other).expect("take").epoch;
    let mut write = write_of(1..=9);
    write.deliveries.push(delivery(2, 31_000, 1));
    apply(store, mine, epoch, write.clone()).expect("apply");
    apply(store, other, theirs, write).expect("apply");
    store
        .change_directory(&DirectoryChange::Delete { incarnation: mine.incarnation, deleted_at: at(50) })
        .expect("delete");
    assert!(matches!(apply(store, mine, epoch, write_of(10..=10)), Err(StoreError::NoSuchShard(_))));
    assert!(matches!(store.take_shard(mine), Err(StoreError::NoSuchShard(_))));
    assert!(matches!(store.load_page(mine, 0..99, 9, 99), Err(StoreError::NoSuchShard(_))));
    let newer = create(store, "mine");
    let epoch = store.take_shard(newer).expect("take").epoch;
    apply(store, newer, epoch, write_of(1..=2)).expect("apply");
    let mut rounds = 0;
    while store.collect(4, at(1_000)).expect("collect") {
        rounds += 1;
        assert!(rounds < 20, "collecting ends");
    }
    assert_eq!(sequences(store, newer), [1, 2]);
    assert_eq!(sequences(store, other).len(), 9);
    assert_eq!(store.load_deliveries(other, 0, 10).expect("load").len(), 1);
    // Whatever the store keeps its rows under may be used again by now, but shows nothing of the old.
    let fourth = create(store, "fourth");
    assert_eq!(store.take_shard(fourth).expect("take").next_sequence, 1);
    assert_eq!(sequences(store, fourth), [0u64; 0]);
}

fn large_batches_are_whole(store: &impl QueueStore) {
    let mine = create(store, "mine");
    let epoch = store.take_shard(mine).expect("take").epoch;
    let mut write = write_of(1..=3_333);
    write.deliveries = (1..=1_500).map(|sequence| delivery(sequence, 31_000, 1)).collect();
    write.deletes = (700..=1_200).collect();
    apply(store, mine, epoch, write).expect("apply");
    let expected: Vec<u64> = (1..700).chain(1_201..=3_333).collect();
    assert_eq!(sequences(store, mine), expected);
    assert_eq!(store.load_deliveries(mine, 0, 9_999).expect("load").len(), 999);
    assert_eq!(store.take_shard(mine).expect("take").live, expected.len() as u64);
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn parse<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text} is legal"))
}

fn row(name: &str) -> QueueRow {
    QueueRow {
        scope: Scope::default(),
        name: parse(name),
        incarnation: 0,
        kind: QueueKind::Standard,
        created_at: at(10),
        modified_at: at(20),
        properties: QueueProperties::default(),
    }
}

/// A standard queue of that name, with a shard that nobody owns yet.
pub fn create(store: &impl QueueStore, name: &str) -> ShardKey {
    let incarnation = store.create_queue(&row(name)).expect("create").incarnation;
    ShardKey { incarnation, shard: 0 }
}

fn record(sequence: u64) -> Bytes {
    format!("record {sequence:05}").into()
}

fn write_of(sequences: std::ops::RangeInclusive<u64>) -> ShardWrite {
    ShardWrite {
        next_sequence: sequences.end() + 1,
        clock: at(2_000),
        inserts: sequences
            .map(|sequence| NewMessageRow {
                sequence,
                sent_at: at(1_000),
                delayed_until: None,
                record: record(sequence),
            })
            .collect(),
        ..ShardWrite::default()
    }
}

fn delivery(sequence: u64, visible_at: i64, receive_count: u32) -> DeliveryRow {
    DeliveryRow {
        sequence,
        sent_at: at(1_000),
        visible_at: at(visible_at),
        receive_count,
        first_received_at: at(1_100),
        last_received_at: at(1_200),
        attempt: Some(ReceiveAttempt { id: u128::MAX - u128::from(sequence), messages: 3, epoch: 1 << 40 }),
    }
}

fn apply(store: &impl QueueStore, shard: ShardKey, epoch: u64, write: ShardWrite) -> super::Result<()> {
    store.apply(&[FencedWrite { shard, epoch, write }])
}

fn sequences(store: &impl QueueStore, shard: ShardKey) -> Vec<u64> {
    let (rows, exhausted) = store.load_page(shard, 0..u64::MAX >> 21, usize::MAX, usize::MAX).expect("page");
    assert!(exhausted);
    rows.into_iter().map(|row| row.sequence).collect()
}
