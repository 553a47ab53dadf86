//! The framed log of AWS's runtimes: records of any number of lines, each with its level, among what is printed.
//!
//! A runtime that finds `_LAMBDA_TELEMETRY_LOG_FD` writes a head before each record: type, length, and (but for the oldest
//! form) microseconds since the epoch, all big endian (facts: execution environment §4). The descriptor is the pipe that standard
//! output goes to, too, so that records and printed lines keep their order; the first byte of a head begins no character of UTF-8,
//! and what follows it is looked at before it is believed.

use std::ops::RangeInclusive;

use crate::log_level::Level;

/// What every head begins with.
const MAGIC: [u8; 3] = [0xa5, 0x5a, 0x00];
/// The head of the oldest form: type and length.
const SHORT_HEAD: usize = 8;
/// That with a time.
const HEAD: usize = 16;
/// A record is no longer; what says so is not a head.
const MAX_RECORD_BYTES: usize = 64 << 20;
/// Times of records, in microseconds since the epoch: the years 2000 to 2200. What is not in there is not a head.
const TIMES: RangeInclusive<u64> = 946_684_800_000_000..=7_258_118_400_000_000;

/// A part of what was printed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Outside records: lines.
    Text(&'a [u8]),
    /// Of a record, with its level if the runtime tells it, and whether it ends here.
    Record { part: &'a [u8], level: Option<Level>, ends: bool },
}

/// Takes records out of a stream of bytes that comes in pieces.
#[derive(Default)]
pub(super) struct Unframer {
    /// What may be the beginning of a head: less than [`HEAD`] bytes.
    held: Vec<u8>,
    record: Option<Record>,
}

struct Record {
    level: Option<Level>,
    /// Bytes that are still to come.
    left: usize,
}

impl Unframer {
    /// Tells `each` what is in `bytes`, in order.
    pub(super) fn feed(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(Piece<'_>)) {
        loop {
            if let Some(record) = &mut self.record {
                let (part, later) = bytes.split_at(record.left.min(bytes.len()));
                record.left -= part.len();
                bytes = later;
                let ends = record.left == 0;
                each(Piece::Record { part, level: record.level, ends });
                if !ends {
                    return;
                }
                self.record = None;
            }
            if self.held.is_empty() {
                let at = bytes.iter().position(|byte| *byte == MAGIC[0]).unwrap_or(bytes.len());
                let (text, rest) = bytes.split_at(at);
                if !text.is_empty() {
                    each(Piece::Text(text));
                }
                bytes = rest;
            }
            let Some((first, rest)) = bytes.split_first() else { return };
            self.held.push(*first);
            bytes = rest;
            match Head::of(&self.held) {
                Head::Incomplete => {}
                Head::Complete(record) => {
                    self.held.clear();
                    self.record = Some(record);
                }
                Head::None => self.release(each),
            }
        }
    }

    /// What was held in case that a head follows is text.
    pub(super) fn release(&mut self, each: &mut dyn FnMut(Piece<'_>)) {
        let held = std::mem::take(&mut self.held);
        let Some((first, rest)) = held.split_first() else { return };
        each(Piece::Text(&[*first]));
        // A head may begin within it.
        self.feed(rest, each);
    }
}

enum Head {
    None,
    Incomplete,
    Complete(Record),
}

impl Head {
    fn of(bytes: &[u8]) -> Self {
        if !MAGIC.iter().zip(bytes).all(|(wanted, found)| wanted == found) {
            return Self::None;
        }
        let Some(kind) = bytes.get(MAGIC.len()) else { return Self::Incomplete };
        // 1: without time. 2 and 3: JSON and text, with the level in the bits above.
        let (size, level) = match (kind & 0b11, kind >> 2) {
            (1, 0) => (SHORT_HEAD, None),
            (2 | 3, 0) => (HEAD, None),
            (2 | 3, 1) => (HEAD, Some(Level::Trace)),
            (2 | 3, 2) => (HEAD, Some(Level::Debug)),
            (2 | 3, 3) => (HEAD, Some(Level::Info)),
            (2 | 3, 4) => (HEAD, Some(Level::Warn)),
            (2 | 3, 5) => (HEAD, Some(Level::Error)),
            (2 | 3, 6) => (HEAD, Some(Level::Fatal)),
            _ => return Self::None,
        };
        let Some(length) = bytes.get(4..8) else { return Self::Incomplete };
        let left = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        if left > MAX_RECORD_BYTES {
            return Self::None;
        }
        if bytes.len() < size {
            return Self::Incomplete;
        }
        let time = bytes[SHORT_HEAD..size].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        if size == HEAD && !TIMES.contains(&time) {
            return Self::None;
        }
        Self::Complete(Record { level, left })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A piece that outlives its bytes.
    #[derive(Debug, Clone, PartialEq, Eq)]
    enum Said {
        Text(Vec<u8>),
        Record(Vec<u8>, Option<Level>),
    }

    fn frame(kind: u8, message: &[u8]) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &[kind]].concat();
        bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        if kind != 1 {
            bytes.extend(1_792_000_000_000_000_u64.to_be_bytes());
        }
        bytes.extend(message);
        bytes
    }

    /// What is told of `bytes` that come in pieces of `size`; neighbouring text is one.
    fn told(bytes: &[u8], size: usize) -> Vec<Said> {
        let (mut unframer, mut all, mut open) = (Unframer::default(), Vec::new(), Vec::new());
        let mut each = |piece: Piece<'_>| match piece {
            Piece::Text(text) => match all.last_mut() {
                Some(Said::Text(before)) => before.extend(text),
                _ => all.push(Said::Text(text.to_vec())),
            },
            Piece::Record { part, level, ends } => {
                open.extend(part);
                if ends {
                    all.push(Said::Record(std::mem::take(&mut open), level));
                }
            }
        };
        for piece in bytes.chunks(size) {
            unframer.feed(piece, &mut each);
        }
        unframer.release(&mut each);
        if let Some(record) = unframer.record {
            all.push(Said::Record(open, record.level));
        }
        all
    }

    #[test]
    fn records_are_taken_out_of_what_is_printed_around_them() {
        let bytes = [
            &b"before\n"[..],
            &frame(0x17, b"two\nlines\n"),
            &frame(0x02, b""),
            b"between",
            &frame(0x01, b"without time"),
        ]
        .concat();
        let expected = [
            Said::Text(b"before\n".to_vec()),
            Said::Record(b"two\nlines\n".to_vec(), Some(Level::Error)),
            Said::Record(Vec::new(), None),
            Said::Text(b"between".to_vec()),
            Said::Record(b"without time".to_vec(), None),
        ];
        for size in 1..=bytes.len() {
            assert_eq!(told(&bytes, size), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn what_only_looks_like_a_head_is_text() {
        let mut late = frame(0x03, b"x");
        late[8] = 0xff; // A time that no record has.
        let mut long = frame(0x03, b"x");
        long[4] = 0xff;
        for bytes in [
            "¥Z".as_bytes(),
            &MAGIC,
            &[0xa5],
            &[0xa5, 0xa5],
            &[0xa5, 0x5a, 0, 0x04],
            &frame(0x1f, b"x"),
            &late,
            &long,
        ] {
            assert_eq!(told(bytes, 1), [Said::Text(bytes.to_vec())]);
        }
        // Also where one begins within it.
        let both = [&MAGIC[..], &frame(0x0f, b"x")].concat();
        let expected = [Said::Text(MAGIC.to_vec()), Said::Record(b"x".to_vec(), Some(Level::Info))];
        assert_eq!(told(&both, both.len()), expected);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_however_it_is_cut(
            parts in prop::collection::vec((any::<bool>(), prop::collection::vec(prop::sample::select(vec![0xa5, 0x5a, 0, 3, b'x', b'\n']), 0..40)), 0..8),
            size in 1_usize..50,
        ) {
            let bytes: Vec<u8> =
                parts.iter().flat_map(|(framed, part)| if *framed { frame(0x0f, part) } else { part.clone() }).collect();
            // Heads that come about by chance are fine, as long as all ways to cut agree.
            let all = told(&bytes, size);
            prop_assert_eq!(&all, &told(&bytes, bytes.len().max(1)));
            let heads = all.iter().filter(|it| matches!(it, Said::Record(..))).count() * HEAD;
            let said: usize = all.iter().map(|it| match it { Said::Text(text) | Said::Record(text, _) => text.len() }).sum();
            prop_assert_eq!(said + heads, bytes.len());
        }
    }
}
