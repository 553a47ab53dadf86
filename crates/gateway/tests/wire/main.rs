//! The edge from outside, byte by byte and in manual time: what a stranger on a socket can make it do, and what it does
//! before a service is called. Every call of a service, every question to the authoriser and every panic is recorded.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cancellation;
mod client;
mod connections;
mod edge;
#[path = "../edge/fake_logs.rs"]
mod fake_logs;
#[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "one form for every operation's answer")]
#[expect(dead_code, reason = "what is called is recorded by the log here")]
#[path = "../edge/fakes.rs"]
mod fakes;
mod h2;
mod identity;
mod limits;
mod log;
mod malformed;
mod operations;
mod pages;
mod requests;
mod slow;
