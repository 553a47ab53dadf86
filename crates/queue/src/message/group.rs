//! The group of a stored message, in front of its sealed record: what the shard has to know of it, in a FIFO queue for the
//! order, in a standard queue to be fair. A sealed record begins with its format, which is below [`MARK`].

use bytes::{BufMut, Bytes, BytesMut};
use lambfold_types::Sealer;
use uuid::Uuid;

use super::{NewMessage, encode};

/// Set in the first byte if a group's name follows, with its length less one.
const MARK: u8 = 0x80;

/// The record of a message as it is stored, with its group if it has one.
pub(crate) fn seal(sealer: &dyn Sealer, message_id: Uuid, message: &NewMessage) -> Bytes {
    let sealed = sealer.seal(&encode(message_id, message));
    match message.system.message_group_id.as_deref() {
        Some(group) => with_group(&sealed, group),
        None => sealed,
    }
}

/// `sealed` with the name of its group, of 1 to 128 bytes; the rules allow no other.
pub(crate) fn with_group(sealed: &Bytes, group: &str) -> Bytes {
    let length = u8::try_from(group.len().clamp(1, usize::from(MARK)) - 1).unwrap_or(MARK - 1);
    let mut record = BytesMut::with_capacity(1 + group.len() + sealed.len());
    record.put_u8(MARK | length);
    record.put_slice(&group.as_bytes()[..group.len().min(usize::from(MARK))]);
    record.put_slice(sealed);
    record.freeze()
}

/// The name of the group; empty if there is none.
pub(crate) fn group_of(record: &[u8]) -> &[u8] {
    record.get(1..prefix(record)).unwrap_or_default()
}

/// The part of the record that says which group it is of, copied, so that the rest can go.
pub(crate) fn group_prefix(record: &[u8]) -> Bytes {
    Bytes::copy_from_slice(record.get(..prefix(record)).unwrap_or_default())
}

/// The sealed record.
pub(crate) fn without_group(record: &Bytes) -> Bytes {
    let prefix = prefix(record).min(record.len());
    record.slice(prefix..)
}

/// The bytes before the sealed record.
fn prefix(record: &[u8]) -> usize {
    match record.first() {
        Some(first) if first & MARK != 0 => 2 + usize::from(first & !MARK),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_any_legal_length_come_back() {
        let sealed = Bytes::from_static(&[1, 0, 9, 9]);
        assert_eq!((group_of(&sealed), without_group(&sealed)), (&b""[..], sealed.clone()));
        for length in [1, 2, 127, 128] {
            let group = "g".repeat(length);
            let record = with_group(&sealed, &group);
            assert_eq!((group_of(&record), without_group(&record)), (group.as_bytes(), sealed.clone()));
        }
        assert_eq!(group_of(&[MARK | 5, 1]), b"");
        assert!(without_group(&Bytes::from_static(&[MARK | 5, 1])).is_empty());
    }
}
