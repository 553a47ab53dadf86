//! Execution environments: a function's code in a sandbox, a runtime that is given one invocation after another, and
//! all that AWS promises around it. AWS calls this part the workers.
//!
//! [`WorkerHandle`] is the [`Worker`](lambfold_api::worker::Worker) service. Each environment is one task, started by
//! its first invocation; it serves one version of one function for its life. The way of an invocation: `service`
//! finds or makes the environment, `launch` gives it one of the sandboxes that wait in `pool` or starts one, `environment` waits for init, delivers events
//! through the `runtime_api` and words what went wrong. Extensions speak to the `runtime_api`, too; `extensions` knows which
//! ones a layer brings; `telemetry` brings them what they have subscribed to.
//!
//! Not here: which environment takes an invocation (the dispatcher decides), isolation (`lambfold-sandbox`), what a
//! runtime does inside (`runtimes/`).

mod answer_stream;
mod debugger;
mod environment;
mod error;
mod extensions;
mod failure;
mod hot_reload;
mod interpreter;
mod lasting_spawner;
mod launch;
mod log;
mod log_delivery;
mod log_level;
mod metrics;
mod options;
mod packages;
mod platform_event;
mod platform_log;
mod pool;
mod registry;
mod relay;
mod running;
mod runtime_api;
mod runtime_files;
mod service;
mod start_gate;
mod telemetry;
mod vacant;
mod variables;

pub use error::Error;
pub use interpreter::Interpreters;
pub use lasting_spawner::LastingSpawner;
pub use metrics::Metrics;
pub use options::Options;
pub use service::{Parts, WorkerHandle, WorkerService};
