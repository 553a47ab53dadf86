//! The tests of a worker once more, on execution environments that waited for their function, and tests of the waiting.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../worker/dispatched.rs"]
mod dispatched;
#[path = "../worker/extensions.rs"]
mod extensions;
#[path = "../worker/failures.rs"]
mod failures;
#[path = "../worker/happy_path.rs"]
mod happy_path;
#[path = "../worker/heap.rs"]
mod heap;
#[path = "../worker/limits.rs"]
mod limits;
#[path = "../worker/network.rs"]
mod network;
mod pools;
mod same_view;
#[path = "../worker/support.rs"]
#[expect(dead_code, reason = "the other tests of a worker use it all")]
mod support;

/// Whether functions are given to environments that wait.
pub(crate) const WAITING: bool = true;
