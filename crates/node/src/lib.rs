//! Wiring: settings in, a running node out. The executable and the tests' clusters start roles through here, so that
//! both run the same code.
//!
//! A node is some roles in one process. Roles of the same node call each other through the service traits without
//! serialising; roles of other nodes through gRPC at the addresses of `[peers]`.

mod directory;
mod error;
mod node;
mod part;
mod peers;
mod role;
mod roles;
mod tls;
mod traces;

pub use directory::{DataDirectory, DirectoryError};
pub use error::StartError;
pub use node::{Isolation, Node, NodeOptions, Summary, migrate};
pub use role::Role;
