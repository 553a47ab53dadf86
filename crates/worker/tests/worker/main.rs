//! A worker with a real sandbox, at the strongest level that this machine gives, and real interpreters.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dispatched;
mod failures;
mod happy_path;
mod languages;
mod layers;
mod limits;
mod provided;
mod streaming;
mod support;
