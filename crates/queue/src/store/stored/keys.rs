//! Keys of messages: one signed number of 64 bits for the shard and the place in it.

use super::{int, uint};

/// A message's key is `slot << SEQUENCE_BITS | sequence`: a million slots, nine million million messages each.
const SEQUENCE_BITS: u32 = 43;

/// Above every sequence.
const SEQUENCE_END: u64 = 1 << SEQUENCE_BITS;

/// Above every slot.
pub const SLOT_END: i64 = 1 << (63 - SEQUENCE_BITS);

/// The key of a message; for a sequence beyond all, the end of the slot.
pub fn key(slot: i64, sequence: u64) -> i64 {
    (slot << SEQUENCE_BITS).saturating_add(int(sequence.min(SEQUENCE_END)))
}

/// The sequence in a key.
pub fn sequence(key: i64) -> u64 {
    uint(key) & (SEQUENCE_END - 1)
}

/// The whole of a slot's keys is `slot_start(slot)..slot_start(slot + 1)`.
pub fn slot_start(slot: i64) -> i64 {
    key(slot, 0)
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
