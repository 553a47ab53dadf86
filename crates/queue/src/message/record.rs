//! The stored form of a message: one compact, versioned record, which the store keeps sealed and never looks into.
//!
//! ```text
//! format u8 = 1 | message id 16 | md5 of body 16 | flags u8 | sender id s | [trace header s] | [group id s]
//!   | [dead letter source s] | [trace parent s] | [deduplication id s] | [first sent, decimal s] | attribute count u8 | { name s | type s | kind u8 | value l }*
//!   | body to the end
//! s = u16 length + bytes, l = u32 length + bytes, big endian
//! ```

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use lambfold_types::Timestamp;
use uuid::Uuid;

use super::{AttributeValue, MessageAttribute, NewMessage, SystemAttributes};

const FORMAT: u8 = 1;
const KIND_STRING: u8 = 1;
const KIND_BINARY: u8 = 2;

/// A decoded record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) message_id: Uuid,
    pub(crate) md5_of_body: [u8; 16],
    pub(crate) system: SystemAttributes,
    pub(crate) attributes: BTreeMap<String, MessageAttribute>,
    pub(crate) body: Bytes,
}

/// A stored record that this version cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored message cannot be decoded")]
pub(crate) struct RecordError;

/// Encodes `message`. Texts longer than their length field are cut off; the rules allow none so long.
pub(crate) fn encode(message_id: Uuid, message: &NewMessage) -> BytesMut {
    let attributes: usize = message
        .attributes
        .iter()
        .map(|(name, a)| name.len() + a.data_type.len() + value_bytes(&a.value).len() + 9)
        .sum();
    let mut out = BytesMut::with_capacity(128 + attributes + message.body.len());
    out.put_u8(FORMAT);
    out.put_slice(message_id.as_bytes());
    out.put_slice(&message.md5_of_body);
    let first_sent_at = message.system.first_sent_at.map(|at| at.millis().to_string());
    let optional = optional_texts(&message.system, first_sent_at.as_deref());
    let flags =
        optional.iter().enumerate().fold(0u8, |flags, (bit, text)| flags | (u8::from(text.is_some()) << bit));
    out.put_u8(flags);
    put_text(&mut out, &message.system.sender_id);
    for text in optional.into_iter().flatten() {
        put_text(&mut out, text);
    }
    let count = u8::try_from(message.attributes.len()).unwrap_or(u8::MAX);
    out.put_u8(count);
    for (name, attribute) in message.attributes.iter().take(count.into()) {
        put_text(&mut out, name);
        put_text(&mut out, &attribute.data_type);
        out.put_u8(match attribute.value {
            AttributeValue::String(_) => KIND_STRING,
            AttributeValue::Binary(_) => KIND_BINARY,
        });
        let value = value_bytes(&attribute.value);
        out.put_u32(u32::try_from(value.len()).expect("a message is far below 4 GiB"));
        out.put_slice(value);
    }
    out.put_slice(&message.body);
    out
}

/// Decodes what [`encode`] made; body and binary values share the record's memory.
pub(crate) fn decode(mut record: Bytes) -> Result<Record, RecordError> {
    let mut from = &record[..];
    if take(&mut from, 1)?[0] != FORMAT {
        return Err(RecordError);
    }
    let message_id = Uuid::from_slice(take(&mut from, 16)?).map_err(|_| RecordError)?;
    let md5_of_body = take(&mut from, 16)?.try_into().map_err(|_| RecordError)?;
    let flags = take(&mut from, 1)?[0];
    let sender_id = text(&mut from)?;
    let mut optional = |bit: u8| if flags & (1 << bit) == 0 { Ok(None) } else { text(&mut from).map(Some) };
    let system = SystemAttributes {
        sender_id,
        aws_trace_header: optional(0)?,
        message_group_id: optional(1)?,
        dead_letter_queue_source_arn: optional(2)?,
        trace_parent: optional(3)?,
        message_deduplication_id: optional(4)?,
        first_sent_at: match optional(5)? {
            Some(millis) => Some(Timestamp::from_millis(millis.parse().map_err(|_| RecordError)?)),
            None => None,
        },
    };
    let mut attributes = BTreeMap::new();
    for _ in 0..take(&mut from, 1)?[0] {
        let name = text(&mut from)?;
        let data_type = text(&mut from)?;
        let kind = take(&mut from, 1)?[0];
        let len = take(&mut from, 4)?.get_u32();
        let value = take(&mut from, usize::try_from(len).map_err(|_| RecordError)?)?;
        let value = match kind {
            KIND_STRING => AttributeValue::String(utf8(value)?),
            KIND_BINARY => AttributeValue::Binary(record.slice_ref(value)),
            _ => return Err(RecordError),
        };
        attributes.insert(name, MessageAttribute { data_type, value });
    }
    // What is left of it.
    record.advance(record.len() - from.len());
    Ok(Record { message_id, md5_of_body, system, attributes, body: record })
}

/// The record with another source of a dead letter, and when it was sent if the queue does not keep that; `None` if it
/// cannot be decoded.
pub(crate) fn set_dead_letter_source(
    from: Bytes,
    source_arn: &str,
    sent_at: Option<Timestamp>,
) -> Option<BytesMut> {
    let Record { message_id, md5_of_body, mut system, attributes, body } = decode(from).ok()?;
    system.dead_letter_queue_source_arn = Some(source_arn.to_owned());
    system.first_sent_at = system.first_sent_at.or(sent_at);
    Some(encode(message_id, &NewMessage { body, attributes, md5_of_body, system, delay: None }))
}

/// In the order of their flag bits.
fn optional_texts<'a>(system: &'a SystemAttributes, first_sent_at: Option<&'a str>) -> [Option<&'a str>; 6] {
    [
        system.aws_trace_header.as_deref(),
        system.message_group_id.as_deref(),
        system.dead_letter_queue_source_arn.as_deref(),
        system.trace_parent.as_deref(),
        system.message_deduplication_id.as_deref(),
        first_sent_at,
    ]
}

fn value_bytes(value: &AttributeValue) -> &[u8] {
    match value {
        AttributeValue::String(text) => text.as_bytes(),
        AttributeValue::Binary(bytes) => bytes,
    }
}

fn put_text(out: &mut BytesMut, text: &str) {
    let mut end = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.put_u16(u16::try_from(end).unwrap_or(u16::MAX));
    out.put_slice(&text.as_bytes()[..end]);
}

fn take<'a>(from: &mut &'a [u8], len: usize) -> Result<&'a [u8], RecordError> {
    from.split_off(..len).ok_or(RecordError)
}

fn text(from: &mut &[u8]) -> Result<String, RecordError> {
    let len = take(from, 2)?.get_u16();
    utf8(take(from, len.into())?)
}

fn utf8(bytes: &[u8]) -> Result<String, RecordError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| RecordError)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> NewMessage {
        let text = |v: &str| MessageAttribute {
            data_type: "String".into(),
            value: AttributeValue::String(v.into()),
        };
        let binary = MessageAttribute {
            data_type: "Binary.png".into(),
            value: AttributeValue::Binary(Bytes::from_static(&[0, 255, 7])),
        };
        NewMessage {
            body: "grüße".into(),
            attributes: [("a".to_owned(), text("x")), ("b".to_owned(), binary)].into(),
            md5_of_body: [9; 16],
            system: SystemAttributes {
                sender_id: "AIDA".into(),
                aws_trace_header: Some("Root=1".into()),
                message_group_id: None,
                message_deduplication_id: Some("d-1".into()),
                first_sent_at: Some(Timestamp::from_millis(77)),
                dead_letter_queue_source_arn: None,
                trace_parent: Some("00-x".into()),
            },
            delay: None,
        }
    }

    #[test]
    fn records_survive_a_round_trip() {
        for message in [full(), NewMessage::default()] {
            let id = Uuid::from_u128(77);
            let record = decode(encode(id, &message).freeze()).unwrap();
            let expected = Record {
                message_id: id,
                md5_of_body: message.md5_of_body,
                system: message.system,
                attributes: message.attributes,
                body: message.body,
            };
            assert_eq!(record, expected);
        }
    }

    #[test]
    fn what_is_cut_short_is_refused_or_only_shortens_the_body() {
        let message = full();
        let bytes = encode(Uuid::nil(), &message).freeze();
        let head = bytes.len() - message.body.len();
        for len in 0..head {
            assert_eq!(decode(bytes.slice(..len)).map(|_| ()), Err(RecordError), "{len}");
        }
        assert_eq!(decode(Bytes::from_static(&[2; 64])), Err(RecordError));
    }
}
