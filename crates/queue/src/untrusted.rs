//! The readers of what others wrote, and their writers, for the fuzz targets.

use bytes::Bytes;
use lambfold_api::CallContext;
use lambfold_types::{QueueName, Scope};
use uuid::Uuid;

use crate::message::{decode, encode};
use crate::sqs::{queue_url, receipt_handle};
use crate::{HandleParts, MacKeys, NewMessage};

/// What a receipt handle says, if one of `keys` has signed it.
pub fn read_receipt_handle(keys: &MacKeys, text: &str) -> Option<HandleParts> {
    receipt_handle::decode(keys, text).ok()
}

/// A receipt handle as clients get it.
pub fn write_receipt_handle(keys: &MacKeys, parts: &HandleParts) -> String {
    receipt_handle::encode(keys, parts)
}

/// The queue that a URL means, if it means one.
pub fn read_queue_url(ctx: &CallContext, url: &str) -> Option<(Scope, QueueName)> {
    queue_url::parse(ctx, url).ok()
}

/// The URL of a queue as clients get it.
pub fn write_queue_url(ctx: &CallContext, scope: &Scope, name: &QueueName) -> String {
    queue_url::render(ctx, scope, name)
}

/// A stored message: its id, and as it was sent.
pub fn read_record(record: Bytes) -> Option<(Uuid, NewMessage)> {
    let record = decode(record).ok()?;
    let message = NewMessage {
        body: record.body,
        attributes: record.attributes,
        md5_of_body: record.md5_of_body,
        system: record.system,
        delay: None,
    };
    Some((record.message_id, message))
}

/// A message as it is stored.
pub fn write_record(message_id: Uuid, message: &NewMessage) -> Bytes {
    encode(message_id, message).freeze()
}
