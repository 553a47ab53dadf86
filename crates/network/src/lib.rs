//! What execution environments reach: the other end of their network devices, and the one place that decides what may go
//! on to the host's network. AWS's counterpart is the network of a Lambda worker, with its VPC or without.
//!
//! A sandbox's packets (see `lambfold-sandbox`) end here, in a TCP/IP stack in user space (smoltcp), one small stack per
//! connection. A [`Network`] serves one environment: each connection that its function opens is judged by the worker's
//! [`Egress`], and, if permitted, opened anew from this process and joined to it; the function is told of the connection
//! only when it stands, so refusals and failures are what they would be without us. Datagrams go through a socket per pair
//! of addresses. Names are resolved by the host's name servers; what they answered is remembered, since that is what an
//! allow-list of names means.
//!
//! Nothing here needs privileges, or changes the host. Everything is bounded per environment, and goes with it.
//!
//! Not here: the device (`lambfold-sandbox`), and the way to Lambfold itself (the worker's relay).

mod address;
mod allow;
mod audit;
mod connections;
mod device;
mod dns;
mod egress;
mod life;
mod metrics;
mod names;
mod network;
mod packet;
mod policy;
mod protected;
mod resolver;
mod stream;
mod tcp;
#[cfg(test)]
mod testing;
mod udp;

pub use allow::{AllowList, EntryError};
pub use egress::{Egress, Parts};
pub use metrics::Metrics;
pub use network::{Client, Network};
pub use policy::{ParsePolicyError, Policy};
