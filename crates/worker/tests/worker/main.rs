//! A worker with a real sandbox, at the strongest level that this machine gives, and real interpreters. Every cold start
//! is one from nothing; `worker_waiting` runs the same tests on environments that waited.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dispatched;
mod extensions;
mod failures;
mod freezing;
mod happy_path;
mod heap;
mod languages;
mod layers;
mod limits;
mod network;
mod provided;
mod streaming;
mod support;
mod telemetry;

/// Whether functions are given to environments that wait.
pub(crate) const WAITING: bool = false;
