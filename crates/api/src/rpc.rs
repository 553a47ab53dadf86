//! The remote path: calls over gRPC, and what serves them. One place for identity, deadline, trace, retries,
//! message sizes and faults.

mod calls;
mod carriage;
mod client;
mod head;
mod keyed;
mod metadata;
mod server;
mod status;

pub use calls::{Calls, Carried, CarriedCall};
pub use client::{PassOnError, RetryPolicy, RpcClient};
pub use metadata::PeerContext;
pub use server::{ContextSource, RpcServer};
pub use status::{fault_from_status, status_from_fault};
