//! What a message may be: characters, sizes, attributes (facts, SQS §5.1, §5.2).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use lambfold_api::sqs::{ErrorCode, MessageAttributeValue, MessageSystemAttributeValue};
use lambfold_api::{CallContext, Fault};

use sha2::{Digest, Sha256};

use super::digest::{self, Attribute, Value};
use super::{attributes, faults, number};
use crate::{AttributeValue, MessageAttribute, NewMessage, Queue, SystemAttributes};

/// The system attribute that a sender may set.
pub(super) const TRACE_HEADER: &str = "AWSTraceHeader";
const MOST_ATTRIBUTES: usize = 10;

/// The members that a single send and a batch entry share.
pub(super) struct Draft {
    pub(super) body: Option<String>,
    pub(super) delay_seconds: Option<i32>,
    pub(super) attributes: BTreeMap<String, MessageAttributeValue>,
    pub(super) system_attributes: BTreeMap<String, MessageSystemAttributeValue>,
    pub(super) deduplication_id: Option<String>,
    pub(super) group_id: Option<String>,
}

/// A message that may be stored, with the digests that its sender is answered.
pub(super) struct Checked {
    pub(super) message: NewMessage,
    pub(super) md5_of_attributes: Option<String>,
    pub(super) md5_of_system_attributes: Option<String>,
}

/// Whether the draft came by itself or in a batch: one text differs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Single,
    Entry,
}

/// What a queue asks of its messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// `MaximumMessageSize`, inclusive.
    limit: usize,
    is_fifo: bool,
    content_based_deduplication: bool,
}

impl Terms {
    pub(super) fn of(queue: &Queue) -> Self {
        let properties = queue.properties();
        Self {
            limit: attributes::maximum_message_size(&properties),
            is_fifo: queue.kind().is_fifo(),
            content_based_deduplication: attributes::content_based_deduplication(&properties),
        }
    }

    /// Refuses what lacks the ids that a FIFO queue needs. A batch is refused whole, with another code.
    pub(super) fn check_ids(
        &self,
        group_id: Option<&String>,
        deduplication_id: Option<&String>,
        form: Form,
    ) -> Result<(), Fault> {
        if !self.is_fifo {
            return Ok(());
        }
        if group_id.is_none() {
            let fault = faults::missing("MessageGroupId");
            return Err(match form {
                Form::Single => fault,
                Form::Entry => faults::invalid_parameter(fault.message()),
            });
        }
        if deduplication_id.is_none() && !self.content_based_deduplication {
            return Err(faults::invalid_parameter(
                "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
            ));
        }
        Ok(())
    }
}

/// `SequenceNumber` of a FIFO queue's message: twenty digits (facts, SQS §6.2).
pub(super) fn sequence_number(sequence: u64) -> String {
    const FIRST: u64 = 10_000_000_000_000_000_000;
    (FIRST + sequence).to_string()
}

/// Checks a draft for a queue of these terms.
pub(super) fn check(ctx: &CallContext, draft: Draft, terms: &Terms, form: Form) -> Result<Checked, Fault> {
    let limit = terms.limit;
    terms.check_ids(draft.group_id.as_ref(), draft.deduplication_id.as_ref(), form)?;
    let body = draft.body.filter(|body| !body.is_empty()).ok_or_else(|| faults::missing("MessageBody"))?;
    let attributes = message_attributes(draft.attributes)?;
    let size = body.len() + attributes.iter().map(|(name, attribute)| attribute.size(name)).sum::<usize>();
    if size > limit {
        let what = match form {
            Form::Single => "are invalid",
            Form::Entry => "cannot be validated",
        };
        return Err(faults::invalid_parameter(format!(
            "One or more parameters {what}. Reason: Message must be shorter than {limit} bytes."
        )));
    }
    if !legal(&body) {
        return Err(faults::invalid_characters());
    }
    let mut delay = draft.delay_seconds.map(delay).transpose()?;
    if terms.is_fifo {
        if let Some(delay) = delay.filter(|delay| !delay.is_zero()) {
            let reason = "The request include parameter that is not valid for this queue type.";
            return Err(faults::invalid_value(&delay.as_secs().to_string(), "DelaySeconds", reason));
        }
        // Zero is taken, and the queue's delay applies all the same.
        delay = None;
        check_id("MessageDeduplicationId", draft.deduplication_id.as_ref())?;
    } else if let Some(id) = &draft.deduplication_id {
        let reason = "The request includes a parameter that is not valid for this queue type.";
        return Err(faults::invalid_value(id, "MessageDeduplicationId", reason));
    }
    check_id("MessageGroupId", draft.group_id.as_ref())?;
    let content_based = || terms.is_fifo.then(|| digest::text::<32>(Sha256::digest(body.as_bytes()).into()));
    let deduplication_id = draft.deduplication_id.or_else(content_based);
    let (sent_trace_header, md5_of_system_attributes) = system_attributes(&draft.system_attributes)?;
    let trace = ctx.trace.filter(|trace| trace.sampled);
    Ok(Checked {
        md5_of_attributes: digest(&attributes),
        md5_of_system_attributes,
        message: NewMessage {
            md5_of_body: digest::body(body.as_bytes()),
            body: Bytes::from(body),
            attributes,
            system: SystemAttributes {
                sender_id: ctx.principal.to_string(),
                aws_trace_header: sent_trace_header
                    .or_else(|| ctx.trace_header.as_deref().map(str::to_owned))
                    .or_else(|| trace.map(lambfold_api::TraceContext::to_amzn)),
                message_group_id: draft.group_id,
                message_deduplication_id: deduplication_id,
                first_sent_at: None,
                dead_letter_queue_source_arn: None,
                trace_parent: trace.map(lambfold_api::TraceContext::to_traceparent),
            },
            delay,
        },
    })
}

/// The digest of message attributes; `None` if there are none.
pub(super) fn digest(attributes: &BTreeMap<String, MessageAttribute>) -> Option<String> {
    digest::attributes(attributes.iter().map(|(name, attribute)| Attribute {
        name,
        data_type: &attribute.data_type,
        value: match &attribute.value {
            AttributeValue::String(text) => Value::Text(text),
            AttributeValue::Binary(bytes) => Value::Binary(bytes),
        },
    }))
}

fn delay(seconds: i32) -> Result<Duration, Fault> {
    match u64::try_from(seconds) {
        Ok(seconds @ 0..=900) => Ok(Duration::from_secs(seconds)),
        _ => Err(faults::invalid_value(
            &seconds.to_string(),
            "DelaySeconds",
            "DelaySeconds must be >= 0 and <= 900.",
        )),
    }
}

fn message_attributes(
    given: BTreeMap<String, MessageAttributeValue>,
) -> Result<BTreeMap<String, MessageAttribute>, Fault> {
    if given.len() > MOST_ATTRIBUTES {
        return Err(faults::invalid_parameter(format!(
            "Number of message attributes [{}] exceeds the allowed maximum [{MOST_ATTRIBUTES}].",
            given.len()
        )));
    }
    given
        .into_iter()
        .map(|(name, value)| {
            check_name(&name)?;
            let attribute = attribute(&name, value)?;
            Ok((name, attribute))
        })
        .collect()
}

fn check_name(name: &str) -> Result<(), Fault> {
    if name.is_empty() {
        return Err(faults::invalid_parameter("The request must contain non-empty message attribute name."));
    }
    if name.chars().count() > 256 {
        return Err(faults::invalid_parameter(
            "Message (user) attribute names must be shorter than 256 Bytes",
        ));
    }
    // AWS lets accented Latin letters through as well.
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '\u{c0}'..='\u{24f}');
    if !name.chars().all(legal) {
        return Err(faults::invalid_parameter(
            "Message (user) attributes name can only contain upper and lower score characters, digits, periods, \
             hyphens and underscores.",
        ));
    }
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("aws.")
        || lower.starts_with("amazon.")
        || name.starts_with('.')
        || name.ends_with('.')
        || name.contains("..")
    {
        return Err(faults::invalid_parameter(
            "You can't use message attribute names beginning with 'AWS.' or 'Amazon.'. These strings are reserved for \
             internal use. Additionally, they cannot start or end with '.'.",
        ));
    }
    Ok(())
}

fn attribute(name: &str, value: MessageAttributeValue) -> Result<MessageAttribute, Fault> {
    let data_type = value.data_type.unwrap_or_default();
    if data_type.chars().count() > 256 {
        return Err(faults::invalid_parameter(
            "Message (user) attribute types must be shorter than 256 Bytes",
        ));
    }
    if !value.string_list_values.is_empty() || !value.binary_list_values.is_empty() {
        return Err(Fault::new(
            ErrorCode::UnsupportedOperation,
            "Message attribute list values in SendMessage operation are not supported.",
        ));
    }
    if data_type.is_empty() {
        return Err(faults::invalid_parameter(format!(
            "The message attribute '{name}' must contain non-empty message attribute type."
        )));
    }
    let prefix = data_type.split('.').next().unwrap_or_default();
    let empty = |kind: &str| {
        faults::invalid_parameter(format!(
            "Message (user) attribute '{name}' must contain a non-empty value of type '{kind}'."
        ))
    };
    let value = match prefix {
        "String" | "Number" => {
            let text = value.string_value.filter(|text| !text.is_empty()).ok_or_else(|| empty("String"))?;
            if !legal(&text) {
                return Err(faults::invalid_parameter(faults::invalid_characters().message()));
            }
            if prefix == "Number" && !number::is_number(&text) {
                return Err(faults::invalid_parameter(format!(
                    "Can't cast the value of message (user) attribute '{name}' to a number."
                )));
            }
            AttributeValue::String(text)
        }
        "Binary" => {
            let bytes =
                value.binary_value.filter(|bytes| !bytes.is_empty()).ok_or_else(|| empty("Binary"))?;
            AttributeValue::Binary(bytes)
        }
        _ => {
            return Err(faults::invalid_parameter(format!(
                "The type of message (user) attribute '{name}' is invalid. You must use only the following supported \
                 type prefixes: Binary, Number, String."
            )));
        }
    };
    Ok(MessageAttribute { data_type, value })
}

fn system_attributes(
    given: &BTreeMap<String, MessageSystemAttributeValue>,
) -> Result<(Option<String>, Option<String>), Fault> {
    let mut header = None;
    for (name, value) in given {
        if name != TRACE_HEADER {
            return Err(faults::invalid_parameter(format!(
                "Message system attribute '{name}' is invalid. The only supported one is '{TRACE_HEADER}'."
            )));
        }
        if value.data_type.as_deref() != Some("String") {
            return Err(faults::invalid_parameter(format!(
                "The type of message (system) attribute '{name}' is invalid. You must use only the following supported \
                 type prefixes: String."
            )));
        }
        let text = value.string_value.as_deref().filter(|text| !text.is_empty() && legal(text)).ok_or_else(
            || {
                faults::invalid_parameter(format!(
                    "Message (system) attribute '{name}' must contain a non-empty value of type 'String'."
                ))
            },
        )?;
        header = Some(text.to_owned());
    }
    let digest = digest::attributes(header.iter().map(|text| Attribute {
        name: TRACE_HEADER,
        data_type: "String",
        value: Value::Text(text),
    }));
    Ok((header, digest))
}

/// The characters that XML 1.0 can carry.
fn legal(text: &str) -> bool {
    // Most bodies are plain ASCII: look at bytes first.
    text.bytes().all(|b| (0x20..0x80).contains(&b) || matches!(b, 9 | 10 | 13))
        || text.chars().all(
            |c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..),
        )
}

fn check_id(parameter: &str, id: Option<&String>) -> Result<(), Fault> {
    match id.filter(|id| !is_id(id)) {
        None => Ok(()),
        Some(id) => {
            let reason = format!(
                "{parameter} can only include alphanumeric and punctuation characters. 1 to 128 in length."
            );
            Err(faults::invalid_value(id, parameter, &reason))
        }
    }
}

/// Group, deduplication and attempt ids: 1 to 128 visible ASCII characters.
pub(super) fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use lambfold_types::Scope;
    use uuid::Uuid;

    use super::*;

    fn draft(body: &str) -> Draft {
        Draft {
            body: Some(body.to_owned()),
            delay_seconds: None,
            attributes: BTreeMap::new(),
            system_attributes: BTreeMap::new(),
            deduplication_id: None,
            group_id: None,
        }
    }

    fn refusal(draft: Draft) -> String {
        let ctx = CallContext::internal(Scope::default(), Uuid::nil());
        let terms = Terms { limit: 1024, is_fifo: false, content_based_deduplication: false };
        match check(&ctx, draft, &terms, Form::Single) {
            Ok(_) => "accepted".to_owned(),
            Err(fault) => format!("{}: {}", fault.query_code(), fault.message()),
        }
    }

    fn with(name: &str, data_type: &str, text: &str) -> Draft {
        let value = MessageAttributeValue {
            data_type: Some(data_type.to_owned()),
            string_value: Some(text.to_owned()),
            ..Default::default()
        };
        Draft { attributes: BTreeMap::from([(name.to_owned(), value)]), ..draft("x") }
    }

    #[test]
    fn the_limit_is_inclusive_and_counts_attributes() {
        assert_eq!(refusal(draft(&"x".repeat(1024))), "accepted");
        let text = "InvalidParameterValue: One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes.";
        assert_eq!(refusal(draft(&"x".repeat(1025))), text);
        let mut full = with("n", "String", "v");
        full.body = Some("x".repeat(1024 - 8));
        assert_eq!(refusal(full), "accepted");
        let mut over = with("n", "String", "v");
        over.body = Some("x".repeat(1024 - 7));
        assert_eq!(refusal(over), text);
    }

    #[test]
    fn characters_that_xml_cannot_carry_are_refused() {
        assert_eq!(refusal(draft("tab\tnewline\n\r\u{1F600}\u{e000}")), "accepted");
        for bad in ["\0", "a\u{b}b", "\u{fffe}", "\u{ffff}"] {
            assert!(
                refusal(draft(bad)).starts_with("InvalidMessageContents: Invalid characters found."),
                "{bad:?}"
            );
        }
        assert_eq!(
            refusal(draft("")),
            "MissingParameter: The request must contain the parameter MessageBody."
        );
    }

    #[test]
    fn attributes_have_the_words_of_aws() {
        assert_eq!(refusal(with("Zähler.a-b_c", "Number.int", "-1.5e3")), "accepted");
        for (name, data_type, text, words) in [
            (
                "n",
                "String",
                "",
                "Message (user) attribute 'n' must contain a non-empty value of type 'String'.",
            ),
            ("n", "Number", "abc", "Can't cast the value of message (user) attribute 'n' to a number."),
            ("n", "string", "v", "The type of message (user) attribute 'n' is invalid."),
            ("a..b", "String", "v", "You can't use message attribute names beginning with 'AWS.'"),
            ("AWS.x", "String", "v", "You can't use message attribute names beginning with 'AWS.'"),
            ("a b", "String", "v", "Message (user) attributes name can only contain"),
        ] {
            let said = refusal(with(name, data_type, text));
            assert!(said.starts_with(&format!("InvalidParameterValue: {words}")), "{name}: {said}");
        }
        let mut many = draft("x");
        many.attributes = (0..11)
            .map(|n| {
                let value = MessageAttributeValue {
                    data_type: Some("String".into()),
                    string_value: Some("v".into()),
                    ..Default::default()
                };
                (n.to_string(), value)
            })
            .collect();
        assert_eq!(
            refusal(many),
            "InvalidParameterValue: Number of message attributes [11] exceeds the allowed maximum [10]."
        );
    }

    #[test]
    fn delays_and_ids_are_bounded() {
        let words = "InvalidParameterValue: Value 901 for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900.";
        assert_eq!(refusal(Draft { delay_seconds: Some(901), ..draft("x") }), words);
        assert!(
            refusal(Draft { deduplication_id: Some("d".into()), ..draft("x") })
                .contains("MessageDeduplicationId")
        );
        assert!(
            refusal(Draft { group_id: Some("ä".into()), ..draft("x") })
                .contains("MessageGroupId can only include")
        );
        assert_eq!(refusal(Draft { group_id: Some("tenant-1".into()), ..draft("x") }), "accepted");
    }
}
