//! The executable as a process: started, stopped, killed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
mod fleet;
mod kill;
mod kill_fifo;
mod start_stop;
mod support;
