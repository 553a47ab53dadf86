//! The contract between Lambfold's services and with its callers: everything that is generated from `proto/`,
//! and the few types that every call shares.
//!
//! - [`sqs`], [`lambda`] and [`logs`] are the public APIs under AWS's own names; [`control`], [`queue`], [`worker`],
//!   [`logstore`] and [`telemetry`] are what the roles say to one another.
//! - Each service is one trait (`Sqs`, `Lambda`, …): `async fn op(&self, ctx: &CallContext, input) ->
//!   Result<Output, Fault>`. Whether an implementation runs in this process ([`interceptor::LocalCall`]) or in
//!   another one (`SqsRemote` over [`rpc::RpcClient`]) is invisible to the caller.
//! - [`operation::Operation`] is one row of the one operation table: routing, authorisation, retries, limits and
//!   metrics read it.
//!
//! Not here: wire protocols of AWS (`lambfold-aws-wire`) and any rule of a service.

pub mod authorize;
pub mod context;
pub mod fault;
mod function_target;
pub mod interceptor;
pub mod json;
pub mod operation;
pub mod rpc;
pub mod schema;
pub mod trace;
pub mod transport;
pub mod validate;
pub mod wire;

pub use context::{CallContext, Endpoint, Principal};
pub use fault::{AwsErrorCode, Fault};
pub use function_target::FunctionTarget;
pub use operation::Operation;
pub use trace::TraceContext;

/// A stream of results, as server-streaming operations return it.
pub type BoxStream<T> = std::pin::Pin<Box<dyn futures_core::Stream<Item = T> + Send>>;

/// Every proto file of Lambfold, encoded, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The generated code, nested as the proto packages are: references between packages count on it.
mod packages {
    macro_rules! package {
        ($name:ident, $($file:literal),+) => {
            pub(crate) mod $name {
                #[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, clippy::allow_attributes, reason = "generated")]
                pub mod v1 {
                    $(include!(concat!(env!("OUT_DIR"), "/", $file));)+
                }
            }
        };
    }

    package!(sqs, "lambfold.sqs.v1.rs", "lambfold.sqs.v1.aws.rs");
    package!(lambda, "lambfold.lambda.v1.rs", "lambfold.lambda.v1.aws.rs");
    package!(logs, "lambfold.logs.v1.rs", "lambfold.logs.v1.aws.rs");
    package!(control, "lambfold.control.v1.rs");
    package!(logstore, "lambfold.logstore.v1.rs");
    package!(queue, "lambfold.queue.v1.rs");
    package!(worker, "lambfold.worker.v1.rs");
    package!(telemetry, "lambfold.telemetry.v1.rs");
}

pub use packages::control::v1 as control;
pub use packages::lambda::v1 as lambda;
pub use packages::logs::v1 as logs;
pub use packages::logstore::v1 as logstore;
pub use packages::queue::v1 as queue;
pub use packages::sqs::v1 as sqs;
pub use packages::telemetry::v1 as telemetry;
pub use packages::worker::v1 as worker;

mod wire_messages {
    //! Messages of `lambfold.api.v1` that travel: the fault detail.
    #![allow(
        missing_docs,
        clippy::all,
        clippy::pedantic,
        unreachable_pub,
        clippy::allow_attributes,
        reason = "generated"
    )]
    include!(concat!(env!("OUT_DIR"), "/lambfold.api.v1.rs"));
}

mod messages {
    include!(concat!(env!("OUT_DIR"), "/messages.rs"));
}

fn http_path(path: &'static str) -> http::uri::PathAndQuery {
    http::uri::PathAndQuery::from_static(path)
}
