//! CloudWatch Logs: log groups, streams and events, written by clients and by what functions print, read, searched by
//! filter patterns and followed live.
//!
//! [`LogsHandle`] is the public [`Logs`](lambfold_api::logs::Logs) service and the [`LogIntake`] that workers hand events
//! over by. Everything that comes in goes through one `writer`, which commits what waits together and then tells the
//! live tails. What is kept is bounded: by each group's retention and, over all groups, by bytes; `upkeep` removes the
//! rest step by step.
//!
//! Not here: metric filters, subscriptions, queries and exports (docs/gaps.md), and what the lines of a function look
//! like (`lambfold-worker`).
//!
//! [`LogIntake`]: lambfold_api::logstore::LogIntake

mod faults;
mod identifier;
mod metrics;
mod operations;
mod options;
pub mod pattern;
pub mod record;
mod service;
pub mod store;
mod tail;
mod token;
mod upkeep;
mod writer;

#[cfg(test)]
mod tests;

pub use metrics::Metrics;
pub use options::Options;
pub use service::{LogsHandle, LogsService};
pub use store::LogStore;
