//! A small AWS client for Lambfold's own tools: the demo, the load generator, the health check. It signs every
//! request as an SDK does and keeps its connection open; everything else about an SDK it leaves out.

mod connection;
mod endpoint;
mod signature;

pub use connection::{Answer, Connection, Error};
pub use endpoint::{Endpoint, Stream};
pub use signature::{Credentials, Signer, Stamp, sha256_hex};
