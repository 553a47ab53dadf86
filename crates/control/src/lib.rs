//! The control plane: functions and their code, layers, event source mappings, tags. Mirrors AWS Lambda's control plane.
//!
//! Owns the records ([`record`]) behind [`ControlStore`], and the packages in the object store. Serves the Lambda API
//! (all but invoking) and the revisioned watch from which the data plane learns. Knows no HTTP, gRPC or SQL; and is not
//! needed for an invoke or a message of something already known.

mod activation;
mod aliases;
mod audience;
mod concurrency;
mod faults;
mod function_urls;
mod functions;
mod images;
mod layers;
mod mappings;
mod packages;
pub mod record;
mod service;
pub mod store;
mod sweep;
mod tags;
mod watch;
mod workers;

pub use lambfold_image::Options as ImageOptions;
pub use service::{ControlHandle, ControlService, Options};
pub use store::{ControlStore, MemoryControlStore};
