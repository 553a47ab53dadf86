//! The parts of SQS's answers that the generator looks at, and the requests that it makes of them. Typed rather than
//! as trees of JSON: what the generator spends is taken from what it measures.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// The answer of `ReceiveMessage`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Received<'a> {
    #[serde(borrow)]
    messages: Option<Vec<Message<'a>>>,
}

impl<'a> Received<'a> {
    /// The messages; none of an answer without any.
    pub(crate) fn parse(answer: &'a [u8]) -> serde_json::Result<Vec<Message<'a>>> {
        Ok(serde_json::from_slice::<Self>(answer)?.messages.unwrap_or_default())
    }
}

/// A message that was received.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Message<'a> {
    #[serde(borrow)]
    pub(crate) body: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) receipt_handle: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) attributes: Option<Attributes<'a>>,
}

/// What a FIFO queue tells of a message.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Attributes<'a> {
    #[serde(borrow)]
    pub(crate) message_group_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) message_deduplication_id: Option<Cow<'a, str>>,
}

/// The answer of a batch: entries that succeeded.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Batch {
    successful: Option<Vec<IgnoredAny>>,
}

impl Batch {
    /// How many entries succeeded.
    pub(crate) fn successes(answer: &[u8]) -> serde_json::Result<u64> {
        Ok(serde_json::from_slice::<Self>(answer)?.successful.map_or(0, |all| all.len() as u64))
    }
}

/// `SendMessage`, or an entry of `SendMessageBatch`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Send<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue_url: Option<&'a str>,
    pub(crate) message_body: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message_group_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message_deduplication_id: Option<String>,
}

/// `DeleteMessage`, or an entry of `DeleteMessageBatch`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Delete<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue_url: Option<&'a str>,
    pub(crate) receipt_handle: &'a str,
}

/// A batch of either.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Entries<'a, E> {
    pub(crate) queue_url: &'a str,
    pub(crate) entries: Vec<E>,
}
