//! How many environments should wait: by what was asked for lately, within the memory that they may take.

use std::collections::VecDeque;
use std::time::Duration;

use lambfold_types::Timestamp;

use crate::interpreter::Language;

/// How long a burst of cold starts is remembered.
pub(super) const MEMORY: Duration = Duration::from_mins(5);

/// What one that waits takes, in MiB, rounded up (docs/performance.md).
pub(super) fn mib_each(language: Language) -> Option<u64> {
    match language {
        Language::Python => Some(6),
        Language::NodeJs => Some(12),
        // Their bootstraps take no assignment; and Java's memory is decided when it starts.
        Language::Ruby | Language::Java => None,
    }
}

/// Whether one that waits is of use to functions of one memory size only: the limits of V8's heap are options that it starts
/// with.
pub(super) fn is_for_one_memory(language: Language) -> bool {
    language == Language::NodeJs
}

/// A sandbox without a program: its first process, and what the kernel keeps.
pub(super) const BARE_MIB: u64 = 2;

/// How many environments a budget has room for, whatever they are.
pub(crate) fn at_most(memory_mib: u64) -> u32 {
    u32::try_from(memory_mib / BARE_MIB).unwrap_or(u32::MAX)
}

/// The cold starts of the last minutes, by the second.
#[derive(Default)]
pub(super) struct Demand {
    seconds: VecDeque<(i64, u32)>,
}

impl Demand {
    /// A cold start.
    pub(super) fn note(&mut self, now: Timestamp) {
        match self.seconds.back_mut() {
            Some((second, count)) if *second >= now.secs() => *count += 1,
            _ => {
                self.forget(now);
                self.seconds.push_back((now.secs(), 1));
            }
        }
    }

    /// How many should wait: half as many again as were asked for in the busiest second. `None` if none were.
    pub(super) fn wanted(&mut self, now: Timestamp) -> Option<u32> {
        self.forget(now);
        let most = self.seconds.iter().map(|(_, count)| *count).max()?;
        Some(most.saturating_add(most.div_ceil(2)))
    }

    fn forget(&mut self, now: Timestamp) {
        let oldest = (now - MEMORY).secs();
        while self.seconds.front().is_some_and(|(second, _)| *second < oldest) {
            self.seconds.pop_front();
        }
    }
}

/// What a pool would like.
#[derive(Clone, Copy)]
pub(super) struct Want {
    /// Comes before what others would like more.
    pub(super) least: u32,
    pub(super) most: u32,
    pub(super) mib_each: u64,
}

/// What each gets of `memory_mib`: first the least of all, then one after the other, in turns.
pub(super) fn shares(wants: &[Want], mut memory_mib: u64) -> Vec<u32> {
    let mut shares = vec![0; wants.len()];
    for limit in [|want: &Want| want.least.min(want.most), |want: &Want| want.most] {
        loop {
            let before = memory_mib;
            for (share, want) in shares.iter_mut().zip(wants) {
                if *share < limit(want) && want.mib_each <= memory_mib {
                    *share += 1;
                    memory_mib -= want.mib_each;
                }
            }
            if memory_mib == before {
                break;
            }
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_follows_the_busiest_second_and_is_forgotten() {
        let at = |millis| Timestamp::from_millis(millis);
        let mut demand = Demand::default();
        assert_eq!(demand.wanted(at(0)), None);
        for millis in [0, 1100, 1200, 1300, 1999, 2500] {
            demand.note(at(millis));
        }
        assert_eq!(demand.wanted(at(3000)), Some(6));
        demand.note(at(200_000));
        assert_eq!(demand.wanted(at(301_900)), Some(6));
        assert_eq!(demand.wanted(at(303_000)), Some(2));
        assert_eq!(demand.wanted(at(600_000)), None);
    }

    #[test]
    fn the_least_of_all_comes_before_the_most_of_one() {
        let want = |least, most, mib_each| Want { least, most, mib_each };
        let wants = [want(1, 300, 6), want(2, 3, 12), want(0, 0, 6)];
        assert_eq!(shares(&wants, 256), [36, 3, 0]);
        assert_eq!(shares(&wants, 30), [1, 2, 0]);
        assert_eq!(shares(&wants, 10), [1, 0, 0]);
        assert_eq!(shares(&wants, 0), [0, 0, 0]);
        assert_eq!(shares(&wants, 10_000), [300, 3, 0]);
        // A smaller one may still fit where a larger one does not.
        assert_eq!(shares(&[want(0, 9, 12), want(0, 9, 6)], 23), [1, 1]);
    }
}
