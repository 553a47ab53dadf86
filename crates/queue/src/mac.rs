//! The keys under which receipt handles are authenticated.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, Mac};
use lambfold_types::Entropy;
use sha2::Sha256;

/// A key for the MAC of receipt handles. Stored, so that handles hold after a restart and on every node; its id is
/// part of the handle, so that keys can be rotated.
#[derive(Clone, PartialEq, Eq)]
pub struct MacKey {
    /// Unique among the store's keys; the highest one signs.
    pub id: u32,
    /// The secret.
    pub secret: [u8; 32],
}

impl MacKey {
    /// A fresh key.
    pub fn generate(id: u32, entropy: &dyn Entropy) -> Self {
        let mut secret = [0; 32];
        entropy.fill(&mut secret);
        Self { id, secret }
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MacKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// All keys of the store: one signs, all verify. Each with what is the same for every MAC under it, computed once.
#[derive(Clone, Debug)]
pub struct MacKeys(Arc<[(MacKey, Hmac<Sha256>)]>);

impl MacKeys {
    /// `None` if there is no key.
    pub fn new(mut keys: Vec<MacKey>) -> Option<Self> {
        keys.sort_by_key(|key| key.id);
        let keyed = |key: MacKey| {
            let mac = Hmac::new_from_slice(&key.secret).expect("HMAC takes keys of any length");
            (key, mac)
        };
        if keys.is_empty() { None } else { Some(Self(keys.into_iter().map(keyed).collect())) }
    }

    /// The key that new handles are signed with.
    pub fn signing(&self) -> &MacKey {
        &self.0.last().expect("`new` takes at least one key").0
    }

    /// The key that a handle names, if it is still known.
    pub fn get(&self, id: u32) -> Option<&MacKey> {
        self.find(id).map(|(key, _)| key)
    }

    /// The MAC of `plain` under the key of that id, if it is still known.
    pub(crate) fn mac(&self, id: u32, plain: &[u8]) -> Option<Hmac<Sha256>> {
        self.find(id).map(|(_, mac)| mac.clone().chain_update(plain))
    }

    fn find(&self, id: u32) -> Option<&(MacKey, Hmac<Sha256>)> {
        self.0.binary_search_by_key(&id, |(key, _)| key.id).ok().map(|index| &self.0[index])
    }
}
