//! SQS as callers know it, on top of the engine: AWS's rules and words, one operation a file.

mod attributes;
mod batch;
mod digest;
pub(crate) mod faults;
mod message;
mod number;
mod operations;
mod policy;
pub(crate) mod queue_url;
pub(crate) mod receipt_handle;
mod redrive;
mod routing;
mod service;

pub use service::SqsService;
