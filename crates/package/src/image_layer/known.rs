//! What a layer has so far: by whole names, as an archive may have its entries in any order.

use std::collections::HashMap;

use crate::error::EntryProblem;

/// Bytes of all names together: a bound for archives made of nothing but names.
const MAX_NAME_BYTES: usize = 64 << 20;

/// What an entry became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    Symlink,
    Whiteout,
    /// A device or a pipe.
    LeftOut,
}

impl Kind {
    /// Whether there is anything under the name that another entry would have to replace.
    pub(super) fn is_there(self) -> bool {
        self != Self::LeftOut
    }
}

#[derive(Debug, Default)]
pub(super) struct Known {
    kinds: HashMap<Box<[u8]>, Kind>,
    name_bytes: usize,
}

impl Known {
    /// Adds an entry, and the directories that it lies in. What the name was before, if anything.
    pub(super) fn insert(&mut self, path: &[&[u8]], kind: Kind) -> Result<Option<Kind>, EntryProblem> {
        // From the nearest: mostly it is known.
        let mut missing = Vec::new();
        for end in (1..path.len()).rev() {
            let parent = path[..end].join(&b'/');
            match self.kinds.get(&*parent) {
                Some(Kind::Directory) => break,
                Some(_) => return Err(EntryProblem::BelowNonDirectory),
                None => missing.push(parent),
            }
        }
        for parent in missing {
            self.add(parent, Kind::Directory);
        }
        let name = path.join(&b'/');
        let before = self.kinds.get(&*name).copied();
        if before.is_some_and(|before| (before == Kind::Directory) != (kind == Kind::Directory)) {
            return Err(EntryProblem::KindMismatch);
        }
        self.add(name, kind);
        Ok(before)
    }

    fn add(&mut self, name: Vec<u8>, kind: Kind) {
        let bytes = name.len();
        if self.kinds.insert(name.into(), kind).is_none() {
            self.name_bytes += bytes;
        }
    }

    pub(super) fn get(&self, path: &[&[u8]]) -> Option<Kind> {
        self.kinds.get(&*path.join(&b'/')).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Whether the names themselves are within bounds.
    pub(super) fn fits(&self) -> bool {
        self.name_bytes <= MAX_NAME_BYTES
    }
}
