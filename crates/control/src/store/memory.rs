//! The store in memory: for tests and simulations.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lambfold_types::{FunctionName, LayerName, Scope};

use super::{
    Change, ControlStore, Decision, Edit, EditVersion, Event, LOG_LENGTH, LayerFilter, MappingFilter,
    Publication, Publish, Snapshot, StoreError,
};
use crate::record::{
    Function, FunctionRecord, LayerVersion, LayerVersionRecord, Mapping, MappingRecord, Version,
    VersionRecord,
};

/// Keeps everything in maps.
#[derive(Debug, Default)]
pub struct MemoryControlStore(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    functions: BTreeMap<(Scope, FunctionName), FunctionRecord>,
    versions: BTreeMap<(Scope, FunctionName, u64), VersionRecord>,
    mappings: BTreeMap<(Scope, String), MappingRecord>,
    layers: BTreeMap<(Scope, LayerName), Layer>,
    revisions: BTreeMap<Scope, u64>,
    log: BTreeMap<Scope, VecDeque<Change>>,
}

#[derive(Debug, Default)]
struct Layer {
    /// The last number given, whatever was deleted.
    latest: u64,
    versions: BTreeMap<u64, LayerVersionRecord>,
}

impl Layer {
    /// Those that match, the newest first.
    fn matching(&self, filter: &LayerFilter) -> impl Iterator<Item = (u64, &LayerVersionRecord)> {
        let all = self.versions.iter().rev().map(|(version, record)| (*version, record));
        all.filter(|(_, record)| filter.admits(record))
    }
}

impl Tables {
    fn note(&mut self, scope: &Scope, event: Event) {
        let revision = self.revisions.entry(scope.clone()).or_default();
        *revision += 1;
        let log = self.log.entry(scope.clone()).or_default();
        log.push_back(Change { scope: scope.clone(), revision: *revision, event });
        while log.len() as u64 > LOG_LENGTH {
            log.pop_front();
        }
    }
}

impl Tables {
    fn keep_function(&mut self, scope: &Scope, name: &FunctionName, record: FunctionRecord) {
        self.functions.insert((scope.clone(), name.clone()), record.clone());
        let function = Function { scope: scope.clone(), name: name.clone(), record };
        self.note(scope, Event::Function(Box::new(function)));
    }

    fn keep_version(&mut self, scope: &Scope, name: &FunctionName, number: u64, record: VersionRecord) {
        self.versions.insert((scope.clone(), name.clone(), number), record.clone());
        let version = Version { scope: scope.clone(), name: name.clone(), number, record };
        self.note(scope, Event::Version(Box::new(version)));
    }

    fn versions_of(
        &self,
        scope: &Scope,
        name: &FunctionName,
        after: u64,
    ) -> impl Iterator<Item = (u64, &VersionRecord)> {
        let key = |number| (scope.clone(), name.clone(), number);
        let found = self.versions.range((Bound::Excluded(key(after)), Bound::Included(key(u64::MAX))));
        found.map(|((_, _, number), record)| (*number, record))
    }
}

impl MemoryControlStore {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ControlStore for MemoryControlStore {
    fn create_function(&self, function: &Function) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let key = (function.scope.clone(), function.name.clone());
        if tables.functions.contains_key(&key) {
            return Ok(false);
        }
        tables.functions.insert(key, function.record.clone());
        tables.note(&function.scope, Event::Function(Box::new(function.clone())));
        Ok(true)
    }

    fn function(&self, scope: &Scope, name: &FunctionName) -> Result<Option<FunctionRecord>, StoreError> {
        Ok(self.tables().functions.get(&(scope.clone(), name.clone())).cloned())
    }

    fn functions(
        &self,
        scope: &Scope,
        after: Option<&FunctionName>,
        max: usize,
    ) -> Result<Vec<Function>, StoreError> {
        let tables = self.tables();
        let found = tables
            .functions
            .iter()
            .filter(|((of, name), _)| of == scope && after.is_none_or(|after| name > after));
        Ok(found
            .take(max)
            .map(|((scope, name), record)| Function {
                scope: scope.clone(),
                name: name.clone(),
                record: record.clone(),
            })
            .collect())
    }

    fn edit_function(
        &self,
        scope: &Scope,
        name: &FunctionName,
        edit: Edit<'_, FunctionRecord>,
    ) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let key = (scope.clone(), name.clone());
        let Some(mut record) = tables.functions.get(&key).cloned() else { return Ok(false) };
        match edit(&mut record) {
            Decision::Leave => {}
            Decision::Remove => {
                let versions: Vec<_> = tables
                    .versions_of(scope, name, 0)
                    .map(|(number, record)| (number, record.incarnation.clone()))
                    .collect();
                for (number, incarnation) in versions {
                    tables.versions.remove(&(scope.clone(), name.clone(), number));
                    tables.note(scope, Event::FunctionRemoved(incarnation));
                }
                tables.functions.remove(&key);
                tables.note(scope, Event::FunctionRemoved(record.incarnation));
            }
            Decision::Keep => tables.keep_function(scope, name, record),
        }
        Ok(true)
    }

    fn publish_version(
        &self,
        scope: &Scope,
        name: &FunctionName,
        publish: Publish<'_>,
    ) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let key = (scope.clone(), name.clone());
        let Some(mut record) = tables.functions.get(&key).cloned() else { return Ok(false) };
        let last = tables.versions.get(&(key.0, key.1, record.versions.last));
        let publication = publish(&mut record, last);
        let number = record.versions.last;
        if publication != Publication::Leave {
            tables.keep_function(scope, name, record);
        }
        if let Publication::Publish(version) = publication {
            tables.keep_version(scope, name, number, *version);
        }
        Ok(true)
    }

    fn function_version(
        &self,
        scope: &Scope,
        name: &FunctionName,
        number: u64,
    ) -> Result<Option<VersionRecord>, StoreError> {
        Ok(self.tables().versions.get(&(scope.clone(), name.clone(), number)).cloned())
    }

    fn function_versions(
        &self,
        scope: &Scope,
        name: &FunctionName,
        after: u64,
        max: usize,
    ) -> Result<Vec<Version>, StoreError> {
        let tables = self.tables();
        let found = tables.versions_of(scope, name, after).take(max).map(|(number, record)| Version {
            scope: scope.clone(),
            name: name.clone(),
            number,
            record: record.clone(),
        });
        Ok(found.collect())
    }

    fn edit_version(
        &self,
        scope: &Scope,
        name: &FunctionName,
        number: u64,
        edit: EditVersion<'_>,
    ) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let key = (scope.clone(), name.clone(), number);
        let Some(stored) = tables.versions.get(&key).cloned() else { return Ok(false) };
        let mut version = stored.clone();
        let function = tables.functions.get(&(scope.clone(), name.clone())).cloned();
        let Some(before) = function else { return Ok(false) };
        let mut function = before.clone();
        let decision = edit(&mut function, &mut version);
        if decision != Decision::Leave && function != before {
            tables.keep_function(scope, name, function);
        }
        match decision {
            Decision::Leave => {}
            Decision::Remove => {
                tables.versions.remove(&key);
                tables.note(scope, Event::FunctionRemoved(version.incarnation));
            }
            Decision::Keep if version == stored => {}
            Decision::Keep => tables.keep_version(scope, name, number, version),
        }
        Ok(true)
    }

    fn create_mapping(&self, mapping: &Mapping) -> Result<Option<String>, StoreError> {
        let mut tables = self.tables();
        let twin = tables.mappings.iter().find(|((scope, _), record)| {
            *scope == mapping.scope
                && record.event_source_arn == mapping.record.event_source_arn
                && record.function_name == mapping.record.function_name
                && record.qualifier == mapping.record.qualifier
        });
        if let Some(((_, uuid), _)) = twin {
            return Ok(Some(uuid.clone()));
        }
        tables.mappings.insert((mapping.scope.clone(), mapping.uuid.clone()), mapping.record.clone());
        tables.note(&mapping.scope, Event::Mapping(Box::new(mapping.clone())));
        Ok(None)
    }

    fn mapping(&self, scope: &Scope, uuid: &str) -> Result<Option<MappingRecord>, StoreError> {
        Ok(self.tables().mappings.get(&(scope.clone(), uuid.to_owned())).cloned())
    }

    fn mappings(
        &self,
        scope: &Scope,
        filter: &MappingFilter,
        after: Option<&str>,
        max: usize,
    ) -> Result<Vec<Mapping>, StoreError> {
        let tables = self.tables();
        let found = tables.mappings.iter().filter(|((of, uuid), record)| {
            of == scope && after.is_none_or(|after| uuid.as_str() > after) && filter.admits(record)
        });
        Ok(found
            .take(max)
            .map(|((scope, uuid), record)| Mapping {
                scope: scope.clone(),
                uuid: uuid.clone(),
                record: record.clone(),
            })
            .collect())
    }

    fn edit_mapping(
        &self,
        scope: &Scope,
        uuid: &str,
        edit: Edit<'_, MappingRecord>,
    ) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let key = (scope.clone(), uuid.to_owned());
        let Some(mut record) = tables.mappings.get(&key).cloned() else { return Ok(false) };
        match edit(&mut record) {
            Decision::Leave => {}
            Decision::Remove => {
                tables.mappings.remove(&key);
                tables.note(scope, Event::MappingRemoved(uuid.to_owned()));
            }
            Decision::Keep => {
                tables.mappings.insert(key, record.clone());
                let mapping = Mapping { scope: scope.clone(), uuid: uuid.to_owned(), record };
                tables.note(scope, Event::Mapping(Box::new(mapping)));
            }
        }
        Ok(true)
    }

    fn publish_layer_version(
        &self,
        scope: &Scope,
        layer: &LayerName,
        record: &LayerVersionRecord,
    ) -> Result<u64, StoreError> {
        let mut tables = self.tables();
        let layer = tables.layers.entry((scope.clone(), layer.clone())).or_default();
        layer.latest += 1;
        layer.versions.insert(layer.latest, record.clone());
        Ok(layer.latest)
    }

    fn layer_version(
        &self,
        scope: &Scope,
        layer: &LayerName,
        version: u64,
    ) -> Result<Option<LayerVersionRecord>, StoreError> {
        let tables = self.tables();
        let layer = tables.layers.get(&(scope.clone(), layer.clone()));
        Ok(layer.and_then(|layer| layer.versions.get(&version)).cloned())
    }

    fn layer_versions(
        &self,
        scope: &Scope,
        layer: &LayerName,
        filter: &LayerFilter,
        before: Option<u64>,
        max: usize,
    ) -> Result<Vec<LayerVersion>, StoreError> {
        let tables = self.tables();
        let Some(of) = tables.layers.get(&(scope.clone(), layer.clone())) else { return Ok(Vec::new()) };
        let found = of.matching(filter).filter(|(version, _)| before.is_none_or(|before| *version < before));
        Ok(found
            .take(max)
            .map(|(version, record)| LayerVersion {
                scope: scope.clone(),
                name: layer.clone(),
                version,
                record: record.clone(),
            })
            .collect())
    }

    fn layers(
        &self,
        scope: &Scope,
        filter: &LayerFilter,
        after: Option<&LayerName>,
        max: usize,
    ) -> Result<Vec<LayerVersion>, StoreError> {
        let tables = self.tables();
        let found = tables
            .layers
            .iter()
            .filter(|((of, name), _)| of == scope && after.is_none_or(|after| name > after));
        let latest = found.filter_map(|((_, name), layer)| {
            let (version, record) = layer.matching(filter).next()?;
            let (scope, name) = (scope.clone(), name.clone());
            Some(LayerVersion { scope, name, version, record: record.clone() })
        });
        Ok(latest.take(max).collect())
    }

    fn layer_packages(&self) -> Result<Vec<String>, StoreError> {
        let tables = self.tables();
        let versions = tables.layers.values().flat_map(|layer| layer.versions.values());
        Ok(versions.map(|record| record.package.code_sha256.clone()).collect())
    }

    fn edit_layer_version(
        &self,
        scope: &Scope,
        layer: &LayerName,
        version: u64,
        edit: Edit<'_, LayerVersionRecord>,
    ) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let Some(layer) = tables.layers.get_mut(&(scope.clone(), layer.clone())) else { return Ok(false) };
        let Some(mut record) = layer.versions.get(&version).cloned() else { return Ok(false) };
        match edit(&mut record) {
            Decision::Leave => {}
            Decision::Remove => drop(layer.versions.remove(&version)),
            Decision::Keep => drop(layer.versions.insert(version, record)),
        }
        Ok(true)
    }

    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let tables = self.tables();
        let functions = tables.functions.iter().map(|((scope, name), record)| Function {
            scope: scope.clone(),
            name: name.clone(),
            record: record.clone(),
        });
        let versions = tables.versions.iter().map(|((scope, name, number), record)| Version {
            scope: scope.clone(),
            name: name.clone(),
            number: *number,
            record: record.clone(),
        });
        let mappings = tables.mappings.iter().map(|((scope, uuid), record)| Mapping {
            scope: scope.clone(),
            uuid: uuid.clone(),
            record: record.clone(),
        });
        Ok(Snapshot {
            versions: versions.collect(),
            revisions: tables.revisions.iter().map(|(scope, revision)| (scope.clone(), *revision)).collect(),
            functions: functions.collect(),
            mappings: mappings.collect(),
        })
    }

    fn changes(&self, seen: &[(Scope, u64)]) -> Result<Option<Vec<Change>>, StoreError> {
        let tables = self.tables();
        let mut changes = Vec::new();
        for (scope, log) in &tables.log {
            let seen = seen.iter().find(|(of, _)| of == scope).map_or(0, |(_, revision)| *revision);
            let forgotten = log.front().is_some_and(|oldest| oldest.revision > seen + 1);
            if forgotten || log.back().is_some_and(|newest| newest.revision < seen) {
                return Ok(None);
            }
            changes.extend(log.iter().filter(|change| change.revision > seen).cloned());
        }
        Ok(Some(changes))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn conforms() {
        crate::store::conformance::run(&super::MemoryControlStore::default());
    }
}
