//! Queue attributes: names, ranges, defaults, and how they depend on each other (facts, SQS §4).

use std::collections::BTreeMap;
use std::time::Duration;

use lambfold_api::Fault;

use super::redrive::{REDRIVE_ALLOW_POLICY, REDRIVE_POLICY};
use super::{faults, policy, redrive};
use crate::{DeduplicationScope, QueueInfo, QueueKind, QueueProperties};

/// AWS's default and greatest message size: 1 MiB.
pub(super) const MOST_MESSAGE_BYTES: usize = 1_048_576;

const MAXIMUM_MESSAGE_SIZE: &str = "MaximumMessageSize";
/// The attribute that holds the queue's policy.
pub(super) const POLICY: &str = "Policy";
const KMS_KEY: &str = "KmsMasterKeyId";
const KMS_REUSE: &str = "KmsDataKeyReusePeriodSeconds";
const MANAGED_SSE: &str = "SqsManagedSseEnabled";
const FIFO: &str = "FifoQueue";
const CONTENT_BASED: &str = "ContentBasedDeduplication";
const SCOPE: &str = "DeduplicationScope";
const THROUGHPUT_LIMIT: &str = "FifoThroughputLimit";
/// Each with its default.
const OF_FIFO: [(&str, &str); 4] =
    [(FIFO, "true"), (CONTENT_BASED, "false"), (SCOPE, SCOPE_QUEUE), (THROUGHPUT_LIMIT, PER_QUEUE)];
const SCOPE_QUEUE: &str = "queue";
const SCOPE_GROUP: &str = "messageGroup";
const PER_QUEUE: &str = "perQueue";
const PER_GROUP: &str = "perMessageGroupId";

/// A settable attribute.
#[derive(Clone, Copy)]
enum Setting {
    Delay,
    MaximumMessageSize,
    Retention,
    WaitTime,
    VisibilityTimeout,
    Policy,
    KmsKey,
    KmsReuse,
    ManagedSse,
    RedrivePolicy,
    RedriveAllowPolicy,
    FifoQueue,
    ContentBasedDeduplication,
    DeduplicationScope,
    FifoThroughputLimit,
}

impl Setting {
    fn of(kind: QueueKind, name: &str) -> Result<Self, Fault> {
        Ok(match name {
            "DelaySeconds" => Self::Delay,
            MAXIMUM_MESSAGE_SIZE => Self::MaximumMessageSize,
            "MessageRetentionPeriod" => Self::Retention,
            "ReceiveMessageWaitTimeSeconds" => Self::WaitTime,
            "VisibilityTimeout" => Self::VisibilityTimeout,
            POLICY => Self::Policy,
            KMS_KEY => Self::KmsKey,
            KMS_REUSE => Self::KmsReuse,
            MANAGED_SSE => Self::ManagedSse,
            FIFO if kind.is_fifo() => Self::FifoQueue,
            CONTENT_BASED if kind.is_fifo() => Self::ContentBasedDeduplication,
            SCOPE if kind.is_fifo() => Self::DeduplicationScope,
            THROUGHPUT_LIMIT if kind.is_fifo() => Self::FifoThroughputLimit,
            SCOPE | THROUGHPUT_LIMIT => {
                return Err(faults::attribute_name(format!(
                    "You can specify the {name} only when FifoQueue is set to true."
                )));
            }
            REDRIVE_POLICY => Self::RedrivePolicy,
            REDRIVE_ALLOW_POLICY => Self::RedriveAllowPolicy,
            _ => return Err(faults::unknown_attribute(name)),
        })
    }
}

/// Puts `given` into `properties` of a queue of that kind, all or nothing.
pub(super) fn apply(
    kind: QueueKind,
    properties: &mut QueueProperties,
    given: &BTreeMap<String, String>,
) -> Result<(), Fault> {
    let given =
        given.iter().map(|(name, value)| Ok((Setting::of(kind, name)?, name.as_str(), value.as_str())));
    let given: Vec<_> = given.collect::<Result<_, Fault>>()?;
    let sets = |wanted: &str| given.iter().find(|(_, name, _)| *name == wanted).map(|(.., value)| *value);
    let managed = sets(MANAGED_SSE).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if managed && sets(KMS_KEY).is_some_and(|key| !key.is_empty()) {
        return Err(faults::attribute_name(
            "You can use one type of server-side encryption (SSE) at one time. You can either enable KMS SSE or SQS SSE.",
        ));
    }
    let mut changed = properties.clone();
    for (setting, name, value) in given {
        set(&mut changed, setting, name, value)?;
    }
    let kept = |name: &str| changed.attributes.get(name).map(String::as_str);
    if kept(THROUGHPUT_LIMIT) == Some(PER_GROUP) && kept(SCOPE) != Some(SCOPE_GROUP) {
        return Err(faults::attribute_value_for(
            THROUGHPUT_LIMIT,
            "To set FifoThroughputLimit to perMessageGroupId, the DeduplicationScope must be messageGroup.",
        ));
    }
    *properties = changed;
    Ok(())
}

fn set(properties: &mut QueueProperties, setting: Setting, name: &str, value: &str) -> Result<(), Fault> {
    let number = |min: u64, max: u64| -> Result<u64, Fault> {
        let number = value.parse().ok().filter(|number| (min..=max).contains(number));
        number.ok_or_else(|| faults::attribute_value(name))
    };
    let seconds = |min, max| number(min, max).map(Duration::from_secs);
    let boolean = || -> Result<bool, Fault> {
        value.to_ascii_lowercase().parse().map_err(|_| faults::attribute_value(name))
    };
    let one_of = |kept: &mut BTreeMap<String, String>, words: &[&str]| {
        let word = words.iter().find(|word| **word == value).ok_or_else(|| faults::attribute_value(name))?;
        kept.insert(name.to_owned(), (*word).to_owned());
        Ok(())
    };
    let kept = &mut properties.attributes;
    match setting {
        Setting::Delay => properties.settings.delay = seconds(0, 900)?,
        Setting::Retention => properties.settings.message_retention_period = seconds(60, 1_209_600)?,
        Setting::WaitTime => properties.settings.receive_message_wait_time = seconds(0, 20)?,
        Setting::VisibilityTimeout => properties.settings.visibility_timeout = seconds(0, 43_200)?,
        Setting::MaximumMessageSize => {
            let size = number(1024, MOST_MESSAGE_BYTES as u64)?;
            kept.insert(name.to_owned(), size.to_string());
        }
        Setting::RedrivePolicy if value.is_empty() => {
            kept.remove(name);
            properties.settings.redrive = None;
        }
        Setting::RedrivePolicy => {
            properties.settings.redrive = Some(redrive::policy(value)?);
            kept.insert(name.to_owned(), value.to_owned());
        }
        Setting::Policy | Setting::KmsKey | Setting::RedriveAllowPolicy if value.is_empty() => {
            _ = kept.remove(name);
        }
        Setting::RedriveAllowPolicy => {
            redrive::check_allow_policy(value)?;
            kept.insert(name.to_owned(), value.to_owned());
        }
        Setting::Policy => {
            policy::check(value)?;
            kept.insert(name.to_owned(), value.to_owned());
        }
        Setting::KmsKey => {
            kept.insert(name.to_owned(), value.to_owned());
            kept.insert(MANAGED_SSE.to_owned(), "false".to_owned());
        }
        Setting::KmsReuse => {
            // The default is not shown, and setting it removes another value.
            match number(60, 86_400)? {
                300 => _ = kept.remove(name),
                period => _ = kept.insert(name.to_owned(), period.to_string()),
            }
        }
        Setting::FifoQueue => {
            if !boolean()? {
                return Err(faults::attribute_value_for(name, "Modifying queue type is not supported."));
            }
        }
        Setting::ContentBasedDeduplication => _ = kept.insert(name.to_owned(), boolean()?.to_string()),
        Setting::DeduplicationScope => one_of(kept, &[SCOPE_QUEUE, SCOPE_GROUP])?,
        Setting::FifoThroughputLimit => one_of(kept, &[PER_QUEUE, PER_GROUP])?,
        Setting::ManagedSse => {
            let enabled = boolean()?;
            if enabled {
                kept.remove(KMS_KEY);
            }
            kept.insert(name.to_owned(), enabled.to_string());
        }
    }
    Ok(())
}

/// What a new queue with these attributes is.
pub(super) fn kind(given: &BTreeMap<String, String>) -> QueueKind {
    if !given.get(FIFO).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return QueueKind::Standard;
    }
    QueueKind::Fifo(match given.get(SCOPE).map(String::as_str) {
        Some(SCOPE_GROUP) => DeduplicationScope::MessageGroup,
        _ => DeduplicationScope::Queue,
    })
}

/// Whether the messages of a FIFO queue need no deduplication id.
pub(super) fn content_based_deduplication(properties: &QueueProperties) -> bool {
    properties.attributes.get(CONTENT_BASED).is_some_and(|value| value == "true")
}

/// The first attribute, by name, that `given` asks for and `current` has otherwise. Named defaults count as present.
pub(super) fn conflict(
    kind: QueueKind,
    current: &QueueProperties,
    given: &BTreeMap<String, String>,
) -> Result<Option<String>, Fault> {
    let mut wanted = QueueProperties::default();
    apply(kind, &mut wanted, given)?;
    let (wanted, current) = (settable(kind, &wanted), settable(kind, current));
    let same = |name: &str| match (wanted.get(name), current.get(name)) {
        (Some(wanted), Some(current)) => wanted == current || same_document(name, wanted, current),
        (wanted, current) => wanted == current,
    };
    Ok(given.keys().find(|name| !same(name)).cloned())
}

/// Whether two policies say the same in other words. AWS keeps what they say, not how.
fn same_document(name: &str, one: &str, other: &str) -> bool {
    match name {
        REDRIVE_POLICY => redrive::policy(one).ok() == redrive::policy(other).ok(),
        POLICY | REDRIVE_ALLOW_POLICY => {
            let read = |text| serde_json::from_str::<serde_json::Value>(text).ok();
            read(one) == read(other)
        }
        _ => false,
    }
}

/// The message limit of a queue, in bytes.
pub(super) fn maximum_message_size(properties: &QueueProperties) -> usize {
    let kept = properties.attributes.get(MAXIMUM_MESSAGE_SIZE);
    kept.and_then(|size| size.parse().ok()).unwrap_or(MOST_MESSAGE_BYTES)
}

/// What GetQueueAttributes answers for `names`.
pub(super) fn render(
    kind: QueueKind,
    info: &QueueInfo,
    arn: &str,
    names: &[String],
) -> Result<BTreeMap<String, String>, Fault> {
    let mut all = settable(kind, &info.properties);
    let mut put = |name: &'static str, value: String| all.insert(name, value);
    put("QueueArn", arn.to_owned());
    put("CreatedTimestamp", info.created_at.secs().to_string());
    put("LastModifiedTimestamp", info.modified_at.secs().to_string());
    put("ApproximateNumberOfMessages", info.counts.visible.to_string());
    put("ApproximateNumberOfMessagesNotVisible", info.counts.in_flight.to_string());
    put("ApproximateNumberOfMessagesDelayed", info.counts.delayed.to_string());
    let mut answer = BTreeMap::new();
    for name in names {
        if name == "All" {
            answer.extend(all.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        } else if let Some(value) = all.get(name.as_str()) {
            answer.insert(name.clone(), value.clone());
        } else if !READABLE_WHEN_UNSET.contains(&name.as_str()) {
            return Err(faults::unknown_attribute(name));
        }
    }
    Ok(answer)
}

/// Names that may be asked for and answer nothing on a queue that has not set them. `FifoQueue` and
/// `ContentBasedDeduplication` are not among them: a standard queue does not know them (aws-sdk-ruby, issue 1350).
const READABLE_WHEN_UNSET: [&str; 7] =
    [POLICY, REDRIVE_POLICY, REDRIVE_ALLOW_POLICY, KMS_KEY, KMS_REUSE, SCOPE, THROUGHPUT_LIMIT];

fn settable(kind: QueueKind, properties: &QueueProperties) -> BTreeMap<&str, String> {
    let settings = &properties.settings;
    let seconds = |duration: Duration| duration.as_secs().to_string();
    let mut all = BTreeMap::from([
        ("DelaySeconds", seconds(settings.delay)),
        ("MessageRetentionPeriod", seconds(settings.message_retention_period)),
        ("ReceiveMessageWaitTimeSeconds", seconds(settings.receive_message_wait_time)),
        ("VisibilityTimeout", seconds(settings.visibility_timeout)),
        (MAXIMUM_MESSAGE_SIZE, MOST_MESSAGE_BYTES.to_string()),
        (MANAGED_SSE, "true".to_owned()),
    ]);
    if kind.is_fifo() {
        all.extend(OF_FIFO.map(|(name, value)| (name, value.to_owned())));
    }
    all.extend(properties.attributes.iter().map(|(name, value)| (name.as_str(), value.clone())));
    all
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lambfold_types::Timestamp;

    use super::*;
    use crate::QueueCounts;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn refusal(pairs: &[(&str, &str)]) -> String {
        let mut properties = QueueProperties::default();
        let fault = apply(QueueKind::Standard, &mut properties, &map(pairs)).unwrap_err();
        assert_eq!(properties, QueueProperties::default(), "a refusal changes nothing");
        format!("{}: {}", fault.code(), fault.message())
    }

    #[test]
    fn ranges_and_names_have_the_words_of_aws() {
        for (name, value) in [
            ("DelaySeconds", "901"),
            ("DelaySeconds", "-1"),
            ("DelaySeconds", "ten"),
            ("MaximumMessageSize", "1023"),
            ("MaximumMessageSize", "1048577"),
            ("MessageRetentionPeriod", "59"),
            ("ReceiveMessageWaitTimeSeconds", "21"),
            ("VisibilityTimeout", "43201"),
            ("Policy", "not json"),
            ("SqsManagedSseEnabled", "maybe"),
        ] {
            let words = format!("InvalidAttributeValue: Invalid value for the parameter {name}.");
            // Beside sound ones, of which one comes before it.
            let sound = [("DelaySeconds", "7"), ("VisibilityTimeout", "1")];
            assert_eq!(refusal(&[sound[0], sound[1], (name, value)]), words);
        }
        for name in ["Nonsense", "QueueArn", "CreatedTimestamp", "ContentBasedDeduplication", "FifoQueue"] {
            assert_eq!(refusal(&[(name, "1")]), format!("InvalidAttributeName: Unknown Attribute {name}."));
        }
        assert_eq!(
            refusal(&[("DeduplicationScope", "queue")]),
            "InvalidAttributeName: You can specify the DeduplicationScope only when FifoQueue is set to true."
        );
        assert!(
            refusal(&[("KmsMasterKeyId", "k"), ("SqsManagedSseEnabled", "True")])
                .contains("one type of server-side")
        );
        for (name, value, wanted) in [
            (
                "RedrivePolicy",
                "{",
                "InvalidAttributeValue: Invalid value for the parameter RedrivePolicy. Reason: Redrive policy is not a valid \
                 JSON map.",
            ),
            (
                "RedrivePolicy",
                r#"{"maxReceiveCount":1}"#,
                "does not contain mandatory attribute: deadLetterTargetArn.",
            ),
            (
                "RedrivePolicy",
                r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:d","maxReceiveCount":"1001"}"#,
                "Invalid value for maxReceiveCount: 1001, valid values are from 1 to 1000 both inclusive.",
            ),
            ("RedrivePolicy", "{}", "mandatory attribute: maxReceiveCount."),
            (
                "RedriveAllowPolicy",
                r#"{"redrivePermission":"byQueue"}"#,
                "InvalidParameterValueException: Value {\"redrivePermission\":\"byQueue\"} for parameter RedriveAllowPolicy is invalid. \
                 Reason: Amazon SQS can't create the redrive allow policy. ",
            ),
            (
                "RedriveAllowPolicy",
                r#"{"redrivePermission":"allowAll","sourceQueueArns":["arn:aws:sqs:us-east-1:000000000000:d"]}"#,
                "Reason: Amazon SQS can't create the redrive allow policy. ",
            ),
            (
                "RedriveAllowPolicy",
                r#"{"redrivePermission":"sometimes"}"#,
                "Reason: Amazon SQS can't create the redrive allow policy. ",
            ),
            (
                "RedriveAllowPolicy",
                "[]",
                "InvalidAttributeValue: Invalid value for the parameter RedriveAllowPolicy. Reason: Amazon SQS can't create the \
                 redrive allow policy, as it's in an unsupported format.",
            ),
        ] {
            let text = refusal(&[(name, value)]);
            assert!(text.contains(wanted), "{text}");
        }
    }

    #[test]
    fn encryption_attributes_depend_on_each_other() {
        let mut properties = QueueProperties::default();
        apply(
            QueueKind::Standard,
            &mut properties,
            &map(&[("KmsMasterKeyId", "alias/k"), ("KmsDataKeyReusePeriodSeconds", "600")]),
        )
        .unwrap();
        assert_eq!(settable(QueueKind::Standard, &properties)[MANAGED_SSE], "false");
        apply(
            QueueKind::Standard,
            &mut properties,
            &map(&[("KmsMasterKeyId", ""), ("KmsDataKeyReusePeriodSeconds", "300")]),
        )
        .unwrap();
        assert_eq!(
            settable(QueueKind::Standard, &properties)[MANAGED_SSE],
            "false",
            "removing the key does not turn it on again"
        );
        assert!(!settable(QueueKind::Standard, &properties).contains_key(KMS_REUSE));
        apply(QueueKind::Standard, &mut properties, &map(&[("SqsManagedSseEnabled", "True")])).unwrap();
        assert_eq!(settable(QueueKind::Standard, &properties)[MANAGED_SSE], "true");
    }

    #[test]
    fn only_named_attributes_conflict() {
        let mut current = QueueProperties::default();
        apply(QueueKind::Standard, &mut current, &map(&[("DelaySeconds", "5")])).unwrap();
        assert_eq!(conflict(QueueKind::Standard, &current, &map(&[])), Ok(None));
        assert_eq!(
            conflict(
                QueueKind::Standard,
                &current,
                &map(&[("DelaySeconds", "5"), ("VisibilityTimeout", "30")])
            ),
            Ok(None)
        );
        assert_eq!(
            conflict(QueueKind::Standard, &current, &map(&[("DelaySeconds", "0")])),
            Ok(Some("DelaySeconds".to_owned()))
        );
    }

    #[test]
    fn a_standard_queue_does_not_know_what_makes_a_fifo_queue() {
        let at = Timestamp::from_millis(0);
        let (properties, counts) = (Arc::default(), QueueCounts::default());
        let info = QueueInfo { properties, created_at: at, modified_at: at, counts };
        let ask = |name: &str| render(QueueKind::Standard, &info, "arn", &[name.to_owned()]);
        for name in ["FifoQueue", "ContentBasedDeduplication"] {
            assert_eq!(ask(name), Err(faults::unknown_attribute(name)));
        }
        for name in ["Policy", "DeduplicationScope"] {
            assert_eq!(ask(name), Ok(BTreeMap::new()), "{name}");
        }
    }
}
