//! Receipt handles.

use std::sync::LazyLock;

use lambfold_queue::untrusted::{read_receipt_handle, write_receipt_handle};
use lambfold_queue::{HandleParts, MacKey, MacKeys};

static KEYS: LazyLock<MacKeys> = LazyLock::new(|| {
    let key = |id, byte| MacKey { id, secret: [byte; 32] };
    MacKeys::new(vec![key(1, 7), key(3, 9)]).expect("there are keys")
});

pub(crate) fn run(data: &[u8]) {
    // Any text: what is read was written here, to the letter, under one of the keys.
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(parts) = read_receipt_handle(&KEYS, text)
    {
        let single = |id| MacKeys::new(KEYS.get(id).cloned().into_iter().collect());
        let written: Vec<String> =
            [1, 3].into_iter().filter_map(single).map(|keys| write_receipt_handle(&keys, &parts)).collect();
        assert!(written.iter().any(|ours| ours == text), "{text} has no valid MAC");
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
