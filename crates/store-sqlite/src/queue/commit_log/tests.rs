//! What becomes of the log where something goes wrong: a crash at any byte, a record that cannot be written, a database
//! that cannot be. (What a store has to answer is in the conformance and differential suites.)

use std::fs;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use lambfold_queue::QueueStore;
use lambfold_queue::store::{
    DeduplicationRow, DeliveryRow, Directory, DirectoryChange, MemoryStore, MessageRow, NewMessageRow,
    QueueRow, ReceiveAttempt, ShardHead, conformance, differential,
};
use lambfold_types::Timestamp;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::queue::{Options, SqliteQueueStore};

const BLOCK: usize = 4096;

fn open(directory: &TempDir) -> Result<SqliteQueueStore> {
    SqliteQueueStore::open(&directory.path().join("queue.db"), &Options::default())
}

/// A queue with an owner.
fn queue(store: &SqliteQueueStore) -> (ShardKey, u64) {
    let shard = conformance::create(store, "jobs");
    (shard, store.take_shard(shard).unwrap().epoch)
}

fn message(sequence: u64) -> NewMessageRow {
    let sent_at = Timestamp::from_millis(1_000);
    NewMessageRow {
        sequence,
        sent_at,
        delayed_until: None,
        record: Bytes::from(format!("message {sequence}")),
    }
}

fn send(store: &SqliteQueueStore, (shard, epoch): (ShardKey, u64), sequence: u64) -> Result<()> {
    let write = ShardWrite {
        inserts: vec![message(sequence)],
        next_sequence: sequence + 1,
        clock: Timestamp::from_millis(1_000),
        ..ShardWrite::default()
    };
    store.apply(&[FencedWrite { shard, epoch, write }])
}

fn sequences(store: &SqliteQueueStore, shard: ShardKey) -> Vec<u64> {
    let (page, _) = store.load_page(shard, 0..u64::MAX, 10_000, usize::MAX).unwrap();
    page.iter().map(|row| row.sequence).collect()
}

/// The files as a kill at this moment would leave them.
fn killed(store: &SqliteQueueStore, directory: &TempDir) -> TempDir {
    let left = tempfile::tempdir().unwrap();
    // Nothing is written while they are copied. (A checkpoint may be made, which the write-ahead log outlasts.)
    let shared = &store.log.as_ref().unwrap().shared;
    let _still = shared.done(shared.state());
    for name in ["queue.db", "queue.db-wal", "queue.db-commits"] {
        fs::copy(directory.path().join(name), left.path().join(name)).unwrap();
    }
    left
}

/// Changes the log: `at` counts from the start of the first segment.
fn spoil(directory: &TempDir, change: impl FnOnce(&mut [u8])) {
    let path = directory.path().join("queue.db-commits");
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes[BLOCK..]);
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_was_committed_is_there_after_a_kill_whether_the_database_has_it_or_not() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).unwrap();
    let jobs = queue(&store);
    for sequence in 1..=3 {
        send(&store, jobs, sequence).unwrap();
    }
    let before = killed(&store, &directory);
    assert_eq!(sequences(&store, jobs.0), [1, 2, 3]);
    let applied = killed(&store, &directory);
    send(&store, jobs, 4).unwrap();
    let again = killed(&store, &directory);
    drop(store);
    for (directory, wanted) in [(before, 3), (applied, 3), (again, 4), (directory, 4)] {
        for round in 0..3 {
            let store = open(&directory).unwrap();
            let head = store.take_shard(jobs.0).unwrap();
            assert_eq!((head.live, head.next_sequence), (wanted + round, wanted + round + 1));
            send(&store, (jobs.0, head.epoch), wanted + round + 1).unwrap();
            assert_eq!(sequences(&store, jobs.0), (1..=wanted + round + 1).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_record_that_is_not_whole_was_never_answered_and_one_that_is_missing_is_told_of() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).unwrap();
    let jobs = queue(&store);
    for sequence in 1..=3 {
        send(&store, jobs, sequence).unwrap();
    }
    for place in [0, 9, 17, 21, 30, 44] {
        let torn = killed(&store, &directory);
        spoil(&torn, |log| log[2 * BLOCK + place] ^= 1);
        assert_eq!(sequences(&open(&torn).unwrap(), jobs.0), [1, 2], "{place}");
    }
    // From the other segment on, after something in this one was lost.
    assert_eq!(sequences(&store, jobs.0), [1, 2, 3]);
    send(&store, jobs, 4).unwrap();
    send(&store, jobs, 5).unwrap();
    let lost = killed(&store, &directory);
    let second = usize::try_from(file::SEGMENT_BYTES).unwrap();
    spoil(&lost, |log| log[second] ^= 1);
    assert_eq!(
        sequences(&open(&lost).unwrap(), jobs.0),
        [1, 2, 3],
        "what follows cannot be told from an earlier turn"
    );
    spoil(&lost, |log| log.copy_within(second + BLOCK..second + 2 * BLOCK, second));
    let error = open(&lost).unwrap_err();
    assert!(matches!(&error, StoreError::Inconsistent { table: "commit_log", .. }), "{error}");
}

#[test]
fn the_log_of_another_database_is_none_of_this_ones() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(&directory).unwrap();
    let jobs = queue(&store);
    send(&store, jobs, 1).unwrap();
    let left = killed(&store, &directory);
    drop((queue(&open(&other).unwrap()), store));
    fs::copy(left.path().join("queue.db-commits"), other.path().join("queue.db-commits")).unwrap();
    let store = open(&other).unwrap();
    assert!(sequences(&store, jobs.0).is_empty());
    // Its commits may be nowhere else.
    let names =
        fs::read_dir(other.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with("queue.db-commits-of-")).count(), 1);
    let epoch = store.take_shard(jobs.0).unwrap().epoch;
    send(&store, (jobs.0, epoch), 1).unwrap();
    let left = killed(&store, &other);
    drop(store);
    assert_eq!(sequences(&open(&left).unwrap(), jobs.0), [1]);
}

#[test]
fn a_damaged_first_block_costs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).unwrap();
    let jobs = queue(&store);
    send(&store, jobs, 1).unwrap();
    let left = killed(&store, &directory);
    let path = left.path().join("queue.db-commits");
    let mut bytes = fs::read(&path).unwrap();
    bytes[..BLOCK].fill(7);
    fs::write(&path, bytes).unwrap();
    assert_eq!(sequences(&open(&left).unwrap(), jobs.0), [1]);
}

/// A record is whole only with this database's identity: what a sender puts into a message is none.
#[test]
fn what_an_earlier_turn_left_of_a_message_is_no_record() {
    let (directory, forger) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, other) = (open(&directory).unwrap(), open(&forger).unwrap());
    let (jobs, forged) = (queue(&store), queue(&other));
    send(&store, jobs, 1).unwrap();
    send(&other, forged, 1).unwrap();
    send(&other, forged, 2).unwrap();
    let (left, made) = (killed(&store, &directory), killed(&other, &forger));
    let second = fs::read(made.path().join("queue.db-commits")).unwrap()[2 * BLOCK..3 * BLOCK].to_vec();
    spoil(&left, |log| log[BLOCK..2 * BLOCK].copy_from_slice(&second));
    assert_eq!(sequences(&open(&left).unwrap(), jobs.0), [1]);
}

/// SQLite tells of a failed commit where nobody asks, unless it is asked to commit.
#[test]
fn a_shard_that_could_not_be_taken_takes_no_commits() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).unwrap();
    let (shard, epoch) = queue(&store);
    send(&store, (shard, epoch), 1).unwrap();
    assert_eq!(sequences(&store, shard), [1]);
    store.database.writer().commit_hook(Some(|| true)).unwrap();
    assert!(store.take_shard(shard).is_err());
    for epoch in [epoch, epoch + 1] {
        assert!(matches!(send(&store, (shard, epoch), 2), Err(StoreError::Fenced(_))));
    }
    store.database.writer().commit_hook(None::<fn() -> bool>).unwrap();
    let after = store.take_shard(shard).unwrap();
    assert_eq!((after.epoch, after.live), (epoch + 1, 1));
    send(&store, (shard, after.epoch), 2).unwrap();
    assert_eq!(sequences(&open(&killed(&store, &directory)).unwrap(), shard), [1, 2]);
}

#[test]
fn a_log_of_another_release_is_not_written_over() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).unwrap();
    let jobs = queue(&store);
    send(&store, jobs, 1).unwrap();
    let path = |left: &TempDir| left.path().join("queue.db-commits");
    let (other, short) = (killed(&store, &directory), killed(&store, &directory));
    let bytes = fs::read(path(&other)).unwrap();
    fs::write(path(&short), &bytes[..bytes.len() / 2]).unwrap();
    let changed = [&bytes[..7], &[bytes[7] + 1], &bytes[8..]].concat();
    fs::write(path(&other), &changed).unwrap();
    for left in [&other, &short] {
        let before = fs::read(path(left)).unwrap();
        assert!(matches!(open(left), Err(StoreError::Driver(_))));
        assert!(fs::read(path(left)).unwrap() == before);
    }
    fs::write(path(&other), &bytes).unwrap();
    assert_eq!(sequences(&open(&other).unwrap(), jobs.0), [1]);
}

#[test]
fn where_the_log_cannot_be_written_the_database_is() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).unwrap();
    let jobs = queue(&store);
    send(&store, jobs, 1).unwrap();
    let shared = &store.log.as_ref().unwrap().shared;
    let good = shared.state().file.replace(fs::File::options().write(true).open("/dev/full").unwrap());
    send(&store, jobs, 2).unwrap();
    send(&store, jobs, 3).unwrap();
    // The database had both before they were answered.
    let left = killed(&store, &directory);
    fs::remove_file(left.path().join("queue.db-commits")).unwrap();
    assert_eq!(sequences(&open(&left).unwrap(), jobs.0), [1, 2, 3]);
    shared.state().file.replace(good);
    send(&store, jobs, 4).unwrap();
    assert_eq!(sequences(&open(&killed(&store, &directory)).unwrap(), jobs.0), [1, 2, 3, 4]);
}

#[test]
fn commits_do_not_wait_for_the_database_and_nothing_is_lost_where_it_fails() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).unwrap();
    let jobs = queue(&store);
    let other = rusqlite::Connection::open(directory.path().join("queue.db")).unwrap();
    store.database.writer().busy_timeout(Duration::ZERO).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    send(&store, jobs, 1).unwrap();
    let read = store.load_page(jobs.0, 0..10, 10, 1_000);
    assert!(matches!(read, Err(StoreError::Driver(_))), "{read:?}");
    // Asked for anew each time, not answered from what it was.
    let read = store.load_messages(jobs.0, &[1], 1_000);
    assert!(matches!(read, Err(StoreError::Driver(_))), "{read:?}");
    send(&store, jobs, 2).unwrap();
    let left = killed(&store, &directory);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(sequences(&store, jobs.0), [1, 2]);
    assert_eq!(sequences(&open(&left).unwrap(), jobs.0), [1, 2]);
}

#[test]
fn segments_are_written_by_turns_and_only_what_is_left_is_applied() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).unwrap();
    let (shard, epoch) = queue(&store);
    // More than both segments have room for, of which one message is left.
    let rounds = 3 * file::SEGMENT_BYTES / BLOCK as u64;
    send(&store, (shard, epoch), 1).unwrap();
    for sequence in 2..=rounds {
        send(&store, (shard, epoch), sequence).unwrap();
        let write = ShardWrite {
            deletes: vec![sequence],
            next_sequence: sequence + 1,
            clock: Timestamp::from_millis(1_000),
            ..ShardWrite::default()
        };
        store.apply(&[FencedWrite { shard, epoch, write }]).unwrap();
    }
    let left = killed(&store, &directory);
    drop(store);
    for directory in [left, directory] {
        let store = open(&directory).unwrap();
        assert_eq!(sequences(&store, shard), [1]);
        let head = store.take_shard(shard).unwrap();
        assert_eq!((head.live, head.next_sequence), (1, rounds + 1));
    }
}

/// What a kill leaves is read by the next release.
#[test]
fn the_format_is_the_one_that_its_number_says() {
    let attempt = ReceiveAttempt { id: 5, messages: 2, epoch: 7 };
    let at = Timestamp::from_millis;
    let delivery = DeliveryRow {
        sequence: 300,
        sent_at: at(1),
        visible_at: at(2),
        receive_count: 3,
        first_received_at: at(4),
        last_received_at: at(5),
        attempt: Some(attempt),
    };
    let write = ShardWrite {
        inserts: vec![NewMessageRow { delayed_until: Some(Timestamp::from_millis(-2)), ..message(300) }],
        deliveries: vec![delivery],
        deletes: vec![1, 200],
        deduplications: vec![DeduplicationRow {
            sequence: 300,
            sent_at: Timestamp::from_millis(1_000),
            id: 9,
            message_id: Uuid::from_u128(11),
        }],
        deduplicated_before: Some(4),
        purge: Some((6, Timestamp::from_millis(8))),
        next_sequence: 301,
        clock: Timestamp::from_millis(1_000),
    };
    let shard = ShardKey { incarnation: 10, shard: 1 };
    let batch = vec![FencedWrite { shard, epoch: 12, write }];
    let encoded = postcard::to_allocvec(&batch).unwrap();
    assert_eq!(postcard::from_bytes::<Vec<FencedWrite>>(&encoded).unwrap(), batch);
    let text = hex::encode(&encoded);
    let wanted = "010a010c01ac02d00f01030b6d6573736167652033303001ac02020403080a010502070201c80101ac02d00f0910\
                  0000000000000000000000000000000b0104010610ad02d00f";
    assert_eq!((file::MAGIC[7], text.as_str()), (1, wanted));
}

/// A store that is killed again and again, and opened with what is left, while it is asked.
struct Dying {
    life: Mutex<(SqliteQueueStore, TempDir)>,
    /// Calls until it dies.
    left: Mutex<u64>,
    every: u64,
    epochs: Mutex<HashMap<ShardKey, u64>>,
}

impl Dying {
    fn new(every: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let life = Mutex::new((open(&directory).unwrap(), directory));
        Self { life, left: Mutex::new(every), every, epochs: Mutex::default() }
    }

    fn ask<T>(&self, ask: impl FnOnce(&SqliteQueueStore) -> T) -> T {
        let (mut life, mut left) = (self.life.lock().unwrap(), self.left.lock().unwrap());
        *left -= 1;
        if *left == 0 {
            *left = self.every;
            let after = killed(&life.0, &life.1);
            let store = open(&after).unwrap();
            for (shard, epoch) in &*self.epochs.lock().unwrap() {
                // A new process would take them anew.
                store.log.as_ref().unwrap().taken(*shard, *epoch);
            }
            *life = (store, after);
        }
        ask(&life.0)
    }
}

impl QueueStore for Dying {
    fn blocks(&self) -> bool {
        true
    }
    fn load_directory(&self) -> Result<Directory> {
        self.ask(QueueStore::load_directory)
    }
    fn create_queue(&self, row: &QueueRow) -> Result<QueueRow> {
        self.ask(|store| store.create_queue(row))
    }
    fn change_directory(&self, change: &DirectoryChange) -> Result<()> {
        self.ask(|store| store.change_directory(change))
    }
    fn take_shard(&self, shard: ShardKey) -> Result<ShardHead> {
        let head = self.ask(|store| store.take_shard(shard))?;
        self.epochs.lock().unwrap().insert(shard, head.epoch);
        Ok(head)
    }
    fn apply(&self, batch: &[FencedWrite]) -> Result<()> {
        self.ask(|store| store.apply(batch))
    }
    fn load_deliveries(&self, shard: ShardKey, from: u64, limit: usize) -> Result<Vec<DeliveryRow>> {
        self.ask(|store| store.load_deliveries(shard, from, limit))
    }
    fn load_deduplications(&self, shard: ShardKey, from: u64, limit: usize) -> Result<Vec<DeduplicationRow>> {
        self.ask(|store| store.load_deduplications(shard, from, limit))
    }
    fn load_page(
        &self,
        shard: ShardKey,
        range: Range<u64>,
        max_messages: usize,
        max_bytes: usize,
    ) -> Result<(Vec<MessageRow>, bool)> {
        self.ask(|store| store.load_page(shard, range, max_messages, max_bytes))
    }
    fn load_messages(&self, shard: ShardKey, sequences: &[u64], max_bytes: usize) -> Result<Vec<MessageRow>> {
        self.ask(|store| store.load_messages(shard, sequences, max_bytes))
    }
    fn collect(&self, limit: usize, forget_before: Timestamp) -> Result<bool> {
        self.ask(|store| store.collect(limit, forget_before))
    }
    fn idle(&self) {
        self.ask(QueueStore::idle);
    }
}

#[test]
fn a_store_that_dies_again_and_again_answers_as_one_that_lives() {
    for seed in 0..6 {
        differential::run(&Dying::new(1 + seed % 4), &MemoryStore::new(), seed, 60);
    }
}
