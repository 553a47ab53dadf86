//! Lambfold in a test's own process: all roles in one node, or one node per role that talk real gRPC, on real
//! SQLite files, driven by the real AWS SDK for Rust.
//!
//! The same scenario runs both ways: [`Layout`] is its parameter. Failures to start panic, as tests want it.

mod cluster;
mod deploy;
mod spawner;

pub use cluster::{Cluster, Layout};
pub use deploy::{Function, eventually, unique, zip_of};
