//! The event that a function gets: messages in the shape that AWS gives them (facts: Lambda API §9, SQS event).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use lambfold_api::sqs;
use lambfold_types::Arn;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// The largest event: what a synchronous invocation takes (AWS: 6 MB).
pub(crate) const MAX_EVENT_BYTES: usize = 6 * 1024 * 1024;

const HEAD: &[u8] = br#"{"Records":["#;
const TAIL: &[u8] = b"]}";

/// One message as JSON.
pub(crate) fn record(message: &sqs::Message, queue: &Arn) -> Bytes {
    let record = Record {
        message_id: message.message_id.as_deref().unwrap_or_default(),
        receipt_handle: message.receipt_handle.as_deref().unwrap_or_default(),
        body: message.body.as_deref().unwrap_or_default(),
        attributes: SystemAttributes(&message.attributes),
        message_attributes: MessageAttributes(&message.message_attributes),
        md5_of_message_attributes: message.md5_of_message_attributes.as_deref(),
        md5_of_body: message.md5_of_body.as_deref().unwrap_or_default(),
        event_source: "aws:sqs",
        event_source_arn: queue.to_string(),
        aws_region: queue.scope.region.as_str(),
    };
    serde_json::to_vec(&record).expect("strings and maps with string keys always become JSON").into()
}

/// Bytes of an event of `records` records that are `record_bytes` long together.
pub(crate) const fn event_bytes(records: usize, record_bytes: usize) -> usize {
    HEAD.len() + TAIL.len() + record_bytes + records.saturating_sub(1)
}

/// The event of these records.
pub(crate) fn event<'a>(records: impl Iterator<Item = &'a Bytes> + Clone) -> Bytes {
    let (count, length) =
        records.clone().fold((0, 0), |(count, length), record| (count + 1, length + record.len()));
    let mut event = BytesMut::with_capacity(event_bytes(count, length));
    event.put_slice(HEAD);
    for (index, record) in records.enumerate() {
        if index > 0 {
            event.put_u8(b',');
        }
        event.put_slice(record);
    }
    event.put_slice(TAIL);
    event.freeze()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    message_id: &'a str,
    receipt_handle: &'a str,
    body: &'a str,
    attributes: SystemAttributes<'a>,
    message_attributes: MessageAttributes<'a>,
    /// Absent without message attributes.
    #[serde(skip_serializing_if = "Option::is_none")]
    md5_of_message_attributes: Option<&'a str>,
    md5_of_body: &'a str,
    event_source: &'static str,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: String,
    aws_region: &'a str,
}

struct SystemAttributes<'a>(&'a BTreeMap<String, String>);

/// The order in which AWS's own sample events have them; what else there is comes behind.
const ORDER: [&str; 9] = [
    "ApproximateReceiveCount",
    "AWSTraceHeader",
    "SentTimestamp",
    "SequenceNumber",
    "MessageGroupId",
    "SenderId",
    "MessageDeduplicationId",
    "ApproximateFirstReceiveTimestamp",
    "DeadLetterQueueSourceArn",
];

impl Serialize for SystemAttributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for name in ORDER {
            if let Some(value) = self.0.get(name) {
                map.serialize_entry(name, value)?;
            }
        }
        for (name, value) in self.0.iter().filter(|(name, _)| !ORDER.contains(&name.as_str())) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

struct MessageAttributes<'a>(&'a BTreeMap<String, sqs::MessageAttributeValue>);

impl Serialize for MessageAttributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| {
            let value = AttributeValue {
                string_value: value.string_value.as_deref(),
                binary_value: value.binary_value.as_ref().map(|bytes| STANDARD.encode(bytes)),
                string_list_values: &value.string_list_values,
                binary_list_values: value.binary_list_values.iter().map(|it| STANDARD.encode(it)).collect(),
                data_type: value.data_type.as_deref().unwrap_or_default(),
            };
            (name, value)
        }))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AttributeValue<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    string_value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_value: Option<String>,
    string_list_values: &'a [String],
    binary_list_values: Vec<String>,
    data_type: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> sqs::Message {
        sqs::Message {
            message_id: Some("059f36b4-87a3-44ab-83d2-661975830a7d".into()),
            receipt_handle: Some("AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a".into()),
            body: Some("Test \"message\".\n".into()),
            md5_of_body: Some("e4e68fb7bd0e697a0ae8f1bb342846b3".into()),
            attributes: [
                ("SentTimestamp", "1545082649183"),
                ("SenderId", "AIDAIENQZJOLO23YVJ4VO"),
                ("ApproximateReceiveCount", "1"),
                ("ApproximateFirstReceiveTimestamp", "1545082649185"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            ..sqs::Message::default()
        }
    }

    fn queue() -> Arn {
        "arn:aws:sqs:us-east-2:123456789012:my-queue".parse().unwrap()
    }

    #[test]
    fn a_plain_message_is_what_aws_shows() {
        let event = event([&record(&message(), &queue())].into_iter());
        let expected = concat!(
            r#"{"Records":[{"messageId":"059f36b4-87a3-44ab-83d2-661975830a7d","#,
            r#""receiptHandle":"AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a","body":"Test \"message\".\n","#,
            r#""attributes":{"ApproximateReceiveCount":"1","SentTimestamp":"1545082649183","#,
            r#""SenderId":"AIDAIENQZJOLO23YVJ4VO","ApproximateFirstReceiveTimestamp":"1545082649185"},"#,
            r#""messageAttributes":{},"md5OfBody":"e4e68fb7bd0e697a0ae8f1bb342846b3","#,
            r#""eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:us-east-2:123456789012:my-queue","#,
            r#""awsRegion":"us-east-2"}]}"#,
        );
        assert_eq!(event, expected);
    }

    #[test]
    fn attributes_of_every_kind_are_shown() {
        let mut message = message();
        message.attributes.extend(
            [("AWSTraceHeader", "Root=1-2-3"), ("MessageGroupId", "g"), ("Later", "x")]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        message.md5_of_message_attributes = Some("a311262e065454b75da111d535b8dacd".into());
        let text = sqs::MessageAttributeValue {
            string_value: Some("There".into()),
            data_type: Some("String.greeting".into()),
            ..sqs::MessageAttributeValue::default()
        };
        let binary = sqs::MessageAttributeValue {
            binary_value: Some(Bytes::from_static(&[0, 255, 16])),
            data_type: Some("Binary".into()),
            ..sqs::MessageAttributeValue::default()
        };
        message.message_attributes = [("Hello".to_owned(), text), ("Bin".to_owned(), binary)].into();
        let record = record(&message, &queue());
        let text = std::str::from_utf8(&record).unwrap();
        let shown = concat!(
            r#""attributes":{"ApproximateReceiveCount":"1","AWSTraceHeader":"Root=1-2-3","#,
            r#""SentTimestamp":"1545082649183","MessageGroupId":"g","SenderId":"AIDAIENQZJOLO23YVJ4VO","#,
            r#""ApproximateFirstReceiveTimestamp":"1545082649185","Later":"x"},"messageAttributes":{"#,
            r#""Bin":{"binaryValue":"AP8Q","stringListValues":[],"binaryListValues":[],"dataType":"Binary"},"#,
            r#""Hello":{"stringValue":"There","stringListValues":[],"binaryListValues":[],"#,
            r#""dataType":"String.greeting"}},"#,
            r#""md5OfMessageAttributes":"a311262e065454b75da111d535b8dacd","md5OfBody":"#,
        );
        assert!(text.contains(shown), "{text}");
    }

    #[test]
    fn the_size_is_known_before_the_event_is_built() {
        let record = record(&message(), &queue());
        for count in 0..4 {
            let records = vec![record.clone(); count];
            assert_eq!(event(records.iter()).len(), event_bytes(count, count * record.len()));
        }
        let parsed: serde_json::Value =
            serde_json::from_slice(&event([&record, &record].into_iter())).unwrap();
        assert_eq!(parsed["Records"].as_array().unwrap().len(), 2);
    }
}
