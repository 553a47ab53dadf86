//! Event source mappings: messages are received from queues, gathered into batches, given to functions, and deleted
//! when they were processed. AWS calls this part the pollers.
//!
//! [`PollerService`] follows control's watch and keeps one task for every mapping; all that a mapping needs is its
//! own, so that none slows another. Queues are touched through the SQS API only, functions through Invoke only.
//! Nothing is kept: whatever happens to the poller, a message that was not deleted comes back after its visibility
//! timeout.
//!
//! The rules are pure and have no clock: when a batch closes ([`batch`]), what the event looks like ([`event`]),
//! what an answer means ([`response`]), how many batches run at once ([`scaling`]).
//!
//! Not here: asynchronous invocations, streams, and event filtering (docs/gaps.md).

mod backoff;
mod batch;
mod event;
mod functions;
mod invoke;
mod mapping;
mod metrics;
mod options;
mod poll;
mod report;
mod response;
mod scaling;
mod service;
mod shared;
mod source;
mod watch;

#[cfg(test)]
mod tests;

pub use metrics::Metrics;
pub use options::Options;
pub use service::PollerService;
