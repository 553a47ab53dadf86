use lambfold_queue::store::{MemoryStore, conformance, differential};
use tempfile::TempDir;

use super::*;

/// A store in a directory that goes with it.
fn fresh() -> (SqliteQueueStore, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteQueueStore::open(&directory.path().join("queue.db"), &Options::default()).unwrap();
    (store, directory)
}

#[test]
fn conforms() {
    let mut directories = Vec::new();
    conformance::run(|| {
        let (store, directory) = fresh();
        directories.push(directory);
        store
    });
}

#[test]
fn answers_as_the_store_in_memory_does() {
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(12);
    for seed in 0..seeds {
        let (store, _directory) = fresh();
        differential::run(&store, &MemoryStore::new(), seed, 150);
    }
}

#[test]
fn everything_is_there_after_a_restart() {
    let (store, _directory) = fresh();
    conformance::reopen(store, |store| {
        let path = store.path().to_owned();
        drop(store);
        SqliteQueueStore::open(&path, &Options::default()).unwrap()
    });
}

#[test]
fn a_second_process_and_a_store_from_the_future_are_refused() {
    let (store, _directory) = fresh();
    let path = store.path().to_owned();
    let second = SqliteQueueStore::open(&path, &Options::default());
    assert!(matches!(second, Err(StoreError::InUse(_))));
    store.database.writer().pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    let future = SqliteQueueStore::open(&path, &Options::default());
    let supported = i64::try_from(MIGRATIONS.len()).unwrap();
    assert!(matches!(future, Err(StoreError::FromTheFuture { found: 99, supported: s }) if s == supported));
}

#[test]
fn commits_are_durable_at_once() {
    let (store, _directory) = fresh();
    let wanted = [("synchronous", "FULL"), ("journal_mode", "wal"), ("commit_log", "O_DSYNC")];
    assert_eq!(store.durability().unwrap(), wanted.map(|(name, value)| (name, value.to_owned())));
    store.database.writer().pragma_update(None, "synchronous", "normal").unwrap();
    assert_eq!(store.durability().unwrap()[0].1, "NORMAL", "it is read back, not remembered");
}
