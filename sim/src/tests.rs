//! Seeds. `SEEDS=n` runs more of them, `SEED=x` one, with its history.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::run;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs `seeds` on all processors; fails with the first that fails.
fn run_all(first: u64, seeds: u64, check: impl Fn(u64) -> Result<(), String> + Sync) {
    let (next, failures) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds || !failures.lock().unwrap().is_empty() {
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
            "{error}\nseed {seed} failed; again, with its whole history: SEED={seed} cargo test -p lambfold-sim seeds"
        );
    }
}

#[test]
fn seeds() {
    if let Some(seed) = number("SEED") {
        let (history, result) = run(seed);
        println!("{}", history.text());
        result.unwrap();
        return;
    }
    let count = number("SEEDS").unwrap_or(300);
    let steps = AtomicU64::new(0);
    run_all(0, count, |seed| {
        let (history, result) = run(seed);
        steps.fetch_add(history.len() as u64, Ordering::Relaxed);
        result.map_err(|error| format!("…\n{}\n{error}", history.tail(60)))
    });
    println!("{count} seeds, {} steps", steps.into_inner());
}

#[test]
fn the_same_seed_does_the_same() {
    run_all(0, number("SEEDS").map_or(30, |seeds| seeds / 10), |seed| {
        let (first, second) = (run(seed).0.text(), run(seed).0.text());
        let differs = first.lines().zip(second.lines()).find(|(first, second)| first != second);
        match differs {
            Some((first, second)) => Err(format!("once: {first}\nagain: {second}")),
            None if first.len() != second.len() => Err("one history is longer than the other".to_owned()),
            None => Ok(()),
        }
    });
}
