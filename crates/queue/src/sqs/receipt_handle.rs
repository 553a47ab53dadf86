//! Receipt handles as text: what a receive was, under a MAC, so that they hold after a restart without a row of their
//! own, and nobody can make one up.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Buf, BufMut};
use hmac::Mac;
use lambfold_api::Fault;

use super::faults;
use crate::{HandleParts, MacKeys};

const FORMAT: u8 = 1;
const PLAIN: usize = 1 + 4 + 8 + 2 + 8 + 8 + 4;
const TAG: usize = 16;

/// Writes a handle.
pub(crate) fn encode(keys: &MacKeys, parts: &HandleParts) -> String {
    let id = keys.signing().id;
    let mut bytes = Vec::with_capacity(PLAIN + TAG);
    bytes.put_u8(FORMAT);
    bytes.put_u32(id);
    bytes.put_u64(parts.incarnation);
    bytes.put_u16(parts.shard);
    bytes.put_u64(parts.epoch);
    bytes.put_u64(parts.sequence);
    bytes.put_u32(parts.receive_number);
    let tag = keys.mac(id, &bytes).expect("the key that signs is one of them").finalize().into_bytes();
    bytes.extend_from_slice(&tag[..TAG]);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a handle that [`encode`] made with one of `keys`.
pub(crate) fn decode(keys: &MacKeys, text: &str) -> Result<HandleParts, Fault> {
    read(keys, text).ok_or_else(|| faults::handle_malformed(text))
}

fn read(keys: &MacKeys, text: &str) -> Option<HandleParts> {
    let mut bytes = [0; PLAIN + TAG];
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
    if length != bytes.len() {
        return None;
    }
    let (plain, tag) = bytes.split_at(PLAIN);
    let mut rest = plain;
    if rest.get_u8() != FORMAT {
        return None;
    }
    keys.mac(rest.get_u32(), plain)?.verify_truncated_left(tag).ok()?;
    Some(HandleParts {
        incarnation: rest.get_u64(),
        shard: rest.get_u16(),
        epoch: rest.get_u64(),
        sequence: rest.get_u64(),
        receive_number: rest.get_u32(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MacKey;

    #[test]
    fn only_what_was_made_here_is_read() {
        let keys = MacKeys::new(vec![MacKey { id: 1, secret: [7; 32] }]).unwrap();
        let parts = HandleParts { incarnation: 3, shard: 0, epoch: 9, sequence: 1 << 40, receive_number: 2 };
        let text = encode(&keys, &parts);
        assert_eq!(decode(&keys, &text), Ok(parts));
        let other = MacKeys::new(vec![MacKey { id: 1, secret: [8; 32] }]).unwrap();
        assert!(decode(&other, &text).is_err());
        for index in 0..text.len() {
            let mut forged = text.clone().into_bytes();
            forged[index] = if forged[index] == b'A' { b'B' } else { b'A' };
            assert!(decode(&keys, &String::from_utf8(forged).unwrap()).is_err(), "byte {index}");
        }
        let fault = decode(&keys, "garbage").unwrap_err();
        assert_eq!(fault.message(), "The input receipt handle \"garbage\" is not a valid receipt handle.");
        for text in ["", "=", "\u{e9}", &"A".repeat(10_000)] {
            assert!(decode(&keys, text).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "\\PC{0,80}|[A-Za-z0-9_-]{40,80}") {
            let keys = MacKeys::new(vec![MacKey { id: 1, secret: [7; 32] }]).unwrap();
            proptest::prop_assert!(decode(&keys, &text).is_err());
        }

        #[test]
        fn every_handle_reads_as_it_was_written(
            (incarnation, epoch, sequence) in proptest::prelude::any::<(u64, u64, u64)>(), receive_number: u32, shard: u16
        ) {
            let keys = MacKeys::new(vec![MacKey { id: 1, secret: [7; 32] }]).unwrap();
            let parts = HandleParts { incarnation, shard, epoch, sequence, receive_number };
            proptest::prop_assert_eq!(decode(&keys, &encode(&keys, &parts)), Ok(parts));
        }
    }
}
