//! The edge through real sockets, before services that only remember what they are asked.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod authorization;
mod fake_logs;
#[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "one form for every operation's answer")]
mod fakes;
mod grpc;
mod hostile;
mod http1;
mod pages;
mod server;
mod streams;
mod tls;
