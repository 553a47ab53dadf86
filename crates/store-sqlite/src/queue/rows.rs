//! Keys and numbers as SQLite has them: 64 bits, signed.

use lambfold_queue::store::StoreError;

/// A message's key is `slot << SEQUENCE_BITS | sequence`: a million slots, nine million million messages each.
pub(super) const SEQUENCE_BITS: u32 = 43;

/// Above every sequence.
const SEQUENCE_END: u64 = 1 << SEQUENCE_BITS;

/// Above every slot.
pub(super) const SLOT_END: i64 = 1 << (63 - SEQUENCE_BITS);

/// The key of a message; for a sequence beyond all, the end of the slot.
pub(super) fn key(slot: i64, sequence: u64) -> i64 {
    (slot << SEQUENCE_BITS).saturating_add(int(sequence.min(SEQUENCE_END)))
}

/// The sequence in a key.
pub(super) fn sequence(key: i64) -> u64 {
    uint(key) & (SEQUENCE_END - 1)
}

/// The whole of a slot's keys is `slot_start(slot)..slot_start(slot + 1)`.
pub(super) fn slot_start(slot: i64) -> i64 {
    key(slot, 0)
}

/// Numbers of ours stay far below 2^63.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Numbers that we stored are not negative.
pub(super) fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// What is stored in `table` cannot be.
pub(super) fn inconsistent(table: &'static str, detail: impl Into<String>) -> StoreError {
    StoreError::Inconsistent { table, detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_by_slot_and_sequence() {
        assert_eq!(sequence(key(5, 77)), 77);
        assert!(key(5, SEQUENCE_END - 1) < key(6, 0));
        assert_eq!(key(5, u64::MAX), slot_start(6));
        assert!(key(SLOT_END - 1, SEQUENCE_END - 1) > 0);
    }
}
