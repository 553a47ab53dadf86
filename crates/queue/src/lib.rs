//! Queues and messages: Lambfold's SQS.
//!
//! Owns every queue, message and receipt handle, and is the only door to them. Does not know HTTP, gRPC or SQL:
//! [`QueueHandle`] offers typed operations, [`QueueStore`] is what a database has to do.
//!
//! A call goes [`QueueHandle`] → owner task of the queue's shard → pure state machine → group commit → answer.
//! The owner holds the shard's state in memory, so no operation's cost depends on the backlog (DESIGN §3).

mod engine;
mod error;
mod handle;
mod mac;
mod message;
mod metrics;
mod move_task;
mod options;
mod peers;
mod queue;
pub mod routing;
mod shard;
mod sqs;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(any(test, feature = "testing"))]
pub mod untrusted;

pub use engine::{Member, QueueService, Spawn};
pub use error::{ChangeVisibilityError, Error, HandleError};
pub use handle::QueueHandle;
pub use mac::{MacKey, MacKeys};
pub use message::{
    AttributeValue, HandleParts, MessageAttribute, MessageState, NewMessage, Peeked, ReceiveParams, Received,
    Sent, SystemAttributes,
};
pub use metrics::QueueMetrics;
pub use move_task::{MoveStatus, MoveTask};
pub use options::Options;
pub use peers::{Carrier, Cluster, PeerNodes, QueuePeersService};
pub use queue::{
    CreateOutcome, DeduplicationScope, NewQueue, Queue, QueueCounts, QueueInfo, QueueKind, QueueProperties,
    QueueSettings, Redrive,
};
pub use sqs::SqsService;
pub use store::QueueStore;
