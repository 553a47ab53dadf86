//! Two nodes on one database.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lambfold_queue::store::{NewMessageRow, ShardWrite};
use lambfold_queue::{MoveStatus, MoveTask, QueueKind, QueueProperties};
use uuid::Uuid;

use super::*;

fn nodes(schema: &TestSchema) -> [PostgresQueueStore; 2] {
    let nodes = [open(schema), open(schema)];
    nodes[0].join("a:1").unwrap();
    nodes[1].join("b:1").unwrap();
    nodes
}

fn row(name: &str) -> QueueRow {
    QueueRow {
        scope: Scope::default(),
        name: name.parse().unwrap(),
        incarnation: 0,
        kind: QueueKind::Standard,
        created_at: Timestamp::default(),
        modified_at: Timestamp::default(),
        properties: QueueProperties::default(),
    }
}

fn create(store: &PostgresQueueStore, name: &str) -> ShardKey {
    ShardKey { incarnation: store.create_queue(&row(name)).unwrap().incarnation, shard: 0 }
}

fn write(shard: ShardKey, epoch: u64, sequences: std::ops::Range<u64>) -> FencedWrite {
    let next_sequence = sequences.end;
    let insert = |sequence| NewMessageRow {
        sequence,
        sent_at: Timestamp::default(),
        delayed_until: None,
        record: b"record".as_slice().into(),
    };
    let inserts = sequences.map(insert).collect();
    FencedWrite { shard, epoch, write: ShardWrite { inserts, next_sequence, ..ShardWrite::default() } }
}

#[test]
fn a_shard_is_its_owners_until_that_one_leaves() {
    let Some(server) = server() else { return };
    let schema = server.schema();
    let [a, b] = nodes(&schema);
    let shard = create(&a, "jobs");
    let first = a.take_shard(shard).unwrap();
    let refused = b.take_shard(shard);
    assert!(
        matches!(&refused, Err(StoreError::OwnedElsewhere { shard: s, address }) if *s == shard && address == "a:1"),
        "{refused:?}"
    );
    let again = a.take_shard(shard).unwrap();
    assert!(again.epoch > first.epoch, "an owner may take its own shard");
    a.apply(&[write(shard, again.epoch, 1..4)]).unwrap();

    a.leave().unwrap();
    let taken = b.take_shard(shard).unwrap();
    assert!(taken.epoch > again.epoch);
    assert_eq!((taken.live, taken.next_sequence), (3, 4));
    let stale = a.apply(&[write(shard, again.epoch, 4..5)]);
    assert!(matches!(stale, Err(StoreError::Fenced(s)) if s == shard));
    assert!(matches!(a.take_shard(shard), Err(StoreError::LeaseLost)), "who left takes nothing");
    assert!(matches!(a.renew(), Err(StoreError::LeaseLost)));
    a.join("a:1").unwrap();
    assert!(matches!(a.take_shard(shard), Err(StoreError::OwnedElsewhere { .. })));
    b.apply(&[write(shard, taken.epoch, 4..5)]).unwrap();
}

#[test]
fn a_lease_that_ran_out_frees_the_shards() {
    let Some(server) = server() else { return };
    let schema = server.schema();
    let lease = Duration::from_millis(400);
    let a = PostgresQueueStore::open(&Options { lease, ..schema.options().clone() }).unwrap();
    let b = open(&schema);
    b.join("b:1").unwrap();
    a.join("a:1").unwrap();
    let shard = create(&a, "jobs");
    let epoch = a.take_shard(shard).unwrap().epoch;
    let began = Instant::now();
    while began.elapsed() < 3 * lease {
        a.renew().unwrap();
        assert!(matches!(b.take_shard(shard), Err(StoreError::OwnedElsewhere { .. })), "it is renewed");
    }
    let renewed = Instant::now();
    a.renew().unwrap();
    let taken = loop {
        match b.take_shard(shard) {
            Ok(head) => break head,
            Err(error) => assert!(matches!(error, StoreError::OwnedElsewhere { .. }), "{error}"),
        }
    };
    assert!(renewed.elapsed() >= lease, "not before it ran out");
    assert!(matches!(a.renew(), Err(StoreError::LeaseLost)), "what ran out is not renewed");
    assert!(matches!(a.take_shard(create(&b, "more")), Err(StoreError::LeaseLost)));
    assert!(matches!(a.apply(&[write(shard, epoch, 1..2)]), Err(StoreError::Fenced(_))));
    b.apply(&[write(shard, taken.epoch, 1..2)]).unwrap();
    a.join("a:2").unwrap();
    assert!(matches!(a.take_shard(shard), Err(StoreError::OwnedElsewhere { .. })));
}

#[test]
fn a_batch_with_one_stale_shard_changes_nothing() {
    let Some(server) = server() else { return };
    let schema = server.schema();
    let [a, b] = nodes(&schema);
    let (first, second) = (create(&a, "first"), create(&a, "second"));
    let epochs = [first, second].map(|shard| a.take_shard(shard).unwrap().epoch);
    schema.script("UPDATE nodes SET expires_at = clock_timestamp() WHERE address = 'a:1'");
    b.take_shard(second).unwrap();
    let batch = [write(first, epochs[0], 1..9), write(second, epochs[1], 1..9)];
    assert!(matches!(a.apply(&batch), Err(StoreError::Fenced(shard)) if shard == second));
    assert_eq!(a.load_page(first, 0..99, 99, 999).unwrap().0, []);
    a.apply(&batch[..1]).unwrap();
    b.change_directory(&DirectoryChange::Delete {
        incarnation: first.incarnation,
        deleted_at: Timestamp::default(),
    })
    .unwrap();
    let gone = a.apply(&[write(first, epochs[0], 9..10)]);
    assert!(matches!(gone, Err(StoreError::NoSuchShard(shard)) if shard == first));
    assert!(matches!(a.load_page(first, 0..99, 99, 999), Err(StoreError::NoSuchShard(_))));
}

#[test]
fn nodes_hear_of_each_others_queues() {
    let Some(server) = server() else { return };
    let schema = server.schema();
    let [a, b] = nodes(&schema);
    let start = b.load_directory().unwrap().revision;
    let (jobs, other) = (create(&a, "jobs"), create(&a, "other"));
    assert!(matches!(b.create_queue(&row("jobs")), Err(StoreError::NameTaken)));
    let news = b.news(start).unwrap();
    let found: Vec<_> = news.queues.iter().map(|row| row.incarnation).collect();
    assert_eq!((found, news.complete), (vec![jobs.incarnation, other.incarnation], false));
    assert_eq!(a.load_directory().unwrap().revision, news.revision);

    let mut properties = QueueProperties::default();
    properties.tags.insert("team".into(), "blue".into());
    let change = DirectoryChange::SetProperties {
        incarnation: other.incarnation,
        properties: properties.clone(),
        modified_at: Timestamp::from_millis(7),
    };
    a.change_directory(&change).unwrap();
    let changed = b.news(news.revision).unwrap();
    assert_eq!(changed.queues.len(), 1);
    assert_eq!(changed.queues[0].properties, properties);
    let delete =
        DirectoryChange::Delete { incarnation: jobs.incarnation, deleted_at: Timestamp::from_millis(9) };
    a.change_directory(&delete).unwrap();
    let gone = b.news(changed.revision).unwrap();
    assert_eq!((gone.queues, gone.deleted), (vec![], vec![jobs.incarnation]));
    let nothing = b.news(gone.revision).unwrap();
    assert_eq!(nothing, DirectoryNews { revision: gone.revision, ..DirectoryNews::default() });

    // Forgotten, but told for ten minutes more.
    let late = Timestamp::from_millis(1_000);
    while a.collect(100, late).unwrap() {}
    assert_eq!(a.load_directory().unwrap().deleted, []);
    assert_eq!(b.news(changed.revision).unwrap().deleted, [jobs.incarnation]);
    schema.script("UPDATE queues SET forgotten_at = forgotten_at - interval '9 minutes'");
    while a.collect(100, late).unwrap() {}
    assert_eq!(b.news(changed.revision).unwrap().deleted, [jobs.incarnation]);
    schema.script("UPDATE queues SET forgotten_at = forgotten_at - interval '2 minutes'");
    while a.collect(100, late).unwrap() {}
    let complete = b.news(start).unwrap();
    let found: Vec<_> = complete.queues.iter().map(|row| row.incarnation).collect();
    assert_eq!((found, complete.complete), (vec![other.incarnation], true));
    assert!(!b.news(gone.revision).unwrap().complete);
}

/// Who follows the news misses nothing of what is committed beside it.
#[test]
fn news_come_in_the_order_of_commits() {
    const EACH: usize = 40;
    let Some(server) = server() else { return };
    let schema = server.schema();
    let follower = open(&schema);
    let (mut heard, mut revision) = (BTreeSet::new(), 0);
    std::thread::scope(|scope| {
        for node in 0..2 {
            let store = open(&schema);
            scope.spawn(move || {
                for number in 0..EACH {
                    create(&store, &format!("queue-{node}-{number}"));
                }
            });
        }
        while heard.len() < 2 * EACH {
            let news = follower.news(revision).unwrap();
            assert!(news.revision >= revision);
            assert_eq!(
                usize::try_from(news.revision - revision).unwrap(),
                news.queues.len(),
                "none is missed"
            );
            revision = news.revision;
            heard.extend(news.queues.into_iter().map(|row| row.incarnation));
        }
    });
}

#[test]
fn several_nodes_may_collect_at_once() {
    let Some(server) = server() else { return };
    let schema = server.schema();
    let [a, b] = nodes(&schema);
    let (purged, deleted) = (create(&a, "purged"), create(&a, "deleted"));
    for shard in [purged, deleted] {
        let epoch = a.take_shard(shard).unwrap().epoch;
        a.apply(&[write(shard, epoch, 1..2_000)]).unwrap();
        let purge = ShardWrite { purge: Some((1_500, Timestamp::default())), ..ShardWrite::default() };
        a.apply(&[FencedWrite { shard, epoch, write: purge }]).unwrap();
    }
    let delete =
        DirectoryChange::Delete { incarnation: deleted.incarnation, deleted_at: Timestamp::default() };
    a.change_directory(&delete).unwrap();
    let late = Timestamp::from_millis(1_000);
    std::thread::scope(|scope| {
        for store in [&a, &b] {
            scope.spawn(move || while store.collect(100, late).unwrap() {});
        }
    });
    // One may have ended because the other was at it.
    while b.collect(100, late).unwrap() {}
    assert_eq!(b.load_page(purged, 0..9_999, 9_999, usize::MAX).unwrap().0.len(), 500);
    assert_eq!(b.load_directory().unwrap().deleted, []);
    assert_eq!(b.take_shard(create(&b, "new")).unwrap().live, 0);
}

#[test]
fn tasks_are_found_by_their_source_and_while_they_last() {
    let Some(server) = server() else { return };
    let schema = server.schema();
    let [a, b] = nodes(&schema);
    let task = |id: u128, source: &str| MoveTask {
        id: Uuid::from_u128(id),
        scope: Scope::default(),
        source: source.parse().unwrap(),
        destination: None,
        per_second: None,
        status: MoveStatus::Running,
        failure_reason: None,
        moved: 0,
        to_move: 9,
        started_at: Timestamp::default(),
    };
    for task in [task(1, "dead"), task(2, "dead"), task(3, "other")] {
        a.change_directory(&DirectoryChange::PutMoveTask(task)).unwrap();
    }
    let found = b.move_tasks(&Scope::default(), &"dead".parse().unwrap()).unwrap();
    assert_eq!(found, [task(1, "dead"), task(2, "dead")]);
    let ended = MoveTask { status: MoveStatus::Completed, ..task(1, "dead") };
    a.change_directory(&DirectoryChange::PutMoveTask(ended)).unwrap();
    let ending = MoveTask { status: MoveStatus::Cancelling, ..task(3, "other") };
    a.change_directory(&DirectoryChange::PutMoveTask(ending.clone())).unwrap();
    assert_eq!(b.active_move_tasks().unwrap(), [task(2, "dead"), ending]);
}
