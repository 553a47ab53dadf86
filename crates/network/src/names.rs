//! Which names an environment's addresses came from: what an allow-list of names means, and what audit lines say.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lambfold_types::Timestamp;

use crate::address::plain;

/// Addresses that are remembered. When there are as many, the quarter that would be forgotten first is: all at once, since
/// looking for them costs as much as all that are there.
const MOST_ADDRESSES: usize = 4096;
const KEPT_ADDRESSES: usize = MOST_ADDRESSES / 4 * 3;
/// Names of one address, likewise.
const MOST_NAMES: usize = 16;
/// How long a name is good for at least: programs keep addresses for longer than they were told.
const LEAST_LIFE: Duration = Duration::from_hours(1);
const LONGEST_LIFE: Duration = Duration::from_hours(24);

/// What the resolver told one environment.
#[derive(Debug, Default)]
pub(crate) struct Names {
    of: Mutex<HashMap<IpAddr, Vec<Named>>>,
}

#[derive(Debug)]
struct Named {
    name: String,
    until: Timestamp,
}

impl Names {
    /// The environment was told that `name` has this address.
    pub(crate) fn learn(&self, address: IpAddr, name: &str, life: Duration, now: Timestamp) {
        let mut all = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let (address, until) = (plain(address), now + life.clamp(LEAST_LIFE, LONGEST_LIFE));
        if all.len() >= MOST_ADDRESSES && !all.contains_key(&address) {
            make_room(&mut all);
        }
        let names = all.entry(address).or_default();
        names.retain(|named| named.name != name && named.until > now);
        if names.len() >= MOST_NAMES {
            names.remove(0);
        }
        names.push(Named { name: name.to_owned(), until });
    }

    /// The first of an address's names, the latest first, that `accepts`.
    pub(crate) fn find(
        &self,
        address: IpAddr,
        now: Timestamp,
        accepts: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let all = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let names = all.get(&address)?.iter().rev();
        names
            .filter(|named| named.until > now)
            .find(|named| accepts(&named.name))
            .map(|named| named.name.clone())
    }
}

fn make_room(all: &mut HashMap<IpAddr, Vec<Named>>) {
    let last = |names: &Vec<Named>| names.iter().map(|named| named.until).max();
    let mut ends: Vec<_> = all.iter().map(|(address, names)| (last(names), *address)).collect();
    let excess = ends.len().saturating_sub(KEPT_ADDRESSES);
    if excess == 0 {
        return;
    }
    ends.select_nth_unstable(excess - 1);
    for (_, address) in &ends[..excess] {
        all.remove(address);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use lambfold_types::Timestamp;

    use super::{KEPT_ADDRESSES, MOST_ADDRESSES, Names};

    #[test]
    fn names_are_remembered_for_a_while_and_bounded() {
        let (names, now) = (Names::default(), Timestamp::from_millis(0));
        let address = |number: u32| IpAddr::from(Ipv4Addr::from(number));
        names.learn(address(1), "one.example", Duration::ZERO, now);
        names.learn(address(1), "two.example", Duration::ZERO, now);
        let soon = now + Duration::from_mins(59);
        assert_eq!(names.find(address(1), soon, |_| true).unwrap(), "two.example");
        assert_eq!(names.find(address(1), soon, |name| name == "one.example").unwrap(), "one.example");
        assert_eq!(names.find(address(2), soon, |_| true), None);
        assert_eq!(names.find(address(1), now + Duration::from_mins(61), |_| true), None);

        let most = u32::try_from(MOST_ADDRESSES).unwrap();
        for number in 0..most + 50 {
            names.learn(address(number), "x", Duration::ZERO, now + Duration::from_secs(number.into()));
        }
        assert_eq!(names.of.lock().unwrap().len(), KEPT_ADDRESSES + 50, "a quarter went at once");
        let known = |number| names.find(address(number), now, |_| true).is_some();
        assert!(!known(0) && !known(most / 4 - 1), "the oldest went");
        assert!(known(most / 4) && known(most + 49));
    }
}
