//! Every function URL of every account, as control told it last: a request needs no call to know where it leads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use lambfold_api::control::watch_event::Event;
use lambfold_api::control::{Control, FunctionUrl, FunctionUrls, WatchEvent, WatchRequest};
use lambfold_api::{CallContext, Fault};
use lambfold_types::{Clock, Entropy, Scope, uuid_v4};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How long a request waits for control while nothing was ever heard of it: a moment after a start.
const FIRST_NEWS: Duration = Duration::from_secs(5);

/// Where a URL leads, and what holds there.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) scope: Scope,
    pub(crate) function: String,
    pub(crate) url: FunctionUrl,
}

/// The URLs by their ids.
#[derive(Debug, Default)]
pub(crate) struct UrlTable {
    known: Mutex<Known>,
    synced: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Known {
    urls: Urls,
    /// What a listing has told so far that is not complete yet.
    listing: Option<Urls>,
}

#[derive(Debug, Default)]
struct Urls {
    targets: HashMap<String, Arc<Target>>,
    by_incarnation: HashMap<String, Vec<String>>,
}

impl Urls {
    fn remove(&mut self, incarnation: &str) {
        for id in self.by_incarnation.remove(incarnation).unwrap_or_default() {
            self.targets.remove(&id);
        }
    }

    fn insert(&mut self, told: FunctionUrls) {
        self.remove(&told.incarnation);
        let (Ok(account), Ok(region)) = (told.account.parse(), told.region.parse()) else {
            tracing::error!(function.name = %told.function_name, "control names an impossible scope");
            return;
        };
        if told.urls.is_empty() {
            return;
        }
        let scope = Scope { account, region };
        let ids = told.urls.iter().map(|url| url.url_id.clone()).collect();
        self.by_incarnation.insert(told.incarnation, ids);
        for url in told.urls {
            let (scope, function) = (scope.clone(), told.function_name.clone());
            self.targets.insert(url.url_id.clone(), Arc::new(Target { scope, function, url }));
        }
    }
}

impl UrlTable {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing that holds the lock leaves it half changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the URL of that id leads. `Err` if control has not been heard yet.
    pub(crate) async fn find(&self, id: &str, clock: &dyn Clock) -> Result<Option<Arc<Target>>, ()> {
        let found = |table: &Self| table.known().urls.targets.get(id).cloned();
        if !*self.synced.borrow() {
            let mut synced = self.synced.subscribe();
            let waited = async { synced.wait_for(|synced| *synced).await.is_ok() };
            tokio::select! {
                true = waited => {}
                () = clock.sleep_until(clock.now() + FIRST_NEWS) => return Err(()),
            }
        }
        Ok(found(self))
    }

    /// A listing begins; until it is complete, what is known stays in force.
    fn begin(&self) -> WatchRequest {
        self.known().listing = Some(Urls::default());
        WatchRequest { function_urls: true, acknowledges: true, ..WatchRequest::default() }
    }

    fn apply(&self, told: WatchEvent) {
        let mut known = self.known();
        let known = &mut *known;
        let urls = known.listing.as_mut().unwrap_or(&mut known.urls);
        match told.event {
            Some(Event::FunctionUrls(told)) => urls.insert(told),
            Some(Event::FunctionRemoved(incarnation)) => urls.remove(&incarnation),
            Some(Event::Reset(_)) => known.listing = Some(Urls::default()),
            Some(Event::Synced(_)) => {
                if let Some(listed) = known.listing.take() {
                    known.urls = listed;
                    self.synced.send_replace(true);
                }
            }
            _ => {}
        }
    }
}

/// Follows control until it is stopped. While control is away everything goes on as it was told last.
pub(crate) async fn follow(
    table: Arc<UrlTable>,
    control: Arc<dyn Control>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    stop: CancellationToken,
) {
    let mut wait = FIRST_WAIT;
    let following = async {
        loop {
            // No deadline: a watch is meant to last.
            let ctx = CallContext::internal(Scope::default(), uuid_v4(&*entropy));
            let ended = listen(&table, &*control, &ctx, &mut wait).await;
            tracing::debug!(fault = ended.err().map(tracing::field::display), "the watch of control ended");
            clock.sleep_until(clock.now() + wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = following => {}
    }
}

async fn listen(
    table: &UrlTable,
    control: &dyn Control,
    ctx: &CallContext,
    wait: &mut Duration,
) -> Result<(), Fault> {
    let mut events = control.watch(ctx, table.begin()).await?;
    while let Some(told) = events.next().await {
        let told = told?;
        *wait = FIRST_WAIT;
        match told.event {
            Some(Event::Mark(mark)) => drop(control.acknowledge_mark(ctx, mark).await?),
            _ => table.apply(told),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lambfold_api::control::{Reset, Synced};

    use super::*;

    #[test]
    fn urls_come_and_go_with_their_functions() {
        let table = UrlTable::default();
        let urls = |incarnation: &str, ids: &[&str]| {
            Event::FunctionUrls(FunctionUrls {
                account: "000000000000".into(),
                region: "us-east-1".into(),
                function_name: "f".into(),
                incarnation: incarnation.into(),
                urls: ids
                    .iter()
                    .map(|id| FunctionUrl { url_id: (*id).into(), ..FunctionUrl::default() })
                    .collect(),
            })
        };
        let tell = |event| table.apply(WatchEvent { at: None, event: Some(event) });
        let ids = || {
            let mut ids: Vec<_> = table.known().urls.targets.keys().cloned().collect();
            ids.sort();
            ids.join(" ")
        };
        table.begin();
        tell(urls("one", &["a", "b"]));
        tell(urls("two", &["c"]));
        assert_eq!(ids(), "", "not before all is told");
        tell(Event::Synced(Synced {}));
        assert_eq!(ids(), "a b c");
        tell(urls("one", &["b"]));
        assert_eq!(ids(), "b c");
        tell(Event::FunctionRemoved("one".into()));
        assert_eq!(ids(), "c");
        tell(Event::Reset(Reset {}));
        tell(urls("three", &["d"]));
        assert_eq!(ids(), "c");
        tell(Event::Synced(Synced {}));
        assert_eq!(ids(), "d");
    }
}
