//! What a queue is, seen from outside: name, incarnation, properties, counts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use lambfold_types::{QueueName, Scope, Timestamp};

use crate::engine::OwnerLink;
use crate::metrics::QueueStatistics;
use crate::store::QueueRow;

/// The kind of a queue, fixed at creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueueKind {
    /// At least once, best-effort order.
    #[default]
    Standard,
    /// In order within message groups, and sent exactly once.
    Fifo(DeduplicationScope),
}

impl QueueKind {
    /// Whether it keeps order.
    pub fn is_fifo(self) -> bool {
        matches!(self, Self::Fifo(_))
    }
}

/// Where a deduplication id has to be unique. AWS lets the attribute `DeduplicationScope` be changed, but goes on as the
/// queue was created (facts, SQS §6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeduplicationScope {
    /// In the queue.
    #[default]
    Queue,
    /// In the message's group.
    MessageGroup,
}

/// The settings that the engine itself acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// `DelaySeconds`
    pub delay: Duration,
    /// `VisibilityTimeout`
    pub visibility_timeout: Duration,
    /// `MessageRetentionPeriod`
    pub message_retention_period: Duration,
    /// `ReceiveMessageWaitTimeSeconds`
    pub receive_message_wait_time: Duration,
    /// `RedrivePolicy`
    pub redrive: Option<Redrive>,
}

/// Where messages go that were received too often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redrive {
    /// The dead-letter queue, of the same account and region. While it does not exist, messages stay.
    pub dead_letter_queue: QueueName,
    /// `maxReceiveCount`: after that many receives the next one moves the message.
    pub max_receive_count: u32,
}

impl Default for QueueSettings {
    /// AWS's defaults: no delay, 30 s, four days, no wait.
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            visibility_timeout: Duration::from_secs(30),
            message_retention_period: Duration::from_hours(96),
            receive_message_wait_time: Duration::ZERO,
            redrive: None,
        }
    }
}

/// All that can be set on a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueProperties {
    /// What the engine acts on.
    pub settings: QueueSettings,
    /// The attributes that the engine only keeps, such as `MaximumMessageSize`, `Policy`, `RedrivePolicy` or
    /// `KmsMasterKeyId`, under AWS's names, as the rules wrote them.
    pub attributes: BTreeMap<String, String>,
    /// Cost allocation tags.
    pub tags: BTreeMap<String, String>,
}

/// What a new queue is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewQueue {
    /// Fixed for the queue's life.
    pub kind: QueueKind,
    /// Settings, attributes and tags.
    pub properties: QueueProperties,
}

/// What came of a request to create a queue.
#[derive(Clone, Debug)]
pub enum CreateOutcome {
    /// It is new and durable.
    Created(Queue),
    /// A queue of that name exists. The caller compares the attributes that the request named.
    Exists(Queue),
}

/// One incarnation of a queue, found by name: what every message operation is addressed to. Cheap to clone; goes on
/// naming the same incarnation when the queue is deleted, and then answers [`crate::Error::NoSuchQueue`].
#[derive(Clone)]
pub struct Queue(Arc<Inner>);

struct Inner {
    scope: Scope,
    name: QueueName,
    incarnation: u64,
    kind: QueueKind,
    created_at: Timestamp,
    state: SharedState,
    link: OwnerLink,
    statistics: Arc<QueueStatistics>,
}

/// What can change of a queue, shared with its owner.
#[derive(Clone)]
pub(crate) struct SharedState(Arc<RwLock<State>>);

impl SharedState {
    pub(crate) fn new(properties: QueueProperties, modified_at: Timestamp) -> Self {
        Self(Arc::new(RwLock::new(State { properties: Arc::new(properties), modified_at })))
    }

    pub(crate) fn properties(&self) -> Arc<QueueProperties> {
        self.get().properties
    }

    fn get(&self) -> State {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, state: State) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

#[derive(Clone)]
struct State {
    properties: Arc<QueueProperties>,
    modified_at: Timestamp,
}

impl Queue {
    pub(crate) fn new(
        row: QueueRow,
        state: SharedState,
        link: OwnerLink,
        statistics: Arc<QueueStatistics>,
    ) -> Self {
        Self(Arc::new(Inner {
            scope: row.scope,
            name: row.name,
            incarnation: row.incarnation,
            kind: row.kind,
            created_at: row.created_at,
            state,
            link,
            statistics,
        }))
    }

    /// Account and region.
    pub fn scope(&self) -> &Scope {
        &self.0.scope
    }

    /// The name.
    pub fn name(&self) -> &QueueName {
        &self.0.name
    }

    /// The id of this incarnation; never reused, not even by a queue of the same name.
    pub fn incarnation(&self) -> u64 {
        self.0.incarnation
    }

    /// Standard (or FIFO).
    pub fn kind(&self) -> QueueKind {
        self.0.kind
    }

    /// `CreatedTimestamp`
    pub fn created_at(&self) -> Timestamp {
        self.0.created_at
    }

    /// `LastModifiedTimestamp`
    pub fn modified_at(&self) -> Timestamp {
        self.0.state.get().modified_at
    }

    /// The properties as of now.
    pub fn properties(&self) -> Arc<QueueProperties> {
        self.0.state.properties()
    }

    pub(crate) fn set_properties(&self, properties: QueueProperties, modified_at: Timestamp) {
        self.0.state.set(State { properties: Arc::new(properties), modified_at });
    }

    pub(crate) fn statistics(&self) -> &QueueStatistics {
        &self.0.statistics
    }

    pub(crate) fn link(&self) -> &OwnerLink {
        &self.0.link
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue({}/{}#{})", self.0.scope, self.0.name, self.0.incarnation)
    }
}

impl PartialEq for Queue {
    fn eq(&self, other: &Self) -> bool {
        self.0.incarnation == other.0.incarnation
    }
}

impl Eq for Queue {}

/// How many messages are in which state; exact, as of the moment it was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// `ApproximateNumberOfMessages`: a receive could return them.
    pub visible: u64,
    /// `ApproximateNumberOfMessagesNotVisible`
    pub in_flight: u64,
    /// `ApproximateNumberOfMessagesDelayed`
    pub delayed: u64,
}

/// A queue's properties and counts.
#[derive(Clone, Debug)]
pub struct QueueInfo {
    /// Settings, attributes and tags.
    pub properties: Arc<QueueProperties>,
    /// `CreatedTimestamp`
    pub created_at: Timestamp,
    /// `LastModifiedTimestamp`
    pub modified_at: Timestamp,
    /// Messages by state.
    pub counts: QueueCounts,
}
