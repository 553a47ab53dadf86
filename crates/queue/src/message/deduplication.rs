//! Ids that callers choose, as the engine keeps them: a digest of fixed size, whatever the id's length and scope.

use sha2::{Digest, Sha256};

use crate::queue::{DeduplicationScope, QueueKind};

use super::SystemAttributes;

/// What two messages of a queue have in common if the second is a duplicate; `None` in a standard queue.
pub(crate) fn deduplication_digest(kind: QueueKind, system: &SystemAttributes) -> Option<u128> {
    let QueueKind::Fifo(scope) = kind else { return None };
    let id = system.message_deduplication_id.as_deref()?;
    let mut digest = Sha256::new();
    if scope == DeduplicationScope::MessageGroup {
        let group = system.message_group_id.as_deref().unwrap_or_default();
        digest.update([u8::try_from(group.len()).unwrap_or(u8::MAX)]);
        digest.update(group);
    }
    digest.update(id);
    Some(first_half(digest))
}

/// What two receives of a queue have in common if the second repeats the first.
pub(crate) fn attempt_digest(id: &str) -> u128 {
    first_half(Sha256::new_with_prefix(id))
}

fn first_half(digest: Sha256) -> u128 {
    let digest = digest.finalize();
    u128::from_be_bytes(digest[..16].try_into().expect("a SHA-256 has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(group: &str, id: &str) -> SystemAttributes {
        let (message_group_id, message_deduplication_id) = (Some(group.to_owned()), Some(id.to_owned()));
        SystemAttributes { message_group_id, message_deduplication_id, ..SystemAttributes::default() }
    }

    #[test]
    fn the_scope_decides_whether_the_group_counts() {
        let queue = QueueKind::Fifo(DeduplicationScope::Queue);
        let group = QueueKind::Fifo(DeduplicationScope::MessageGroup);
        let of = |kind, system: SystemAttributes| deduplication_digest(kind, &system);
        assert_eq!(of(queue, system("a", "1")), of(queue, system("b", "1")));
        assert_ne!(of(queue, system("a", "1")), of(queue, system("a", "2")));
        assert_ne!(of(group, system("a", "1")), of(group, system("b", "1")));
        assert_ne!(of(group, system("a", "b1")), of(group, system("ab", "1")));
        assert_eq!(of(QueueKind::Standard, system("a", "1")), None);
    }
}
