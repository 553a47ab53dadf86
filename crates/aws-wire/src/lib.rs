//! AWS's wire protocols: bytes to shapes and back, and nothing else. The front door of AWS's services does the same.
//!
//! - [`Router`] decides from a request (never from who sent it) which service, protocol and operation it is for.
//! - [`AwsJson`], [`AwsQuery`] and [`RestJson`] are the protocols, each a
//!   [`WireCodec`](lambfold_api::wire::WireCodec) that the generated `serve_…` functions call around an operation.
//! - [`EventStreams`] puts AWS's event stream encoding around any of them, for operations that answer with a stream.
//! - [`Protocol::fault`] renders an error as each protocol wants it.
//! - [`sigv4`] reads signatures and has the place where they are verified.
//!
//! No rule of a service lives here, no I/O, no clock.

pub mod event_stream;
mod fault;
mod json;
mod query;
mod refuse;
mod rest;
mod router;
mod serialization;
pub mod sigv4;
mod strict;

pub use event_stream::{Answer, EventStreams};
pub use fault::{Protocol, in_words_of};
pub use json::AwsJson;
pub use query::{AwsQuery, QueryFormat, QueryRequest};
pub use rest::{RestJson, RestRequest};
pub use router::{Labels, Refusal, Route, Router};
