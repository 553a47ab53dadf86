//! Messages and receipt handles as callers of the engine see them.

mod deduplication;
mod group;
mod record;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use lambfold_types::Timestamp;
use uuid::Uuid;

pub(crate) use deduplication::{attempt_digest, deduplication_digest};
pub(crate) use group::{group_of, group_prefix, seal, with_group, without_group};
pub(crate) use record::{decode, encode, set_dead_letter_source};

/// The value of a message attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// Of the types `String` and `Number`.
    String(String),
    /// Of the type `Binary`.
    Binary(Bytes),
}

/// A message attribute: its type with custom label (`Number.int`), and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageAttribute {
    /// `String`, `Number` or `Binary`, with `.label` if there is one.
    pub data_type: String,
    /// The value.
    pub value: AttributeValue,
}

/// What is stored with a message beside body and attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemAttributes {
    /// `SenderId`
    pub sender_id: String,
    /// `AWSTraceHeader`
    pub aws_trace_header: Option<String>,
    /// `MessageGroupId`; on a standard queue it gives no order.
    pub message_group_id: Option<String>,
    /// `MessageDeduplicationId`, of messages of FIFO queues: given, or made of the body.
    pub message_deduplication_id: Option<String>,
    /// `SentTimestamp`, if that is not when the message came into its queue: in a dead-letter queue that is FIFO.
    pub first_sent_at: Option<Timestamp>,
    /// `DeadLetterQueueSourceArn`, once a message has been moved.
    pub dead_letter_queue_source_arn: Option<String>,
    /// W3C `traceparent` of the sender's span; the poller links to it. Not visible to AWS clients.
    pub trace_parent: Option<String>,
}

/// A message to be stored. The rules have checked it and computed the digests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewMessage {
    /// UTF-8 text within AWS's character set.
    pub body: Bytes,
    /// At most ten.
    pub attributes: BTreeMap<String, MessageAttribute>,
    /// MD5 of the body.
    pub md5_of_body: [u8; 16],
    /// Sender, trace header and such.
    pub system: SystemAttributes,
    /// `DelaySeconds` of the message; `None` takes the queue's.
    pub delay: Option<Duration>,
}

impl NewMessage {
    /// What counts towards the limit: bytes of the body, and of names, types and values of the attributes.
    pub fn size(&self) -> usize {
        self.body.len() + self.attributes.iter().map(|(name, it)| it.size(name)).sum::<usize>()
    }
}

impl MessageAttribute {
    /// What it counts towards the size of its message, under that name.
    pub fn size(&self, name: &str) -> usize {
        let value = match &self.value {
            AttributeValue::String(text) => text.len(),
            AttributeValue::Binary(bytes) => bytes.len(),
        };
        name.len() + self.data_type.len() + value
    }
}

/// A message that is durable now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// `MessageId`
    pub message_id: Uuid,
    /// Its place in the queue: rises within a shard, never reused.
    pub sequence: u64,
    /// The queue had it already; this is what it was answered then.
    pub is_duplicate: bool,
    /// `SentTimestamp`
    pub sent_at: Timestamp,
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageState {
    /// A receive could return it, unless others of its group come first.
    Visible,
    /// Not yet visible since it was sent.
    Delayed,
    /// With a receiver.
    InFlight,
    /// On its way to another queue.
    Moving,
}

/// A page of messages that were looked at, by rising sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peeked {
    /// The messages, whose handles are good for nothing.
    pub messages: Vec<(Received, MessageState)>,
    /// The sequence to go on behind; `None` at the end.
    pub next: Option<u64>,
}

/// How to receive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceiveParams {
    /// `MaxNumberOfMessages`, 1 to 10; the poller of an event source mapping may ask for more.
    pub max_messages: usize,
    /// `VisibilityTimeout`; `None` takes the queue's.
    pub visibility_timeout: Option<Duration>,
    /// `WaitTimeSeconds`; `None` takes the queue's. Zero is a short poll.
    pub wait_time: Option<Duration>,
    /// `ReceiveRequestAttemptId`, for FIFO queues only.
    pub attempt_id: Option<String>,
}

/// What a receipt handle says. The rules turn it into text, under a MAC, and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandleParts {
    /// [`crate::Queue::incarnation`] of the queue.
    pub incarnation: u64,
    /// The shard of the queue that holds the message.
    pub shard: u16,
    /// The epoch of the owner that handed the message out; rises at every start.
    pub epoch: u64,
    /// The message's sequence within the shard.
    pub sequence: u64,
    /// The how-manieth receive of the message it was, from 1.
    pub receive_number: u32,
}

/// A message handed to a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// `MessageId`
    pub message_id: Uuid,
    /// The receipt handle of this receive.
    pub handle: HandleParts,
    /// The body as it was sent.
    pub body: Bytes,
    /// All message attributes, whether asked for or not.
    pub attributes: BTreeMap<String, MessageAttribute>,
    /// `MD5OfBody`
    pub md5_of_body: [u8; 16],
    /// Sender, trace header and such.
    pub system: SystemAttributes,
    /// `SentTimestamp`
    pub sent_at: Timestamp,
    /// `ApproximateReceiveCount`, this receive included.
    pub receive_count: u32,
    /// `ApproximateFirstReceiveTimestamp`
    pub first_received_at: Timestamp,
    /// When the message becomes visible again unless it is deleted or its visibility changed.
    pub visible_at: Timestamp,
}
