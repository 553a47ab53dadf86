//! The message groups of a FIFO queue (facts, SQS §6.4): of each group the messages may be received that come before
//! its first one in flight, in their order. What is delayed is not counted among them yet.

use std::collections::{BTreeMap, BTreeSet};

use super::lane::{End, Places};

/// A group's number, while it has messages in memory.
pub(super) type GroupId = u32;

#[derive(Debug, Default)]
pub(super) struct Groups {
    numbers: BTreeMap<Box<[u8]>, GroupId>,
    by_number: BTreeMap<GroupId, Group>,
    last_number: GroupId,
    /// The groups that have something to receive.
    available: Places<GroupId>,
    /// Groups with a message in flight.
    locked: usize,
}

#[derive(Debug, Default)]
struct Group {
    name: Box<[u8]>,
    members: usize,
    visible: BTreeSet<u64>,
    /// In flight, or on the way to a dead-letter queue.
    held: BTreeSet<u64>,
    place: Option<i64>,
}

impl Group {
    /// All visible messages below it may be received.
    fn barrier(&self) -> u64 {
        self.held.first().copied().unwrap_or(u64::MAX)
    }

    fn is_available(&self) -> bool {
        self.visible.first().is_some_and(|first| *first < self.barrier())
    }
}

impl Groups {
    /// Counts a new member of the group `name`.
    pub(super) fn join(&mut self, name: &[u8]) -> GroupId {
        let number = self.numbers.get(name).copied().unwrap_or_else(|| self.found(name));
        if let Some(group) = self.by_number.get_mut(&number) {
            group.members += 1;
        }
        number
    }

    fn found(&mut self, name: &[u8]) -> GroupId {
        // Four billion groups with messages in memory at once are more than memory can hold.
        while self.last_number == 0 || self.by_number.contains_key(&self.last_number) {
            self.last_number = self.last_number.wrapping_add(1);
        }
        self.numbers.insert(name.into(), self.last_number);
        self.by_number.insert(self.last_number, Group { name: name.into(), ..Group::default() });
        self.last_number
    }

    /// A member is gone, having been released or hidden before.
    pub(super) fn leave(&mut self, number: GroupId) {
        let Some(group) = self.by_number.get_mut(&number) else { return };
        group.members -= 1;
        if group.members == 0
            && let Some(group) = self.by_number.remove(&number)
        {
            self.numbers.remove(&group.name);
        }
    }

    /// A member has become visible. If that makes the group available, it is put at `end` of the groups.
    pub(super) fn show(&mut self, number: GroupId, sequence: u64, end: End) {
        self.edit(number, end, |group| _ = group.visible.insert(sequence));
    }

    /// A member is visible no longer.
    pub(super) fn hide(&mut self, number: GroupId, sequence: u64) {
        self.edit(number, End::Back, |group| _ = group.visible.remove(&sequence));
    }

    /// A member is in flight: it holds up those behind it.
    pub(super) fn hold(&mut self, number: GroupId, sequence: u64) {
        self.edit(number, End::Back, |group| _ = group.held.insert(sequence));
    }

    /// A member is in flight no longer. A group that this unlocks queues up behind the others.
    pub(super) fn release(&mut self, number: GroupId, sequence: u64) {
        self.edit(number, End::Back, |group| _ = group.held.remove(&sequence));
    }

    /// Up to `max` messages below `end` that may be received now, in the order in which they should be.
    pub(super) fn next(&self, max: usize, end: u64) -> Vec<u64> {
        let mut next = Vec::new();
        for group in self.available.iter().filter_map(|number| self.by_number.get(&number)) {
            let end = end.min(group.barrier());
            let room = max - next.len();
            next.extend(group.visible.iter().copied().take_while(|sequence| *sequence < end).take(room));
            if next.len() >= max {
                break;
            }
        }
        next
    }

    /// Groups with a message in flight.
    pub(super) fn locked(&self) -> usize {
        self.locked
    }

    fn edit(&mut self, number: GroupId, end: End, edit: impl FnOnce(&mut Group)) {
        let Some(group) = self.by_number.get_mut(&number) else { return };
        let was_locked = !group.held.is_empty();
        edit(group);
        self.locked += usize::from(!group.held.is_empty());
        self.locked -= usize::from(was_locked);
        match (group.place, group.is_available()) {
            (None, true) => group.place = Some(self.available.put(number, end)),
            (Some(place), false) => {
                self.available.remove(place, number);
                group.place = None;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two groups, sent in turns: a, b, c of the first, d of the second.
    fn rig() -> (Groups, GroupId, GroupId) {
        let mut groups = Groups::default();
        let (first, second) = (groups.join(b"1"), groups.join(b"2"));
        for (group, sequence) in [(first, 1), (second, 4), (first, 2), (first, 3)] {
            groups.show(group, sequence, End::Back);
        }
        (groups, first, second)
    }

    fn take(groups: &mut Groups, group: GroupId, sequence: u64) {
        groups.hide(group, sequence);
        groups.hold(group, sequence);
    }

    #[test]
    fn a_group_is_taken_whole_before_the_next() {
        let (groups, ..) = rig();
        assert_eq!(groups.next(10, u64::MAX), [1, 2, 3, 4]);
        assert_eq!(groups.next(2, u64::MAX), [1, 2]);
        assert_eq!(groups.next(10, 2), [1], "what is behind the end is out of reach");
    }

    #[test]
    fn what_is_in_flight_holds_up_what_is_behind_it() {
        let (mut groups, first, _) = rig();
        take(&mut groups, first, 1);
        take(&mut groups, first, 2);
        assert_eq!((groups.next(10, u64::MAX), groups.locked()), (vec![4], 1));
        groups.release(first, 1);
        assert_eq!(groups.next(10, u64::MAX), [4], "all of them have to be done");
        groups.show(first, 1, End::Back);
        assert_eq!(
            groups.next(10, u64::MAX),
            [4, 1],
            "an earlier one is available while a later one is in flight"
        );
        groups.hide(first, 1);
        groups.release(first, 2);
        assert_eq!((groups.next(10, u64::MAX), groups.locked()), (vec![4, 3], 0));
    }

    #[test]
    fn empty_groups_are_forgotten() {
        let (mut groups, first, second) = rig();
        for sequence in 1..=3 {
            groups.hide(first, sequence);
            groups.leave(first);
        }
        assert_eq!((groups.numbers.len(), groups.next(9, u64::MAX)), (1, vec![4]));
        assert_eq!(groups.join(b"2"), second);
    }
}
