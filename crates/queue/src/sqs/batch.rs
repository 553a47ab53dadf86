//! Batches: the checks of the whole request, in AWS's order, and how a failed entry is told (facts, SQS §7).

use std::collections::BTreeSet;

use lambfold_api::Fault;
use lambfold_api::sqs::{BatchResultErrorEntry, ErrorCode};

const MOST_ENTRIES: usize = 10;

/// Empty, too many, ids malformed, ids repeated.
pub(super) fn check_ids<'a>(
    entry_shape: &str,
    ids: impl ExactSizeIterator<Item = Option<&'a str>> + Clone,
) -> Result<(), Fault> {
    let count = ids.len();
    if count == 0 {
        let text = format!("There should be at least one {entry_shape} in the request.");
        return Err(Fault::new(ErrorCode::EmptyBatchRequest, text));
    }
    if count > MOST_ENTRIES {
        let text =
            format!("Maximum number of entries per request are {MOST_ENTRIES}. You have sent {count}.");
        return Err(Fault::new(ErrorCode::TooManyEntriesInBatchRequest, text));
    }
    if !ids.clone().all(|id| id.is_some_and(is_id)) {
        return Err(Fault::new(
            ErrorCode::InvalidBatchEntryId,
            "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 \
             letters long.",
        ));
    }
    let mut seen = BTreeSet::new();
    match ids.flatten().find(|id| !seen.insert(*id)) {
        Some(id) => Err(Fault::new(ErrorCode::BatchEntryIdsNotDistinct, format!("Id {id} repeated."))),
        None => Ok(()),
    }
}

/// Whether it has the form of ids and labels: 1 to 80 of `[A-Za-z0-9_-]`.
pub(super) fn is_id(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=80).contains(&text.len()) && text.bytes().all(legal)
}

/// An entry that failed; the code is the Query protocol's, as AWS answers it.
pub(super) fn failed(id: Option<String>, fault: &Fault) -> BatchResultErrorEntry {
    BatchResultErrorEntry {
        id,
        sender_fault: Some(fault.is_sender()),
        code: Some(fault.query_code().to_owned()),
        message: Some(fault.message().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_checks_is_that_of_aws() {
        let check =
            |ids: &[&str]| match check_ids("SendMessageBatchRequestEntry", ids.iter().map(|id| Some(*id))) {
                Ok(()) => "fine".to_owned(),
                Err(fault) => format!("{}: {}", fault.code(), fault.message()),
            };
        assert_eq!(
            check(&[]),
            "EmptyBatchRequest: There should be at least one SendMessageBatchRequestEntry in the request."
        );
        assert_eq!(
            check(&["a b"; 11]),
            "TooManyEntriesInBatchRequest: Maximum number of entries per request are 10. You have sent 11."
        );
        assert!(check(&["a b", "a b"]).starts_with("InvalidBatchEntryId: "));
        assert_eq!(check(&["a", "b", "a"]), "BatchEntryIdsNotDistinct: Id a repeated.");
        assert_eq!(check(&["a", "b-_9"]), "fine");
    }
}
