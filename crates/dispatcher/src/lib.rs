//! The data plane of invoke: from a function's name to an answer. AWS calls its parts frontend, assignment, counting
//! and placement.
//!
//! [`DispatcherHandle`] is the [`LambdaInvoke`](lambfold_api::lambda::LambdaInvoke) service. It knows every function
//! from control's watch and every execution environment from the workers' reports, and keeps nothing: after a restart
//! of any of them it asks again. While control is away, what is known stays in force.
//!
//! The decisions are pure: what a name means (`target`), what is known (`functions`), who gets which environment
//! (`placement`). An invocation that has begun is never made again; one whose environment was gone before that is
//! placed anew.
//!
//! Not here: what runs a function (the worker), and asynchronous invocation (docs/gaps.md).

mod concurrency;
mod faults;
mod follow;
mod functions;
mod invocation;
mod metrics;
mod options;
mod placement;
mod provision;
mod request;
mod service;
mod shared;
mod streamed;

pub use metrics::Metrics;
pub use options::Options;
pub use service::{DispatcherHandle, DispatcherService, Parts};
