//! Receipt handles.

use std::sync::LazyLock;

use lambfold_queue::untrusted::{read_receipt_handle, write_receipt_handle};
use lambfold_queue::{HandleParts, MacKey, MacKeys};

/// By their ids and the bytes that their secrets are of.
const SECRETS: [(u32, u8); 2] = [(1, 7), (3, 9)];

static KEYS: LazyLock<MacKeys> = LazyLock::new(|| keys(&SECRETS));

fn keys(secrets: &[(u32, u8)]) -> MacKeys {
    let key = |&(id, byte): &(u32, u8)| MacKey { id, secret: [byte; 32] };
    MacKeys::new(secrets.iter().map(key).collect()).expect("there are keys")
}

pub(crate) fn run(data: &[u8]) {
    // Any text: what is read was written here, to the letter, under one of the keys.
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(parts) = read_receipt_handle(&KEYS, text)
    {
        let is_by = |secret: &(u32, u8)| write_receipt_handle(&keys(&[*secret]), &parts) == text;
        assert!(SECRETS.iter().any(is_by), "{text} has no valid MAC");
    }
    // Any handle: it is read as it was written, and not with a letter changed.
    let mut bytes = data.iter().copied().chain(std::iter::repeat(0));
    let mut number = || u64::from_be_bytes(std::array::from_fn(|_| bytes.next().unwrap_or_default()));
    let [incarnation, epoch, sequence, rest, place] = std::array::from_fn(|_| number());
    let [shard_high, shard_low, a, b, c, d, letter, _] = rest.to_be_bytes();
    let parts = HandleParts {
        incarnation,
        shard: u16::from_be_bytes([shard_high, shard_low]),
        epoch,
        sequence,
        receive_number: u32::from_be_bytes([a, b, c, d]),
    };
    let text = write_receipt_handle(&KEYS, &parts);
    assert_eq!(read_receipt_handle(&KEYS, &text), Some(parts));
    let mut forged = text.clone().into_bytes();
    let place = usize::try_from(place % forged.len() as u64).unwrap_or_default();
    forged[place] = letter;
    if let Ok(forged) = String::from_utf8(forged)
        && forged != text
    {
        assert_eq!(read_receipt_handle(&KEYS, &forged), None, "{forged} was made up");
    }
}
