//! This node's lease on the shards that it owns, where nodes share a store (DESIGN §3, many nodes): joining, renewing,
//! and knowing by the own clock whether it still holds.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use lambfold_types::{Clock, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::store::{QueueStore, Result, SharedStore, StoreError};

/// Renewals within the time that a lease holds: two may fail.
const RENEWALS: u32 = 3;

/// Whether this node may act as the owner of what it took. Cheap to clone; of a store that has one user it always holds.
#[derive(Clone)]
pub(crate) struct Lease {
    clock: Arc<dyn Clock>,
    term: Arc<RwLock<Option<Term>>>,
}

/// From one joining to the next.
#[derive(Clone)]
struct Term {
    /// Counted from before the database was asked, so never later than by the database's clock.
    holds_until: Timestamp,
    over: CancellationToken,
}

/// That the lease under which a shard was taken still holds.
#[derive(Clone)]
pub(crate) struct Tenancy {
    lease: Lease,
    over: Option<CancellationToken>,
}

impl Tenancy {
    /// Whether nobody else can own the shard by now.
    pub(crate) fn holds(&self) -> bool {
        let Some(over) = &self.over else { return true };
        !over.is_cancelled() && self.lease.holds()
    }

    /// Completes when this node has joined anew: what it took before is anybody's.
    pub(crate) async fn ended(&self) {
        match &self.over {
            Some(over) => over.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

impl Lease {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, term: Arc::default() }
    }

    /// What is taken from now on is taken under this.
    pub(crate) fn tenancy(&self) -> Tenancy {
        Tenancy { lease: self.clone(), over: self.read().map(|term| term.over) }
    }

    /// Whether this node is one of several that share the store.
    pub(crate) fn is_shared(&self) -> bool {
        self.term.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn holds(&self) -> bool {
        self.read().is_none_or(|term| self.clock.now() < term.holds_until)
    }

    fn read(&self) -> Option<Term> {
        self.term.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Joins the nodes of a shared store, or joins them anew, owning nothing. Blocks.
    pub(crate) fn join(&self, store: &dyn QueueStore, address: &str) -> Result<()> {
        let Some(shared) = store.shared() else { return Ok(()) };
        let before = self.clock.now();
        if let Some(term) = self.read() {
            term.over.cancel();
        }
        shared.join(address)?;
        let term = Term { holds_until: before + shared.lease(), over: CancellationToken::new() };
        *self.term.write().unwrap_or_else(PoisonError::into_inner) = Some(term);
        Ok(())
    }

    /// Renews the lease, and joins anew if it has run out. Blocks.
    fn renew(&self, store: &dyn QueueStore, address: &str) -> Result<()> {
        let Some(shared) = store.shared() else { return Ok(()) };
        // An attempt to join anew has failed, or seemed to: whatever the store thinks, this node owns nothing.
        if self.read().is_none_or(|term| term.over.is_cancelled()) {
            return self.join(store, address);
        }
        let before = self.clock.now();
        match shared.renew() {
            Ok(()) => {
                if let Some(term) = &mut *self.term.write().unwrap_or_else(PoisonError::into_inner) {
                    term.holds_until = before + shared.lease();
                }
                Ok(())
            }
            Err(StoreError::LeaseLost) => {
                tracing::warn!("this node's lease ran out; it joins anew and owns nothing");
                self.join(store, address)
            }
            Err(error) => Err(error),
        }
    }

    /// Keeps the lease until `stop`, on a thread of its own at each renewal: commits must not hold it up.
    pub(crate) async fn keep(self, store: Arc<dyn QueueStore>, address: String, stop: CancellationToken) {
        let Some(every) = store.shared().map(|shared| shared.lease() / RENEWALS) else { return };
        loop {
            let next = self.clock.now() + every;
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.clock.sleep_until(next) => {}
            }
            let (this, address) = (self.clone(), address.clone());
            let renewed = off_the_way(&store, move |store| this.renew(store, &address)).await;
            if let Some(Err(error)) = renewed {
                tracing::error!(%error, "this node's lease could not be renewed");
            }
        }
    }
}

/// Gives up the lease and what this node owns, so that the others need not wait.
pub(crate) async fn leave(store: Arc<dyn QueueStore>) {
    let left = off_the_way(&store, |store| store.shared().map_or(Ok(()), SharedStore::leave)).await;
    if let Some(Err(error)) = left {
        tracing::warn!(%error, "the shards of this node could not be given up; others get them when its lease runs out");
    }
}

/// How long the directory may lag behind what other nodes changed where nobody asks.
pub(crate) const NEWS_EVERY: Duration = Duration::from_secs(1);

/// Calls the store where nobody waits behind the call.
async fn off_the_way<T: Send + 'static>(
    store: &Arc<dyn QueueStore>,
    call: impl FnOnce(&dyn QueueStore) -> T + Send + 'static,
) -> Option<T> {
    if !store.blocks() {
        return Some(call(&**store));
    }
    let store = Arc::clone(store);
    // A panic there is told by its own hook.
    tokio::task::spawn_blocking(move || call(&*store)).await.ok()
}
