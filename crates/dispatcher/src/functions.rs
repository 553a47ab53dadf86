//! Every function version of every account, in memory, as control told it last.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lambfold_api::control::watch_event::Event;
use lambfold_api::control::{
    FunctionSettings, FunctionVersion, ProvisionedConcurrency, ScopeRevision, WatchEvent, WatchRequest,
};
use lambfold_types::{Qualifier, Scope};

use crate::concurrency::Limits;

/// Scope and name.
pub(crate) type Name = (Scope, String);

/// Scope, name and version.
pub(crate) type Key = (Scope, String, String);

const LATEST: &str = "$LATEST";

/// The functions, by what callers name them.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    versions: HashMap<Key, Arc<FunctionVersion>>,
    /// What holds for all versions, by scope and name.
    settings: HashMap<Name, Arc<FunctionSettings>>,
    /// Functions of which environments are kept ready.
    provisioned: HashSet<Name>,
    /// Concurrency that functions of each scope have of their own.
    owned: HashMap<Scope, u32>,
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
        WatchRequest { seen: seen.collect(), functions: true, acknowledges: true, ..WatchRequest::default() }
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
                Event::EventSourceMapping(_)
                | Event::EventSourceMappingRemoved(_)
                | Event::FunctionUrls(_)
                | Event::Mark(_),
            )
            | None => {}
        }
        outdated
    }

    /// Control is not heard any more: what is known stays in force.
    pub(crate) fn disconnected(&mut self) {
        self.synced = false;
    }

    /// The version that a call of `qualifier` runs; of an alias with two versions, `share` (0 to 1) decides.
    pub(crate) fn resolve(
        &self,
        name: &Name,
        qualifier: &Qualifier,
        share: f64,
    ) -> Option<Arc<FunctionVersion>> {
        let version = match qualifier {
            Qualifier::Latest | Qualifier::Version(_) => qualifier.to_string(),
            Qualifier::Alias(alias) => {
                let aliases = &self.settings.get(name)?.aliases;
                let alias = aliases.iter().find(|it| it.name == **alias)?;
                let additional = !alias.additional_version.is_empty() && share < alias.additional_weight;
                if additional { alias.additional_version.clone() } else { alias.version.clone() }
            }
        };
        self.get(&(name.0.clone(), name.1.clone(), version))
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

    /// What there is for an invocation of that version, of an account that has so much.
    pub(crate) fn limits(&self, name: &Name, version: &FunctionVersion, account: u32) -> Limits {
        let settings = self.settings.get(name);
        let provisioned = settings.map_or(0, |settings| {
            let targets = targets(settings).into_iter().filter(|it| it.version == version.version);
            targets.map(|it| it.executions).sum()
        });
        let reserved = settings.and_then(|it| Some(it.reserved_concurrency?.saturating_sub(total(it))));
        let owned = self.owned.get(&name.0).copied().unwrap_or(0);
        let limits = Limits { provisioned, reserved, account: account.saturating_sub(owned) };
        if version.debugger.is_some() { limits.for_one_at_a_time() } else { limits }
    }

    /// Everything that is to be kept ready; `None` while not all is known.
    pub(crate) fn targets(&self) -> Option<Vec<Target>> {
        if !self.ever_synced {
            return None;
        }
        let mut all = Vec::new();
        for name in &self.provisioned {
            let Some(settings) = self.settings.get(name) else { continue };
            for split in targets(settings) {
                let key = (name.0.clone(), name.1.clone(), split.version);
                let version = self.get(&key).filter(|it| it.state == "Active");
                let (qualifier, executions, requested) = (split.qualifier, split.executions, split.requested);
                all.push(Target { name: name.clone(), qualifier, requested, executions, version });
            }
        }
        Some(all)
    }

    fn set_settings(&mut self, name: Name, settings: Option<FunctionSettings>) {
        let own = |it: &FunctionSettings| it.reserved_concurrency.unwrap_or_else(|| total(it));
        let before = self.settings.remove(&name);
        let owned = self.owned.entry(name.0.clone()).or_default();
        *owned = owned.saturating_sub(before.as_deref().map_or(0, own));
        *owned = owned.saturating_add(settings.as_ref().map_or(0, own));
        if *owned == 0 {
            self.owned.remove(&name.0);
        }
        self.provisioned.remove(&name);
        let Some(settings) = settings else { return };
        if !settings.provisioned.is_empty() {
            self.provisioned.insert(name.clone());
        }
        self.settings.insert(name, Arc::new(settings));
    }

    fn insert(&mut self, mut function: FunctionVersion) -> Option<String> {
        let (Ok(account), Ok(region)) = (function.account.parse(), function.region.parse()) else {
            tracing::error!(function.name = %function.function_name, "control names an impossible scope");
            return None;
        };
        let name = (Scope { account, region }, function.function_name.clone());
        // Nobody who runs a version needs them.
        let settings = function.settings.take();
        let key = (name.0.clone(), name.1.clone(), function.version.clone());
        if let Some(kept) = &mut self.since_reset {
            kept.insert(key.clone());
        }
        let outdated = match self.versions.get(&key) {
            Some(old) if old.configuration_id == function.configuration_id => None,
            Some(_) => self.remove(&key),
            None => None,
        };
        if let Some(settings) = settings {
            self.set_settings(name, Some(settings));
        }
        self.by_incarnation.entry(function.incarnation.clone()).or_default().insert(key.clone());
        self.configurations.insert(function.configuration_id.clone());
        self.versions.insert(key, Arc::new(function));
        outdated
    }

    fn remove(&mut self, key: &Key) -> Option<String> {
        let old = self.versions.remove(key)?;
        if key.2 == LATEST {
            self.set_settings((key.0.clone(), key.1.clone()), None);
        }
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

/// Environments to be kept ready of one version.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) name: Name,
    /// Under which it was asked for.
    pub(crate) qualifier: String,
    /// Under that qualifier, for whatever version.
    pub(crate) requested: u32,
    /// Of this version.
    pub(crate) executions: u32,
    /// The version, if it is there and active.
    pub(crate) version: Option<Arc<FunctionVersion>>,
}

/// The part of a request that is one version's.
struct Split {
    qualifier: String,
    requested: u32,
    version: String,
    executions: u32,
}

/// An alias with two versions has environments of both, in proportion.
fn targets(settings: &FunctionSettings) -> Vec<Split> {
    let mut all = Vec::new();
    for ProvisionedConcurrency { qualifier, executions } in &settings.provisioned {
        let mut add = |version: &str, part: u32| {
            let (qualifier, version) = (qualifier.clone(), version.to_owned());
            all.push(Split { qualifier, requested: *executions, version, executions: part });
        };
        match settings.aliases.iter().find(|alias| alias.name == *qualifier) {
            None => add(qualifier, *executions),
            Some(alias) if alias.additional_version.is_empty() => add(&alias.version, *executions),
            Some(alias) => {
                let part = additional_part(*executions, alias.additional_weight);
                add(&alias.version, *executions - part);
                add(&alias.additional_version, part);
            }
        }
    }
    all
}

/// The nearest whole number of environments.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a u32, from 0 to all of it"
)]
fn additional_part(executions: u32, weight: f64) -> u32 {
    (f64::from(executions) * weight.clamp(0.0, 1.0)).round() as u32
}

fn total(settings: &FunctionSettings) -> u32 {
    settings.provisioned.iter().map(|it| it.executions).fold(0, u32::saturating_add)
}

#[cfg(test)]
mod tests {
    use lambfold_api::control::{Alias, Reset, Synced};

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
    fn aliases_lead_to_versions_by_weight() {
        let mut functions = Functions::default();
        functions.begin();
        let version = |number: &str| match function("f", number) {
            Event::Function(it) => {
                Event::Function(FunctionVersion { version: number.into(), incarnation: number.into(), ..it })
            }
            other => other,
        };
        let alias = Alias {
            name: "live".into(),
            version: "1".into(),
            additional_version: "2".into(),
            additional_weight: 0.25,
        };
        let latest = match function("f", "c1") {
            Event::Function(it) => Event::Function(FunctionVersion {
                settings: Some(FunctionSettings { aliases: vec![alias], ..FunctionSettings::default() }),
                ..it
            }),
            other => other,
        };
        for event_of in [version("1"), version("2"), latest] {
            functions.apply(event(1, event_of));
        }
        let name = (Scope::default(), "f".to_owned());
        let resolve = |functions: &Functions, qualifier: &str, share| {
            let found = functions.resolve(&name, &qualifier.parse().unwrap(), share);
            found.map(|it| it.version.clone())
        };
        assert_eq!(resolve(&functions, "live", 0.24).as_deref(), Some("2"));
        assert_eq!(resolve(&functions, "live", 0.25).as_deref(), Some("1"));
        assert_eq!(resolve(&functions, "2", 0.9).as_deref(), Some("2"));
        assert_eq!(resolve(&functions, "dead", 0.5), None);
        // An update of the unpublished one leaves the others alone; its end takes the aliases away.
        assert_eq!(functions.apply(event(2, function("f", "c2"))), ["c1"]);
        assert_eq!(resolve(&functions, "$LATEST", 0.5).as_deref(), Some("$LATEST"));
        assert_eq!(resolve(&functions, "1", 0.5).as_deref(), Some("1"));
        functions.apply(event(3, Event::FunctionRemoved("f-1".into())));
        assert_eq!(resolve(&functions, "live", 0.5), None);
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
