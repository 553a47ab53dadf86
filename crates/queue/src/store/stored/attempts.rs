//! Receives that can be repeated, in a column of delivery rows.

use bytes::{Buf, BufMut};

use super::inconsistent;
use crate::store::{ReceiveAttempt, Result};

const BYTES: usize = 16 + 1 + 8;

/// The bytes of an attempt: its id, how many messages it got, and the epoch.
pub fn attempt_bytes(attempt: ReceiveAttempt) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BYTES);
    bytes.put_u128(attempt.id);
    bytes.put_u8(attempt.messages);
    bytes.put_u64(attempt.epoch);
    bytes
}

/// The attempt that those bytes stand for.
pub fn attempt_of(mut bytes: &[u8]) -> Result<ReceiveAttempt> {
    if bytes.len() != BYTES {
        return Err(inconsistent("deliveries", format!("an attempt has {} bytes", bytes.len())));
    }
    Ok(ReceiveAttempt { id: bytes.get_u128(), messages: bytes.get_u8(), epoch: bytes.get_u64() })
}
