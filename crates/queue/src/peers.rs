//! Queue nodes that share a store, to each other: messages that leave a queue of one node for a queue of another.

use std::fmt;
use std::sync::Arc;

use lambfold_api::queue::{AdoptRequest, AdoptResponse, Departure, Letter, QUEUE_PEERS_ADOPT, QueuePeers};
use lambfold_api::rpc::{PassOnError, RpcClient};
use lambfold_api::sqs::ErrorCode;
use lambfold_api::{CallContext, Fault};
use lambfold_types::{QueueName, Scope, Timestamp};
use uuid::Uuid;

use crate::error::Error;
use crate::shard::DeadLetter;
use crate::sqs::faults;
use crate::store::{FencedWrite, ShardKey, ShardWrite, StoreError};
use crate::{Queue, QueueHandle};

/// How to call the node at an address.
pub trait PeerNodes: Send + Sync + 'static {
    /// A client; `None` for an address that cannot be one.
    fn rpc(&self, address: &str) -> Option<RpcClient>;
}

/// This node among those that share the store.
#[derive(Clone)]
pub struct Cluster {
    /// Where the others reach this node.
    pub address: String,
    /// How to reach the others.
    pub nodes: Arc<dyn PeerNodes>,
}

/// Brings messages that leave a queue of this node to the node that owns the queue they leave for. What that one
/// answers with is [`QueuePeersService`]'s to say.
#[async_trait::async_trait]
pub trait Carrier: Send + Sync + 'static {
    /// Asks the node at `address`, once.
    async fn adopt(
        &self,
        address: &str,
        ctx: &CallContext,
        request: AdoptRequest,
    ) -> Result<AdoptResponse, PassOnError>;
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cluster({})", self.address)
    }
}

#[async_trait::async_trait]
impl Carrier for Cluster {
    async fn adopt(
        &self,
        address: &str,
        ctx: &CallContext,
        request: AdoptRequest,
    ) -> Result<AdoptResponse, PassOnError> {
        let rpc = self.nodes.rpc(address).ok_or(PassOnError::NotSent)?;
        rpc.pass_on(&QUEUE_PEERS_ADOPT, ctx, request).await
    }
}

/// Has the node at `address` make the arrival of `letters` in `target` durable, together with `departure`.
/// [`Error::Store`] says that it may have been done or not, any other error that it was not.
pub(crate) async fn adopt(
    carrier: &dyn Carrier,
    address: &str,
    target: &Queue,
    letters: Vec<DeadLetter>,
    departure: FencedWrite,
) -> Result<(), Error> {
    let ctx = CallContext::internal(target.scope().clone(), Uuid::nil());
    let request = AdoptRequest {
        account: target.scope().account.to_string(),
        region: target.scope().region.to_string(),
        queue: target.name().to_string(),
        incarnation: target.incarnation(),
        letters: letters.into_iter().map(write_letter).collect(),
        departure: Some(write_departure(departure)),
    };
    match carrier.adopt(address, &ctx, request).await {
        Ok(AdoptResponse {}) => Ok(()),
        Err(PassOnError::NotSent) => Err(Error::OwnerChanges),
        Err(PassOnError::Lost) => Err(unknown("the node that was to take messages went away")),
        Err(PassOnError::Answered(fault)) => Err(read_refusal(&fault)),
    }
}

/// Why messages were not adopted, for the node that asked.
fn write_refusal(error: &Error, queue: &QueueName) -> Fault {
    match error {
        // It may have been done: none of the answers that say it was not. The owner has told the log.
        Error::Store(_) | Error::Stopping => Fault::internal(),
        error => faults::of_engine(error, queue.as_str()),
    }
}

/// The same by its answer.
fn read_refusal(fault: &Fault) -> Error {
    if fault.is(ErrorCode::QueueDoesNotExist) {
        Error::NoSuchQueue
    } else if faults::is_owner_changes(fault) {
        Error::OwnerChanges
    } else if fault.is(ErrorCode::ServiceUnavailable) {
        Error::StorageFull
    } else if fault.is(ErrorCode::RequestThrottled) {
        Error::Overloaded
    } else {
        unknown(fault.message())
    }
}

/// Whether it was done is not known.
fn unknown(why: &str) -> Error {
    Error::Store(Arc::new(StoreError::Driver(why.into())))
}

/// Takes messages from other nodes.
#[derive(Clone)]
pub struct QueuePeersService {
    engine: QueueHandle,
}

impl QueuePeersService {
    /// Into the queues of `engine`.
    pub fn new(engine: QueueHandle) -> Self {
        Self { engine }
    }
}

#[async_trait::async_trait]
impl QueuePeers for QueuePeersService {
    async fn adopt(&self, _ctx: &CallContext, input: AdoptRequest) -> Result<AdoptResponse, Fault> {
        let malformed = || Fault::serialization("The request of a peer is malformed.");
        let scope = Scope {
            account: input.account.parse().map_err(|_| malformed())?,
            region: input.region.parse().map_err(|_| malformed())?,
        };
        let name: QueueName = input.queue.parse().map_err(|_| malformed())?;
        let departure = input.departure.and_then(read_departure).ok_or_else(malformed)?;
        let letters = input.letters.into_iter().map(read_letter).collect();
        let adopted = self.engine.adopt(&scope, &name, input.incarnation, letters, departure).await;
        adopted.map_err(|error| write_refusal(&error, &name))?;
        Ok(AdoptResponse {})
    }
}

fn write_letter(letter: DeadLetter) -> Letter {
    Letter {
        sequence: letter.sequence,
        record: letter.record,
        sent_at: letter.sent_at.millis(),
        receive_count: letter.receive_count,
        first_received_at: letter.first_received_at.millis(),
        last_received_at: letter.last_received_at.millis(),
    }
}

fn read_letter(letter: Letter) -> DeadLetter {
    DeadLetter {
        sequence: letter.sequence,
        record: letter.record,
        sent_at: Timestamp::from_millis(letter.sent_at),
        receive_count: letter.receive_count,
        first_received_at: Timestamp::from_millis(letter.first_received_at),
        last_received_at: Timestamp::from_millis(letter.last_received_at),
    }
}

fn write_departure(departure: FencedWrite) -> Departure {
    let FencedWrite { shard, epoch, write } = departure;
    Departure {
        incarnation: shard.incarnation,
        shard: shard.shard.into(),
        epoch,
        deletes: write.deletes,
        next_sequence: write.next_sequence,
        clock: write.clock.millis(),
    }
}

fn read_departure(departure: Departure) -> Option<FencedWrite> {
    let shard = ShardKey { incarnation: departure.incarnation, shard: u16::try_from(departure.shard).ok()? };
    let write = ShardWrite {
        deletes: departure.deletes,
        next_sequence: departure.next_sequence,
        clock: Timestamp::from_millis(departure.clock),
        ..ShardWrite::default()
    };
    Some(FencedWrite { shard, epoch: departure.epoch, write })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who takes an unknown outcome for a refusal keeps messages that have left, and sends them again.
    #[test]
    fn what_may_have_been_done_is_not_answered_as_refused() {
        let queue: QueueName = "dead".parse().unwrap();
        let there = |error: Error| read_refusal(&write_refusal(&error, &queue));
        let shard = ShardKey { incarnation: 1, shard: 0 };
        for cause in [StoreError::LeaseLost, StoreError::Fenced(shard), StoreError::Void] {
            assert!(matches!(there(Error::Store(Arc::new(cause))), Error::Store(_)));
        }
        assert!(matches!(there(Error::Stopping), Error::Store(_)));
        assert!(matches!(there(Error::StorageFull), Error::StorageFull));
        assert!(matches!(there(Error::Overloaded), Error::Overloaded));
        assert!(matches!(there(Error::OwnerChanges), Error::OwnerChanges));
        assert!(matches!(there(Error::OwnedElsewhere("other".into())), Error::OwnerChanges));
        assert!(matches!(there(Error::NoSuchQueue), Error::NoSuchQueue));
    }
}
