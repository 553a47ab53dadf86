//! Seeds. `SEEDS=n` runs more of them, `SEED=x` one, with its history.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Servers, run};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs as many seeds on all processors; fails with the first that fails. `name` is the test that repeats it.
fn run_all(name: &str, seeds: u64, check: impl Fn(u64) -> Result<(), String> + Sync) {
    let (next, failures) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || !failures.lock().unwrap().is_empty() {
                        break;
                    }
                    if let Err(error) = check(seed) {
                        failures.lock().unwrap().push((seed, error));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    if let Some((seed, error)) = failures.into_iter().min() {
        panic!(
            "{error}\nseed {seed} failed; again, with its whole history: SEED={seed} cargo test -p lambfold-sim {name}"
        );
    }
}

fn run_seeds(name: &str, servers: Servers, usual: u64) {
    if let Some(seed) = number("SEED") {
        let (history, result) = run(servers, seed);
        println!("{}", history.text());
        result.unwrap();
        return;
    }
    let count = number("SEEDS").unwrap_or(usual);
    let steps = AtomicU64::new(0);
    run_all(name, count, |seed| {
        let (history, result) = run(servers, seed);
        steps.fetch_add(history.len() as u64, Ordering::Relaxed);
        result.map_err(|error| format!("…\n{}\n{error}", history.tail(60)))
    });
    println!("{name}: {count} seeds, {} steps", steps.into_inner());
}

#[test]
fn seeds() {
    run_seeds("seeds", Servers::One, 300);
}

#[test]
fn nodes() {
    run_seeds("nodes", Servers::Nodes, 100);
}

#[test]
fn the_same_seed_does_the_same() {
    for (name, servers, usual) in [("seeds", Servers::One, 30), ("nodes", Servers::Nodes, 10)] {
        run_all(name, number("SEEDS").map_or(usual, |seeds| seeds / 10), |seed| {
            let (first, second) = (run(servers, seed).0.text(), run(servers, seed).0.text());
            let differs = first.lines().zip(second.lines()).find(|(first, second)| first != second);
            match differs {
                Some((first, second)) => Err(format!("once: {first}\nagain: {second}")),
                None if first.len() != second.len() => Err("one history is longer than the other".to_owned()),
                None => Ok(()),
            }
        });
    }
}
