//! A deterministic simulation of clients, the queue engine and its store, with crashes between any two steps.
//!
//! The engine is the real one, over the store in memory. The simulation owns everything else: it polls the engine's
//! tasks one at a time in an order of its own, winds the clock, kills the process between two polls or in the middle of a
//! call to the store, has commits fail or succeed unnoticed, and starts a new process over what the store holds, while
//! the old one may linger. Or it has several nodes on one store, which it stops for longer than their leases hold, cuts off,
//! kills and starts anew. All that chance decides follows from a seed. The clients keep a ledger of what they were
//! promised, and hold the engine to it. See `README.md`.

mod calls;
mod clock;
mod dice;
mod executor;
mod history;
mod ledger;
mod network;
mod store;
mod world;

pub use history::History;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Who serves the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Servers {
    /// One process at a time.
    One,
    /// Two or three nodes that share the store, each with a lease.
    Nodes,
}

/// Runs one seed. The history is that of the whole run, or up to the failure.
pub fn run(servers: Servers, seed: u64) -> (History, Result<(), String>) {
    let history = History::default();
    let of_run = history.clone();
    let result = catch_unwind(AssertUnwindSafe(|| world::World::new(servers, seed, of_run).run()));
    let result = result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    });
    if let Err(error) = &result {
        history.note(format_args!("FAILED {error}"));
    }
    (history, result)
}

#[cfg(test)]
mod tests;
