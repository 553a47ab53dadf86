mod connections;
mod nodes;

use std::sync::Arc;

use lambfold_queue::store::{MemoryStore, conformance, differential};

use crate::testing::{TestSchema, server};

use super::*;

fn open(schema: &TestSchema) -> PostgresQueueStore {
    PostgresQueueStore::open(schema.options()).unwrap()
}

#[test]
fn conforms() {
    let Some(server) = server() else { return };
    let mut schemas = Vec::new();
    conformance::run(|| {
        let schema = server.schema();
        let store = open(&schema);
        schemas.push(schema);
        store
    });
}

#[test]
fn answers_as_the_store_in_memory_does() {
    let Some(server) = server() else { return };
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(12);
    for seed in 0..seeds {
        let schema = server.schema();
        differential::run(&open(&schema), &MemoryStore::new(), seed, 150);
    }
}

#[test]
fn everything_is_there_after_a_restart() {
    let Some(server) = server() else { return };
    let schema = server.schema();
    conformance::reopen(open(&schema), |store| {
        drop(store);
        open(&schema)
    });
}

#[test]
fn a_store_from_the_future_is_refused() {
    let Some(server) = server() else { return };
    let schema = server.schema();
    drop(open(&schema));
    schema.script("UPDATE format SET version = 99");
    let future = PostgresQueueStore::open(schema.options());
    let supported = i64::try_from(MIGRATIONS.len()).unwrap();
    assert!(matches!(future, Err(StoreError::FromTheFuture { found: 99, supported: s }) if s == supported));
}

#[test]
fn several_processes_may_migrate_at_once() {
    let Some(server) = server() else { return };
    let schema = Arc::new(server.schema());
    let nodes: Vec<_> = (0..6)
        .map(|_| {
            let schema = Arc::clone(&schema);
            std::thread::spawn(move || drop(open(&schema)))
        })
        .collect();
    for node in nodes {
        node.join().unwrap();
    }
}

/// A migration has one name and number, whatever its dialect.
#[test]
fn migrations_are_in_lock_step() {
    let names = |dialect: &str| {
        let path = format!("{}/../../migrations/{dialect}/queue", env!("CARGO_MANIFEST_DIR"));
        let files = std::fs::read_dir(path).unwrap().map(|file| file.unwrap().file_name());
        let mut names: Vec<_> = files.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names("postgres"), names("sqlite"));
    assert_eq!(names("postgres").len(), MIGRATIONS.len());
}
