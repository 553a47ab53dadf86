//! The moving parts around the state machine: owners, directory, group commit.

mod link;

pub(crate) use link::{Command, DirectoryCommand, DirectoryLink, Handover, OwnerLink, Stored};
