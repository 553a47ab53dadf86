//! The one gate through which stored secrets pass: message bodies, environment variables and packages.

use bytes::{BufMut, Bytes, BytesMut};

/// Turns plain bytes into what is stored and back. Sealed bytes start with a format version and the id of the
/// key, so that encryption at rest, and rotation of its key, need no migration (DESIGN §3).
pub trait Sealer: Send + Sync + 'static {
    /// Seals `plain` for storage.
    fn seal(&self, plain: &[u8]) -> Bytes;

    /// Opens what [`Sealer::seal`] made.
    fn open(&self, sealed: Bytes) -> Result<Bytes, SealError>;
}

/// Stored bytes that cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The header is missing or names a format that this version does not know.
    #[error("sealed bytes of an unknown format")]
    UnknownFormat,
    /// The key that sealed the bytes is not at hand.
    #[error("sealed with key {0}, which is not configured")]
    UnknownKey(u8),
}

/// Stores bytes as they are, behind the two-byte header (format 1, key 0).
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainSealer;

const FORMAT: u8 = 1;
const PLAINTEXT_KEY: u8 = 0;

impl Sealer for PlainSealer {
    fn seal(&self, plain: &[u8]) -> Bytes {
        let mut sealed = BytesMut::with_capacity(plain.len() + 2);
        sealed.put_u8(FORMAT);
        sealed.put_u8(PLAINTEXT_KEY);
        sealed.put_slice(plain);
        sealed.freeze()
    }

    fn open(&self, sealed: Bytes) -> Result<Bytes, SealError> {
        match sealed.get(..2) {
            Some(&[FORMAT, PLAINTEXT_KEY]) => Ok(sealed.slice(2..)),
            Some(&[FORMAT, key]) => Err(SealError::UnknownKey(key)),
            _ => Err(SealError::UnknownFormat),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealing_is_reversible_and_refuses_what_it_did_not_make() {
        let sealer = PlainSealer;
        assert_eq!(sealer.open(sealer.seal(b"body")).unwrap(), "body");
        assert_eq!(sealer.open(Bytes::from_static(b"")), Err(SealError::UnknownFormat));
        assert_eq!(sealer.open(Bytes::from_static(&[1, 9, 0])), Err(SealError::UnknownKey(9)));
        assert_eq!(sealer.open(Bytes::from_static(&[7, 0, 0])), Err(SealError::UnknownFormat));
    }
}
