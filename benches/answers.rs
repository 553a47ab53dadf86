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
    #[serde(borrow, rename = "MD5OfBody")]
    md5_of_body: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) receipt_handle: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) attributes: Option<Attributes<'a>>,
}

impl Message<'_> {
    /// Whether the body is the one that was digested.
    pub(crate) fn is_unharmed(&self) -> bool {
        self.md5_of_body == md5_of(&self.body)
    }
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

/// The answer of `SendMessage`, or an entry of a batch's.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sent<'a> {
    #[serde(borrow)]
    message_id: Cow<'a, str>,
    #[serde(borrow, rename = "MD5OfMessageBody")]
    md5_of_message_body: Cow<'a, str>,
}

impl Sent<'_> {
    fn is_of(&self, sample: &Sample) -> bool {
        !self.message_id.is_empty() && self.md5_of_message_body == sample.md5
    }
}

/// The answer of a batch: entries that succeeded.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch<E> {
    successful: Option<Vec<E>>,
}

/// How many messages a send of `sample` stored, by its answer; what comes back with another digest does not count.
pub(crate) fn stored(answer: &[u8], batch: usize, sample: &Sample) -> u64 {
    if batch == 1 {
        return serde_json::from_slice::<Sent<'_>>(answer).is_ok_and(|sent| sent.is_of(sample)).into();
    }
    let all = serde_json::from_slice::<Batch<Sent<'_>>>(answer).ok().and_then(|batch| batch.successful);
    all.unwrap_or_default().iter().filter(|sent| sent.is_of(sample)).count() as u64
}

/// How many entries of a batch succeeded.
pub(crate) fn successes(answer: &[u8]) -> serde_json::Result<u64> {
    let batch: Batch<IgnoredAny> = serde_json::from_slice(answer)?;
    Ok(batch.successful.map_or(0, |all| all.len() as u64))
}

/// A body that is sent again and again, and what must come back of it.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) body: String,
    md5: String,
}

impl Sample {
    /// A body of `bytes`.
    pub(crate) fn of(bytes: usize) -> Self {
        let body: String = "lambfold-".chars().cycle().take(bytes).collect();
        let md5 = md5_of(&body);
        Self { body, md5 }
    }

    /// Whether a message is this one, unharmed.
    pub(crate) fn is(&self, message: &Message<'_>) -> bool {
        message.body == self.body && message.md5_of_body == self.md5
    }
}

fn md5_of(body: &str) -> String {
    use md5::{Digest, Md5};
    format!("{:x}", Md5::digest(body))
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
