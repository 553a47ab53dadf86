//! Every function version of every account, in memory, as control told it last.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lambfold_api::control::watch_event::Event;
use lambfold_api::control::{FunctionVersion, ScopeRevision, WatchEvent, WatchRequest};
use lambfold_types::Scope;

/// Scope, name and version.
pub(crate) type Key = (Scope, String, String);

/// The functions, by what callers name them.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    versions: HashMap<Key, Arc<FunctionVersion>>,
    by_incarnation: HashMap<String, HashSet<Key>>,
    configurations: HashSet<String>,
    /// The revision of each scope up to which everything is known.
    seen: HashMap<(String, String), u64>,
    /// Revisions of a listing that is not complete yet.
    listing: HashMap<(String, String), u64>,
    /// After a reset: what has come since.
    since_reset: Option<HashSet<Key>>,
    synced: bool,
    ever_synced: bool,
}

impl Functions {
    /// The request that begins or resumes the watch.
    pub(crate) fn begin(&mut self) -> WatchRequest {
        self.synced = false;
        self.listing.clear();
        // Without a place to go on from, everything is told again.
        self.since_reset = (self.seen.is_empty() && !self.versions.is_empty()).then(HashSet::new);
        let seen = self.seen.iter().map(|((account, region), revision)| ScopeRevision {
            account: account.clone(),
            region: region.clone(),
            revision: *revision,
        });
        WatchRequest {
            seen: seen.collect(),
            functions: true,
            event_source_mappings: false,
            function_urls: false,
        }
    }

    /// Takes over what control says. Returns the configurations that are no longer to be used.
    pub(crate) fn apply(&mut self, event: WatchEvent) -> Vec<String> {
        let mut outdated = Vec::new();
        if let Some(at) = event.at {
            // Of a listing that breaks off nobody knows what is missing.
            let revisions = if self.synced { &mut self.seen } else { &mut self.listing };
            let revision = revisions.entry((at.account, at.region)).or_default();
            *revision = at.revision.max(*revision);
        }
        match event.event {
            Some(Event::Function(function)) => outdated.extend(self.insert(function)),
            Some(Event::FunctionRemoved(incarnation)) => {
                for key in self.by_incarnation.remove(&incarnation).unwrap_or_default() {
                    outdated.extend(self.remove(&key));
                }
            }
            Some(Event::Reset(_)) => {
                self.synced = false;
                self.seen.clear();
                self.listing.clear();
                self.since_reset = Some(HashSet::new());
            }
            Some(Event::Synced(_)) => {
                self.synced = true;
                self.ever_synced = true;
                for (scope, revision) in self.listing.drain() {
                    let seen = self.seen.entry(scope).or_default();
                    *seen = revision.max(*seen);
                }
                if let Some(kept) = self.since_reset.take() {
                    let gone: Vec<Key> =
                        self.versions.keys().filter(|key| !kept.contains(*key)).cloned().collect();
                    for key in gone {
                        outdated.extend(self.remove(&key));
                    }
                }
            }
            Some(
                Event::EventSourceMapping(_) | Event::EventSourceMappingRemoved(_) | Event::FunctionUrls(_),
            )
            | None => {}
        }
        outdated
    }

    /// Control is not heard any more: what is known stays in force.
    pub(crate) fn disconnected(&mut self) {
        self.synced = false;
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<FunctionVersion>> {
        self.versions.get(key).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.versions.len()
    }

    /// Whether control is heard, and had told everything when it was heard last.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced
    }

    /// Whether environments of that configuration may be used. Before anything is known, all may.
    pub(crate) fn is_current(&self, configuration_id: &str) -> bool {
        !self.ever_synced || self.configurations.contains(configuration_id)
    }

    fn insert(&mut self, function: FunctionVersion) -> Option<String> {
        let (Ok(account), Ok(region)) = (function.account.parse(), function.region.parse()) else {
            tracing::error!(function.name = %function.function_name, "control names an impossible scope");
            return None;
        };
        let key = (Scope { account, region }, function.function_name.clone(), function.version.clone());
        if let Some(kept) = &mut self.since_reset {
            kept.insert(key.clone());
        }
        let outdated = match self.versions.get(&key) {
            Some(old) if old.configuration_id == function.configuration_id => None,
            Some(_) => self.remove(&key),
            None => None,
        };
        self.by_incarnation.entry(function.incarnation.clone()).or_default().insert(key.clone());
        self.configurations.insert(function.configuration_id.clone());
        self.versions.insert(key, Arc::new(function));
        outdated
    }

    fn remove(&mut self, key: &Key) -> Option<String> {
        let old = self.versions.remove(key)?;
        if let Some(keys) = self.by_incarnation.get_mut(&old.incarnation) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_incarnation.remove(&old.incarnation);
            }
        }
        self.configurations.remove(&old.configuration_id);
        Some(old.configuration_id.clone())
    }
}

#[cfg(test)]
mod tests {
    use lambfold_api::control::{Reset, Synced};

    use super::*;

    fn event(revision: u64, event: Event) -> WatchEvent {
        let scope = Scope::default();
        let at =
            ScopeRevision { account: scope.account.to_string(), region: scope.region.to_string(), revision };
        WatchEvent { at: Some(at), event: Some(event) }
    }

    fn function(name: &str, configuration_id: &str) -> Event {
        let scope = Scope::default();
        Event::Function(FunctionVersion {
            account: scope.account.to_string(),
            region: scope.region.to_string(),
            function_name: name.into(),
            version: "$LATEST".into(),
            incarnation: format!("{name}-1"),
            configuration_id: configuration_id.into(),
            ..FunctionVersion::default()
        })
    }

    fn key(name: &str) -> Key {
        (Scope::default(), name.into(), "$LATEST".into())
    }

    #[test]
    fn updates_and_removals_outdate_configurations() {
        let mut functions = Functions::default();
        assert!(functions.begin().seen.is_empty());
        assert!(functions.is_current("c1"));
        assert!(functions.apply(event(1, function("f", "c1"))).is_empty());
        functions.apply(event(1, Event::Synced(Synced {})));
        assert!(functions.is_synced() && functions.is_current("c1") && !functions.is_current("c0"));
        assert_eq!(functions.apply(event(2, function("f", "c2"))), ["c1"]);
        assert!(functions.apply(event(3, function("f", "c2"))).is_empty());
        assert_eq!(functions.get(&key("f")).unwrap().configuration_id, "c2");
        assert_eq!(functions.apply(event(4, Event::FunctionRemoved("f-1".into()))), ["c2"]);
        assert!(functions.get(&key("f")).is_none());
        assert_eq!(functions.begin().seen[0].revision, 4);
    }

    #[test]
    fn a_listing_that_breaks_off_counts_for_nothing() {
        let mut functions = Functions::default();
        functions.begin();
        functions.apply(event(7, function("f", "c1")));
        functions.disconnected();
        assert!(functions.get(&key("f")).is_some());
        assert!(functions.begin().seen.is_empty());
    }

    #[test]
    fn after_a_reset_only_what_follows_stays() {
        let mut functions = Functions::default();
        functions.begin();
        functions.apply(event(1, function("f", "c1")));
        functions.apply(event(2, function("g", "d1")));
        functions.apply(event(2, Event::Synced(Synced {})));
        functions.begin();
        functions.apply(event(0, Event::Reset(Reset {})));
        assert!(functions.get(&key("f")).is_some(), "what is known stays in force until all is told");
        assert_eq!(functions.apply(event(9, function("g", "d1"))).len(), 0);
        assert_eq!(functions.apply(event(9, Event::Synced(Synced {}))), ["c1"]);
        assert!(functions.get(&key("f")).is_none() && functions.get(&key("g")).is_some());
        assert_eq!(functions.begin().seen[0].revision, 9);
    }
}
