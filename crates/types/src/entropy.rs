//! Randomness as a parameter, so that a simulation can replay a run.

use uuid::Uuid;

/// A source of random bytes. The system's adapter lives in `lambfold-clock`; tests seed their own.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes` with randomness.
    fn fill(&self, bytes: &mut [u8]);
}

/// A random (version 4) UUID: message ids, request ids, mapping ids.
pub fn uuid_v4(entropy: &dyn Entropy) -> Uuid {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
