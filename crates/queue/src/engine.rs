//! The moving parts around the state machine: an owner task per shard, the directory of queues, and the one writer
//! that commits what all of them decide.

mod cache;
mod directory;
mod lease;
mod link;
mod moves;
mod owner;
mod reader;
mod service;
mod tasks;
mod upkeep;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use link::{
    Command, DirectoryCommand, DirectoryLink, Handover, Names, OwnerLink, PeekedPage, Whereabouts,
};
pub(crate) use moves::Moves;
pub use service::{Member, QueueService};
pub use tasks::Spawn;
