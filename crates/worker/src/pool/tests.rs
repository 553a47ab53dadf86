//! Pools of memory sizes: how many there are, and for how long.

use lambfold_types::Timestamp;

use super::{Kind, Pool, Pools, by_size};
use crate::interpreter::Interpreters;
use crate::metrics::{Metrics, RuntimeLabels};
use crate::options::Options;

fn pools() -> Pools {
    let mut options = Options::new("/nowhere");
    // Too little for one: nothing is made here.
    (options.pool_memory_mib, options.pool_minimum) = (1, 1);
    Pools::new(&options, true, &Interpreters::default(), Metrics::default())
}

fn ask(pools: &Pools, memory_mb: u32, now: Timestamp) {
    let make = |runtime| Pool::new(Kind::Bare(None), 12, runtime, Some(by_size::KEPT));
    assert!(pools.take_of_size(format!("nodejs20.x {memory_mb} MB"), now, make).is_none());
}

/// The sizes that there are pools of.
fn sizes(pools: &Pools) -> Vec<String> {
    pools.by_size().iter().map(|pool| pool.labels.runtime.clone()).collect()
}

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_millis(minutes * 60_000)
}

#[test]
fn a_size_is_forgotten_an_hour_after_it_was_last_asked_for() {
    let pools = pools();
    ask(&pools, 512, at(0));
    ask(&pools, 1024, at(10));
    ask(&pools, 512, at(20));
    for (minutes, left) in [(69, 2), (71, 1), (79, 1), (81, 0)] {
        assert!(pools.reserve(at(minutes)).is_none());
        assert_eq!(sizes(&pools).len(), left, "after {minutes} minutes");
    }
}

#[test]
fn a_size_wants_the_minimum_for_an_hour_and_more_by_demand() {
    let pools = pools();
    for _ in 0..4 {
        ask(&pools, 512, at(0));
    }
    let pool = pools.by_size().iter().next().unwrap().clone();
    for (minutes, least, most) in [(0, 1, 6), (4, 1, 6), (6, 1, 1), (59, 1, 1), (61, 0, 0)] {
        let want = pools.want(&pool, at(minutes));
        assert_eq!((want.least, want.most), (least, most), "after {minutes} minutes");
    }
}

#[test]
fn a_pool_that_something_is_made_for_stays_until_it_is_there() {
    let mut pools = pools();
    pools.memory_mib = 100;
    ask(&pools, 512, at(0));
    // That of all sandboxes wants one, too.
    let reserved = [pools.reserve(at(0)).unwrap(), pools.reserve(at(0)).unwrap()];
    let pool = reserved.into_iter().find(|pool| pool.labels.runtime == "nodejs20.x 512 MB").unwrap();
    pools.memory_mib = 1;
    pools.retire_forgotten(at(100));
    assert_eq!(sizes(&pools).len(), 1);
    pool.state().being_made -= 1;
    pools.retire_forgotten(at(100));
    assert_eq!(sizes(&pools).len(), 0);
}

#[test]
fn the_size_that_was_asked_for_longest_ago_goes_for_a_new_one() {
    let pools = pools();
    for size in 0..16 {
        ask(&pools, 1000 + size, at(0));
    }
    ask(&pools, 1000, at(1));
    let oldest = pools.by_size().iter().last().unwrap().clone();
    assert_eq!(oldest.labels.runtime, "nodejs20.x 1001 MB");
    assert!(!oldest.state().gone);
    ask(&pools, 2000, at(2));
    assert!(oldest.state().gone);
    let sizes = sizes(&pools);
    assert_eq!(sizes.len(), 16);
    assert_eq!(sizes[..2], ["nodejs20.x 2000 MB", "nodejs20.x 1000 MB"]);
    assert!(!sizes.contains(&oldest.labels.runtime));
}

#[test]
fn a_pool_that_has_gone_leaves_no_figures() {
    let pools = pools();
    ask(&pools, 512, at(0));
    let pool = pools.by_size().iter().next().unwrap().clone();
    let labels = RuntimeLabels { runtime: "nodejs20.x 512 MB".to_owned() };
    assert_eq!(pools.metrics.pool_missed.get(&labels).unwrap().get(), 1);
    pools.reserve(at(61));
    // As when something is made for it that comes too late.
    pools.show(&pool, &pool.state());
    assert!(pools.metrics.pool_missed.get(&labels).is_none());
    assert!(pools.metrics.pool_waiting.get(&labels).is_none());
}
