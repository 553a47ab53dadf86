//! Fair queues (facts, SQS §5.7; ADR 006): which message groups of a standard queue send much less than others. While there
//! is a backlog, their messages are put in front of it, into the lane of what is visible again, from which every other
//! receive takes: so one group's backlog does not make the others wait. AWS tells noisy groups by their messages in flight.
//!
//! For the metrics of quiet groups it is known of each group how many messages it has in which state, and which of those in
//! memory is its oldest. A queue of which no message names a group has none of this.

mod tenant;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use lambfold_types::Timestamp;

use crate::queue::QueueCounts;

use super::groups::GroupId;

pub(super) use self::tenant::Standing;
use self::tenant::{Tenant, count};

/// After as many messages all counts of what was sent are halved, and groups that have become silent and have no messages
/// are forgotten.
const MEMORY: u32 = 4096;

/// Messages that have to wait already for it to be worth a lane of their own; of a group, to be called noisy.
pub(super) const BACKLOG: u64 = 32;

/// A noisy group sends more than one part in this many of what all groups send: AWS's share ("How Amazon SQS fair queues
/// work", developer guide), of which AWS takes the messages in flight. So there are at most nine.
const NOISY_SHARE: u64 = 10;

/// Silent groups that are known for the messages that they have here still. Of more groups than that the messages count as
/// a quiet group's, which they are.
const SILENT: usize = 4096;

/// Groups that may be known for something other than that they send.
const MOST: usize = 4 * SILENT;

/// The number of no group: of messages that are no group's, as long as the queue has no groups, and of messages of more
/// groups than are known.
pub(super) const UNTRACKED: GroupId = 0;

/// In place of the number of a group that only the store knows: of messages that were received or delayed before a start.
pub(super) const UNKNOWN: GroupId = GroupId::MAX;

/// The groups of a standard queue. Messages without a group are one, too, under the empty name, as soon as there are others.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    numbers: BTreeMap<Box<[u8]>, GroupId>,
    by_number: BTreeMap<GroupId, Tenant>,
    last_number: GroupId,
    /// Those that sent lately, by how much.
    senders: BTreeSet<(u32, GroupId)>,
    total: u32,
    until_decay: u32,
    /// Of each group that has messages, when its oldest one was sent.
    oldest: BTreeSet<(Timestamp, GroupId)>,
    /// Messages of groups that only the store knows.
    unknown: QueueCounts,
    /// All messages below it have their places, or never will.
    placed_end: u64,
    /// Messages below it were sent before the start.
    restored_end: u64,
    is_used: bool,
}

impl Tenants {
    /// After a start: `backlog` messages below `end` wait, of groups that only the store knows.
    pub(super) fn restored(end: u64, backlog: u64) -> Self {
        let unknown = QueueCounts { visible: backlog, ..QueueCounts::default() };
        Self { unknown, placed_end: end, restored_end: end, ..Self::default() }
    }

    /// Whether a message named its group, since the start.
    pub(super) fn is_used(&self) -> bool {
        self.is_used
    }

    /// All messages below `end` have their places.
    pub(super) fn placed(&mut self, end: u64) {
        self.placed_end = self.placed_end.max(end);
    }

    /// Notes a message that `group` sends; whether the group is quiet: whether it sends less than half of what groups do
    /// on average.
    pub(super) fn note(&mut self, group: &[u8]) -> bool {
        let number = self.numbers.get(group).copied().unwrap_or_else(|| self.found(group));
        let Some(tenant) = self.by_number.get_mut(&number) else { return false };
        self.senders.remove(&(tenant.sent, number));
        tenant.sent += 1;
        let sent = tenant.sent;
        self.senders.insert((sent, number));
        self.total += 1;
        let is_quiet = self.is_quiet(sent);
        self.until_decay += 1;
        if self.until_decay >= MEMORY {
            self.decay();
        }
        is_quiet
    }

    /// The number of a group; that of none for the empty name of messages without a group, while there are no groups.
    pub(super) fn number(&mut self, group: &[u8]) -> GroupId {
        if let Some(number) = self.numbers.get(group) {
            return *number;
        }
        let is_needless = group.is_empty() && !self.is_used;
        if is_needless || self.by_number.len() >= MOST { UNTRACKED } else { self.found(group) }
    }

    /// The number of the group that the store names for a message. What it had before the start was sent then, which is all
    /// that is known of who sends how much until they send more.
    pub(super) fn learn(&mut self, group: &[u8], sequence: u64) -> GroupId {
        if !group.is_empty() && sequence < self.restored_end {
            self.note(group);
        }
        self.number(group)
    }

    /// A message is in memory from now on, with its time. Harmless for one that is already.
    pub(super) fn hold(&mut self, number: GroupId, sent_at: Timestamp, sequence: u64) {
        self.edit(number, |tenant| _ = tenant.held.insert((sent_at, sequence)));
    }

    /// A message is gone, or in the store only.
    pub(super) fn release(&mut self, number: GroupId, sent_at: Timestamp, sequence: u64) {
        self.edit(number, |tenant| _ = tenant.held.remove(&(sent_at, sequence)));
    }

    /// A message has come to stand so.
    pub(super) fn enter(&mut self, number: GroupId, standing: Standing) {
        if let Some(counts) = self.counts_of(number) {
            *count(counts, standing) += 1;
        }
    }

    /// A message no longer stands so.
    pub(super) fn exit(&mut self, number: GroupId, standing: Standing) {
        if let Some(counts) = self.counts_of(number) {
            let count = count(counts, standing);
            *count = count.saturating_sub(1);
        }
    }

    /// A message joins those of the backlog that only the store knows one by one, being the last of them.
    pub(super) fn join_tail(&mut self, number: GroupId, sent_at: Timestamp) {
        self.edit(number, |tenant| tenant.join_tail(sent_at));
    }

    /// A message of the backlog that only the store knew has been read; returns the number of its group.
    pub(super) fn leave_tail(&mut self, group: &[u8], sent_at: Timestamp, sequence: u64) -> GroupId {
        let number = self.learn(group, sequence);
        if sequence < self.restored_end {
            self.exit(UNKNOWN, Standing::Visible);
        }
        self.edit(number, |tenant| tenant.leave_tail(sent_at, sequence));
        number
    }

    /// All messages are gone. What groups sent is remembered.
    pub(super) fn purge(&mut self) {
        self.unknown = QueueCounts::default();
        self.oldest.clear();
        self.by_number.values_mut().for_each(Tenant::purge);
        self.forget_if(|tenant| tenant.sent == 0);
    }

    /// The groups that the others' messages are put in front of: that send more than a tenth of all and are not quiet, if
    /// there is a quiet one, and of which as many messages wait as it takes.
    pub(super) fn noisy(&self) -> Vec<GroupId> {
        let is_anybody_quiet = self.senders.first().is_some_and(|(sent, _)| self.is_quiet(*sent));
        let much = |sent: u32| u64::from(sent) * NOISY_SHARE > u64::from(self.total);
        let loudest = self.senders.iter().rev().take_while(|(sent, _)| is_anybody_quiet && much(*sent));
        let noisy = loudest.filter(|(sent, number)| {
            let waiting = self.by_number.get(number).map_or(0, |tenant| tenant.counts.visible);
            !self.is_quiet(*sent) && waiting >= BACKLOG
        });
        noisy.map(|(_, number)| *number).collect()
    }

    /// Of `all` messages those that are known not to be of the `noisy` groups. While there are such, what only the store
    /// knows is not counted.
    pub(super) fn quiet(&self, noisy: &[GroupId], all: QueueCounts) -> QueueCounts {
        if noisy.is_empty() {
            return all;
        }
        let noisy = noisy.iter().filter_map(|number| self.by_number.get(number)).map(|tenant| tenant.counts);
        noisy.chain([self.unknown]).fold(all, |rest, counts| QueueCounts {
            visible: rest.visible.saturating_sub(counts.visible),
            in_flight: rest.in_flight.saturating_sub(counts.in_flight),
            delayed: rest.delayed.saturating_sub(counts.delayed),
        })
    }

    /// When the oldest message was sent that is known to be of a group other than the `noisy` ones.
    pub(super) fn oldest_quiet(&self, noisy: &[GroupId]) -> Option<Timestamp> {
        let mut quiet = self.oldest.iter().filter(|(_, number)| !noisy.contains(number));
        quiet.next().map(|(sent_at, _)| *sent_at)
    }

    /// What is known of the messages of a group, and when the oldest of them was sent.
    #[cfg(test)]
    pub(super) fn of(&self, group: &[u8]) -> (QueueCounts, Option<Timestamp>) {
        let tenant = self.numbers.get(group).and_then(|number| self.by_number.get(number));
        tenant.map_or_else(Default::default, |tenant| (tenant.counts, tenant.oldest()))
    }

    /// Messages of groups that only the store knows.
    #[cfg(test)]
    pub(super) fn unknown(&self) -> QueueCounts {
        self.unknown
    }

    /// The names of the noisy groups.
    #[cfg(test)]
    pub(super) fn noisy_names(&self) -> Vec<&[u8]> {
        self.noisy().iter().map(|number| self.by_number[number].name()).collect()
    }

    /// Whether a group that sent as much sends less than half of what groups do on average.
    fn is_quiet(&self, sent: u32) -> bool {
        u64::from(sent) * self.senders.len() as u64 * 2 < u64::from(self.total)
    }

    fn found(&mut self, group: &[u8]) -> GroupId {
        // Four billion groups at once are more than memory can hold.
        while [UNTRACKED, UNKNOWN].contains(&self.last_number)
            || self.by_number.contains_key(&self.last_number)
        {
            self.last_number = self.last_number.wrapping_add(1);
        }
        self.is_used |= !group.is_empty();
        self.numbers.insert(group.into(), self.last_number);
        self.by_number.insert(self.last_number, Tenant::new(group, self.placed_end));
        self.last_number
    }

    fn counts_of(&mut self, number: GroupId) -> Option<&mut QueueCounts> {
        match number {
            UNTRACKED => None,
            UNKNOWN => Some(&mut self.unknown),
            _ => self.by_number.get_mut(&number).map(|tenant| &mut tenant.counts),
        }
    }

    fn edit(&mut self, number: GroupId, edit: impl FnOnce(&mut Tenant)) {
        if number == UNTRACKED {
            return;
        }
        let Some(tenant) = self.by_number.get_mut(&number) else { return };
        let before = tenant.oldest();
        edit(tenant);
        let after = tenant.oldest();
        if before != after {
            if let Some(sent_at) = before {
                self.oldest.remove(&(sent_at, number));
            }
            self.oldest.extend(after.map(|sent_at| (sent_at, number)));
        }
        if after.is_none() && tenant.sent == 0 {
            self.forget(number);
        }
    }

    fn decay(&mut self) {
        self.until_decay = 0;
        for tenant in self.by_number.values_mut() {
            tenant.sent /= 2;
        }
        self.forget_if(|tenant| tenant.sent == 0 && tenant.oldest().is_none());
        let (silent, senders): (Vec<_>, Vec<_>) = self
            .by_number
            .iter()
            .map(|(number, tenant)| (tenant.sent, *number))
            .partition(|(sent, _)| *sent == 0);
        self.total = senders.iter().map(|(sent, _)| sent).sum();
        self.senders = senders.into_iter().collect();
        // Those that were known first go first.
        for (_, number) in silent.iter().take(silent.len().saturating_sub(SILENT)) {
            self.forget(*number);
        }
    }

    fn forget_if(&mut self, test: impl Fn(&Tenant) -> bool) {
        let gone: Vec<GroupId> =
            self.by_number.iter().filter(|(_, tenant)| test(tenant)).map(|(number, _)| *number).collect();
        for number in gone {
            self.forget(number);
        }
    }

    /// Forgets a silent group. What it still has counts as a quiet group's from now on.
    fn forget(&mut self, number: GroupId) {
        if let Some(tenant) = self.by_number.remove(&number) {
            self.numbers.remove(tenant.name());
            if let Some(sent_at) = tenant.oldest() {
                self.oldest.remove(&(sent_at, number));
            }
        }
    }
}
