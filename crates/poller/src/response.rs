//! What a function's answer says about its batch (facts: Lambda API §9, ReportBatchItemFailures).

use std::collections::BTreeSet;

use serde_json::Value;

/// What has become of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Every message was processed.
    Success,
    /// None was.
    Failure(&'static str),
    /// All but those at these indexes.
    Partial(BTreeSet<usize>),
}

/// Judges the answer of an invocation that came without an error of the function. `message_ids` are those of the
/// batch, in order; only a mapping with `ReportBatchItemFailures` looks into `payload`.
pub(crate) fn judge(payload: &[u8], message_ids: &[&str], report_batch_item_failures: bool) -> Verdict {
    if !report_batch_item_failures || payload.is_empty() {
        return Verdict::Success;
    }
    let Ok(answer) = serde_json::from_slice::<Value>(payload) else {
        return Verdict::Failure("the answer is not JSON");
    };
    // Any answer without the key, of whatever type, is a success.
    let failures = match answer.get("batchItemFailures") {
        None | Some(Value::Null) => return Verdict::Success,
        Some(Value::Array(failures)) => failures,
        Some(_) => return Verdict::Failure("batchItemFailures is not a list"),
    };
    if failures.is_empty() {
        return Verdict::Success;
    }
    let mut failed = BTreeSet::new();
    for failure in failures {
        let Some(Value::String(id)) = failure.get("itemIdentifier") else {
            return Verdict::Failure("an entry has no itemIdentifier");
        };
        // One message may be in a batch twice, received anew while it waited.
        let mut named = message_ids.iter().enumerate().filter(|(_, message_id)| *message_id == id).peekable();
        if named.peek().is_none() {
            return Verdict::Failure("an itemIdentifier is not in the batch");
        }
        failed.extend(named.map(|(index, _)| index));
    }
    Verdict::Partial(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [&str; 3] = ["id-1", "id-2", "id-3"];

    fn reported(payload: &str) -> Verdict {
        judge(payload.as_bytes(), &IDS, true)
    }

    #[test]
    fn whole_successes() {
        for payload in [
            "",
            "null",
            "{}",
            r#"{"batchItemFailures":null}"#,
            r#"{"batchItemFailures":[]}"#,
            r#"{"statusCode":200}"#,
            r#"{"BatchItemFailures":[{"itemIdentifier":"id-1"}]}"#,
            "\"fine\"",
            "7",
            "true",
            "[]",
            r#"[{"itemIdentifier":"id-1"}]"#,
        ] {
            assert_eq!(reported(payload), Verdict::Success, "{payload}");
        }
    }

    #[test]
    fn whole_failures() {
        for payload in [
            "not JSON",
            "{",
            r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":7}]}"#,
            r#"{"batchItemFailures":[{"itemId":"id-1"}]}"#,
            r#"{"batchItemFailures":[{}]}"#,
            r#"{"batchItemFailures":["id-1"]}"#,
            r#"{"batchItemFailures":[null]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":"id-1"},{"itemIdentifier":"id-9"}]}"#,
            r#"{"batchItemFailures":{"itemIdentifier":"id-1"}}"#,
            r#"{"batchItemFailures":"id-1"}"#,
            r#"{"batchItemFailures":false}"#,
        ] {
            assert!(matches!(reported(payload), Verdict::Failure(_)), "{payload}");
        }
        // Nesting that would exhaust a parser's stack.
        assert!(matches!(reported(&"[".repeat(100_000)), Verdict::Failure(_)));
    }

    #[test]
    fn partial_failures_name_exactly_their_messages() {
        let one = r#"{"batchItemFailures":[{"itemIdentifier":"id-2","more":1}],"more":2}"#;
        assert_eq!(reported(one), Verdict::Partial([1].into()));
        let twice = r#"{"batchItemFailures":[{"itemIdentifier":"id-3"},{"itemIdentifier":"id-3"}]}"#;
        assert_eq!(reported(twice), Verdict::Partial([2].into()));
        let all = IDS.map(|id| format!(r#"{{"itemIdentifier":"{id}"}}"#)).join(",");
        assert_eq!(
            reported(&format!(r#"{{"batchItemFailures":[{all}]}}"#)),
            Verdict::Partial([0, 1, 2].into())
        );
    }

    #[test]
    fn without_the_option_nobody_looks() {
        for payload in ["not JSON", r#"{"batchItemFailures":[{"itemIdentifier":"id-1"}]}"#] {
            assert_eq!(judge(payload.as_bytes(), &IDS, false), Verdict::Success);
        }
    }
}
