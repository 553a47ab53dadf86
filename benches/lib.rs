//! The load generator and what it is measured against.
//!
//! Closed loops over keep-alive connections, each request signed as an SDK signs it, latencies in HDR histograms.
//! [`mod@reference`] is the floor: an HTTP server that does nothing but commit a body durably, in groups, so that a
//! figure can be told as a ratio to what the machine allows at that moment. [`session`] says which cells there are,
//! [`rounds`] has those who are compared run in turn.

mod answers;
pub mod backlog;
pub mod bootstrap;
mod caller;
pub mod cell;
pub mod cold;
pub mod disk;
pub mod durability;
pub mod endurance;
pub mod fifo;
pub mod first_calls;
mod interpreter;
pub mod invoke;
mod lead;
pub mod long_poll;
pub mod many;
pub mod memory;
mod options;
pub mod postgres;
pub mod queues;
pub mod reference;
pub mod rounds;
pub mod server;
pub mod session;
mod table;
pub mod target;
mod usage;

pub use cell::{Cell, median};
pub use options::{InvokePeer, Layout, Options, Peer};
pub use server::Server;
pub use target::Target;
