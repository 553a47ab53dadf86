//! The edge: where AWS clients (HTTP/1.1 and h2c) and gRPC clients meet Lambfold. What AWS calls a front end.
//!
//! It decides what a request is for, who sends it and how long it may take, calls the service behind one layer of
//! validation and authorisation, and answers in the client's protocol. It holds no rule of a service and no state
//! that a restart would miss.
//!
//! The bytes are `lambfold-aws-wire`'s, the checks before an operation `lambfold-api`'s
//! [`PublicEdge`](lambfold_api::interceptor::PublicEdge).

mod answer_body;
mod aws;
mod body;
mod connection;
mod front;
mod function_url;
mod identity;
mod listener;
mod messages;
mod metrics;
mod options;
mod pages;
mod rpc;
mod service;

pub use metrics::Metrics;
pub use options::{Options, PlainFrom, Tls};
pub use pages::Packages;
pub use service::{GatewayService, Services, Surroundings};
