//! What control knows of mappings and functions, followed as it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lambfold_api::CallContext;
use lambfold_api::control::watch_event::Event;
use lambfold_api::control::{ScopeRevision, WatchEvent, WatchRequest};
use lambfold_types::{Scope, uuid_v4};
use tokio::sync::mpsc;

use crate::backoff::Backoff;
use crate::functions::FunctionTimeouts;
use crate::mapping::Mapping;
use crate::shared::Shared;

/// What has become of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is there, perhaps as before.
    Is(Arc<Mapping>),
    /// It is gone, by UUID.
    Gone(String),
}

/// Follows control until `changes` is closed. While control is away everything goes on as it was told last.
pub(crate) async fn follow(shared: Arc<Shared>, changes: mpsc::Sender<Change>) {
    let mut catalogue = Catalogue::default();
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        // No deadline: a watch is meant to last.
        let ctx = CallContext::internal(Scope::default(), uuid_v4(&*shared.entropy));
        match shared.control.watch(&ctx, catalogue.begin()).await {
            Ok(mut events) => {
                while let Some(event) = events.next().await {
                    let event = match event {
                        Ok(event) => event,
                        Err(fault) => {
                            tracing::debug!(%fault, "the watch of control ended");
                            break;
                        }
                    };
                    backoff.succeeded();
                    for change in catalogue.apply(event, &shared.timeouts) {
                        if changes.send(change).await.is_err() {
                            return;
                        }
                    }
                }
            }
            Err(fault) => tracing::debug!(%fault, "control cannot be watched"),
        }
        let wait = backoff.failed(&*shared.entropy);
        tokio::select! {
            () = changes.closed() => return,
            () = shared.sleep(wait) => {}
        }
    }
}

/// Turns events into changes: knows which mappings were told before, so that a new listing finds those that vanished
/// while nobody watched.
#[derive(Debug, Default)]
struct Catalogue {
    /// The last revision seen of each (account, region); only what a finished listing covers.
    seen: BTreeMap<(String, String), u64>,
    known: BTreeSet<String>,
    /// Mappings told by the listing that is under way.
    listing: Option<BTreeSet<String>>,
}

impl Catalogue {
    /// What to ask for now.
    fn begin(&mut self) -> WatchRequest {
        // A listing that was cut off counts for nothing: its order is not that of revisions.
        if self.listing.is_some() {
            self.seen.clear();
        }
        self.listing = self.seen.is_empty().then(BTreeSet::new);
        let seen = self.seen.iter().map(|((account, region), revision)| ScopeRevision {
            account: account.clone(),
            region: region.clone(),
            revision: *revision,
        });
        WatchRequest {
            seen: seen.collect(),
            functions: true,
            event_source_mappings: true,
            ..WatchRequest::default()
        }
    }

    fn apply(&mut self, told: WatchEvent, timeouts: &FunctionTimeouts) -> Vec<Change> {
        let at = told.at;
        let Some(event) = told.event else { return Vec::new() };
        if matches!(event, Event::Reset(_)) {
            self.seen.clear();
            self.listing = Some(BTreeSet::new());
            timeouts.clear();
        }
        if let Some(at) = at {
            let seen = self.seen.entry((at.account, at.region)).or_default();
            *seen = at.revision.max(*seen);
        }
        match event {
            Event::Function(function) => timeouts.insert(function),
            Event::FunctionRemoved(incarnation) => timeouts.remove(&incarnation),
            Event::EventSourceMapping(mapping) => {
                let uuid = mapping.uuid.clone();
                match Mapping::try_from(mapping) {
                    Ok(mapping) => {
                        self.known.insert(uuid.clone());
                        self.listing.as_mut().map(|listing| listing.insert(uuid));
                        return vec![Change::Is(Arc::new(mapping))];
                    }
                    Err(error) => tracing::warn!(mapping.uuid = uuid, %error, "a mapping is not served"),
                }
            }
            Event::EventSourceMappingRemoved(uuid) => {
                self.known.remove(&uuid);
                return vec![Change::Gone(uuid)];
            }
            Event::Synced(_) => {
                if let Some(listed) = self.listing.take() {
                    let gone: Vec<String> = self.known.difference(&listed).cloned().collect();
                    self.known = listed;
                    return gone.into_iter().map(Change::Gone).collect();
                }
            }
            Event::Reset(_) | Event::FunctionUrls(_) | Event::Mark(_) => {}
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use lambfold_api::control::{Reset, Synced};

    use super::*;
    use crate::mapping::tests::told;

    fn event(revision: u64, event: Event) -> WatchEvent {
        let at = ScopeRevision { account: "000000000000".into(), region: "us-east-1".into(), revision };
        WatchEvent { at: Some(at), event: Some(event) }
    }

    fn mapping(uuid: &str) -> Event {
        Event::EventSourceMapping(lambfold_api::control::EventSourceMapping { uuid: uuid.into(), ..told() })
    }

    fn uuids(changes: &[Change]) -> Vec<String> {
        changes
            .iter()
            .map(|change| match change {
                Change::Is(mapping) => format!("+{}", mapping.uuid),
                Change::Gone(uuid) => format!("-{uuid}"),
            })
            .collect()
    }

    #[test]
    fn what_vanished_while_nobody_watched_is_found() {
        let timeouts = FunctionTimeouts::default();
        let mut catalogue = Catalogue::default();
        let apply = |catalogue: &mut Catalogue, it| uuids(&catalogue.apply(it, &timeouts));
        assert!(catalogue.begin().seen.is_empty());
        assert_eq!(apply(&mut catalogue, event(3, mapping("a"))), ["+a"]);
        assert_eq!(apply(&mut catalogue, event(4, mapping("b"))), ["+b"]);
        // Cut off before it was whole: list again.
        assert!(catalogue.begin().seen.is_empty());
        assert_eq!(apply(&mut catalogue, event(4, mapping("b"))), ["+b"]);
        assert_eq!(apply(&mut catalogue, event(5, Event::Synced(Synced {}))), ["-a"]);
        // From there on only what is new.
        assert_eq!(catalogue.begin().seen[0].revision, 5);
        assert_eq!(apply(&mut catalogue, event(6, mapping("c"))), ["+c"]);
        assert_eq!(apply(&mut catalogue, event(6, Event::Synced(Synced {}))), [""; 0]);
        assert_eq!(apply(&mut catalogue, event(7, Event::EventSourceMappingRemoved("b".into()))), ["-b"]);
        // The log does not reach back.
        assert_eq!(catalogue.begin().seen[0].revision, 7);
        let reset = WatchEvent { at: None, event: Some(Event::Reset(Reset {})) };
        assert_eq!(apply(&mut catalogue, reset), [""; 0]);
        assert_eq!(apply(&mut catalogue, event(9, mapping("d"))), ["+d"]);
        assert_eq!(apply(&mut catalogue, event(9, Event::Synced(Synced {}))), ["-c"]);
    }
}
