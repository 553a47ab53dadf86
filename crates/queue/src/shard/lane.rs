//! The visible messages of a standard queue that were received or delayed before, first come, first served.

use std::collections::BTreeMap;

/// At which end of its order a message, or the group that it belongs to, is put when it has become visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Front,
    Back,
}

/// Places in an order that grows at both ends.
#[derive(Debug)]
pub(super) struct Places<T> {
    taken: BTreeMap<i64, T>,
    front: i64,
    back: i64,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self { taken: BTreeMap::new(), front: 0, back: 0 }
    }
}

impl<T: Copy + PartialEq> Places<T> {
    /// Puts `item` at an end; returns its place.
    pub(super) fn put(&mut self, item: T, end: End) -> i64 {
        let place = match end {
            End::Front => {
                self.front -= 1;
                self.front
            }
            End::Back => {
                self.back += 1;
                self.back
            }
        };
        self.taken.insert(place, item);
        place
    }

    /// Takes `item` from its place; false if it does not have it.
    pub(super) fn remove(&mut self, place: i64, item: T) -> bool {
        let is_there = self.taken.get(&place) == Some(&item);
        if is_there {
            self.taken.remove(&place);
        }
        is_there
    }

    pub(super) fn first(&self) -> Option<T> {
        self.taken.first_key_value().map(|(_, item)| *item)
    }

    /// All, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = T> {
        self.taken.values().copied()
    }
}
