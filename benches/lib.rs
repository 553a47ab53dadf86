//! The load generator and what it is measured against.
//!
//! Closed loops over keep-alive connections, each request signed as an SDK signs it, latencies in HDR histograms.
//! [`mod@reference`] is the floor: an HTTP server that does nothing but commit a body durably, in groups, so that a
//! figure can be told as a ratio to what the machine allows at that moment.

pub mod cell;
pub mod fifo;
pub mod invoke;
pub mod long_poll;
pub mod queues;
pub mod reference;
pub mod target;

pub use cell::{Cell, median};
pub use target::Target;
