//! Fair queues (facts, SQS §5.7): which message groups of a standard queue send much less than others. While there is a
//! backlog, their messages are put in front of it, into the lane of what is visible again, from which every other receive
//! takes: so one group's backlog does not make the others wait. AWS tells noisy groups by their messages in flight.

use std::collections::BTreeMap;

/// After as many messages all counts are halved, and groups that have become silent are forgotten.
const MEMORY: u32 = 4096;

/// Messages that have to wait already for it to be worth a lane of their own.
pub(super) const BACKLOG: u64 = 32;

#[derive(Debug, Default)]
pub(super) struct Tenants {
    sent: BTreeMap<Box<str>, u32>,
    total: u32,
    until_decay: u32,
}

impl Tenants {
    /// Notes a message of `group`; whether the group is quiet: whether it sends less than half of what groups do on
    /// average.
    pub(super) fn note(&mut self, group: &str) -> bool {
        self.total += 1;
        let sent = match self.sent.get_mut(group) {
            Some(sent) => {
                *sent += 1;
                *sent
            }
            None => *self.sent.entry(group.into()).or_insert(1),
        };
        let groups = u32::try_from(self.sent.len()).unwrap_or(u32::MAX);
        let is_quiet = u64::from(sent) * u64::from(groups) * 2 < u64::from(self.total);
        self.until_decay += 1;
        if self.until_decay >= MEMORY {
            self.decay();
        }
        is_quiet
    }

    fn decay(&mut self) {
        self.until_decay = 0;
        self.sent.retain(|_, sent| {
            *sent /= 2;
            *sent > 0
        });
        self.total = self.sent.values().sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_is_who_sends_much_less_than_the_others() {
        let mut tenants = Tenants::default();
        assert!(!tenants.note("loud"), "alone");
        assert!((0..1000).all(|_| !tenants.note("loud")));
        assert!((0..10).all(|_| tenants.note("quiet")));
        let mut equal = Tenants::default();
        for _ in 0..100 {
            for group in ["a", "b", "c"] {
                assert!(!equal.note(group));
            }
        }
    }

    #[test]
    fn what_was_is_forgotten_and_memory_is_bounded() {
        let mut tenants = Tenants::default();
        for _ in 0..MEMORY {
            tenants.note("once loud");
        }
        for n in 0..20 * MEMORY {
            tenants.note(&format!("{n}"));
        }
        assert!(tenants.sent.len() <= 2 * MEMORY as usize);
        assert!(!tenants.sent.contains_key("once loud"));
    }
}
