//! How many connections a worker's environments may have, and who gives way when there are as many.
//!
//! Whoever asks first gets what is free, up to [`MOST_OF_ONE`]. When nothing is free, an environment that has less than its
//! share (all, divided by the environments that have any) takes one over from whoever has the most, which closes the one
//! that was quiet for the longest. So a few environments may fill the table and yet keep nobody out of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Connections of one environment: as many as a process of it may have files.
const MOST_OF_ONE: usize = 1024;

/// The table of all environments.
pub(crate) struct Connections {
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Those that count, never more than there may be.
    open: usize,
    /// Environments that have any.
    holding: usize,
    next: u64,
    holders: HashMap<u64, Holder>,
}

#[derive(Default)]
struct Holder {
    open: usize,
    /// Open, too, but counted as another's: they are about to be closed.
    owed: usize,
    /// Those of the owed that it has not been told of.
    untold: usize,
    called: Arc<Notify>,
}

/// One environment's part in it.
pub(crate) struct Share {
    all: Arc<Connections>,
    id: u64,
    called: Arc<Notify>,
}

/// Leave to have one connection, while it is held.
pub(crate) struct Permit {
    share: Arc<Share>,
}

impl Connections {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, state: Mutex::default() })
    }

    /// For one more environment.
    pub(crate) fn share(self: &Arc<Self>) -> Arc<Share> {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        let holder = Holder::default();
        let called = Arc::clone(&holder.called);
        state.holders.insert(id, holder);
        Arc::new(Share { all: Arc::clone(self), id, called })
    }

    #[cfg(test)]
    pub(crate) fn open(&self) -> usize {
        self.state().open
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock leaves it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Leave for one more connection; `None` if there is none for this environment now.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Permit> {
        let mut state = self.all.state();
        let State { open, holding, holders, .. } = &mut *state;
        let own = holders.get(&self.id)?.open;
        if own >= MOST_OF_ONE {
            return None;
        }
        if *open < self.all.most {
            *open += 1;
        } else {
            let share = self.all.most / (*holding + usize::from(own == 0));
            let richest = holders.values_mut().max_by_key(|holder| holder.open)?;
            // It must not be worth the other's while to take it back.
            if own >= share || richest.open <= own + 1 {
                return None;
            }
            richest.open -= 1;
            richest.owed += 1;
            richest.untold += 1;
            richest.called.notify_one();
        }
        *holding += usize::from(own == 0);
        holders.get_mut(&self.id)?.open += 1;
        Some(Permit { share: Arc::clone(self) })
    }

    /// Returns when connections must be closed for other environments: how many.
    pub(crate) async fn called_back(&self) -> usize {
        loop {
            self.called.notified().await;
            let mut state = self.all.state();
            let count =
                state.holders.get_mut(&self.id).map_or(0, |holder| std::mem::take(&mut holder.untold));
            drop(state);
            if count > 0 {
                return count;
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // With nothing open: each of those holds it.
        self.all.state().holders.remove(&self.id);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.share.all.state();
        let State { open, holding, holders, .. } = &mut *state;
        let Some(holder) = holders.get_mut(&self.share.id) else { return };
        if holder.owed > 0 {
            holder.owed -= 1;
            // What ended by itself need not be closed.
            holder.untold = holder.untold.min(holder.owed);
            return;
        }
        holder.open -= 1;
        *open -= 1;
        *holding -= usize::from(holder.open == 0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Connections, MOST_OF_ONE, Permit, Share};

    fn take_all(share: &Arc<Share>) -> Vec<Permit> {
        std::iter::from_fn(|| share.take()).collect()
    }

    #[test]
    fn one_environment_has_its_bound() {
        let all = Connections::new(4096);
        let share = all.share();
        let permits = take_all(&share);
        assert_eq!(permits.len(), MOST_OF_ONE);
        drop(permits);
        assert_eq!(all.open(), 0);
    }

    #[tokio::test]
    async fn a_full_table_is_shared_fairly() {
        let all = Connections::new(4096);
        let hogs: Vec<_> = (0..4).map(|_| all.share()).collect();
        let mut held: Vec<_> = hogs.iter().map(take_all).collect();
        assert_eq!(all.open(), 4096);

        let late = all.share();
        let permits = take_all(&late);
        assert!((800..=819).contains(&permits.len()), "a fifth of all: {}", permits.len());
        assert_eq!(all.open(), 4096);
        let mut closed = 0;
        for (hog, held) in hogs.iter().zip(&mut held) {
            assert!(hog.take().is_none(), "it has its share");
            let back = hog.called_back().await;
            held.truncate(held.len() - back);
            closed += back;
        }
        assert_eq!(closed, permits.len(), "as many are closed as were taken over");
        assert_eq!(all.open(), 4096);

        let another = all.share();
        assert!(another.take().is_some(), "nobody is kept out");
        drop((held, permits));
        assert_eq!(all.open(), 0);
    }

    #[tokio::test]
    async fn what_ends_by_itself_is_not_closed_twice() {
        let all = Connections::new(4);
        let (hog, late) = (all.share(), all.share());
        let mut held = take_all(&hog);
        let taken = take_all(&late);
        assert_eq!((held.len(), taken.len()), (4, 2));
        held.pop();
        assert_eq!(hog.called_back().await, 1);
        held.pop();
        assert!(hog.take().is_none() && all.open() == 4);
        held.pop();
        assert!(hog.take().is_some());
    }
}
