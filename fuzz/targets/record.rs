//! Stored messages.

use bytes::Bytes;
use lambfold_queue::untrusted::{read_record, write_record};

pub(crate) fn run(data: &[u8]) {
    let Some((message_id, message)) = read_record(Bytes::copy_from_slice(data)) else { return };
    let written = write_record(message_id, &message);
    // Not to the byte: attributes come in order, and flags that nobody knows are dropped.
    let (again_id, again) = read_record(written).expect("what was written can be read");
    assert_eq!((message_id, &message), (again_id, &again));
    assert!(message.body.len() <= data.len() && message.size() <= data.len(), "nothing comes from nowhere");
}
