//! The vocabulary that every part of Lambfold shares: who owns a thing ([`Scope`]), what it is called
//! ([`Arn`], [`QueueName`], [`FunctionName`], [`LayerName`]), when something happens ([`Timestamp`], [`Clock`]) and where
//! randomness comes from ([`Entropy`]).
//!
//! Nothing here knows a runtime, a database or a wire protocol. Values that AWS bounds have one fallible
//! constructor; once built, nobody checks them again.

mod arn;
mod debugger;
mod entropy;
mod function;
mod layer;
mod queue_name;
mod runtime;
mod scope;
mod seal;
mod text;
mod time;

pub use arn::{Arn, ParseArnError};
pub use debugger::{DEBUG_LIMIT, DEBUG_PORT, DEBUG_WAIT, Debugger, DebuggerError};
pub use entropy::{Entropy, uuid_v4};
pub use function::{FunctionName, Qualifier};
pub use layer::LayerName;
pub use queue_name::{InvalidQueueName, QueueName};
pub use runtime::{
    CONTAINER_IMAGES, ENDPOINT_PORT, Language, LanguageVersion, RUNTIME_API_PORT, RUNTIMES, Runtime,
    RuntimeKind, RuntimeState,
};
pub use scope::{AccountId, InvalidAccountId, InvalidRegion, Region, Scope};
pub use seal::{PlainSealer, SealError, Sealer};
pub use text::{cut, cut_last};
pub use time::{Clock, RunFuture, SleepFuture, Timestamp};
