//! Logs in memory: for tests and simulation.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lambfold_types::{Scope, Timestamp};

use super::{
    Created, EMPTY_STREAM_MS, Edit, Found, From, GroupFilter, LogStore, Maintained, Page, Result, Scanned,
    StreamFilter, StreamQuery,
};
use crate::record::{Batch, EVENT_OVERHEAD, Event, Group, GroupSettings, Position, Stream};

/// Everything in maps.
#[derive(Debug, Default)]
pub struct MemoryLogStore(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    groups: BTreeMap<(Scope, String), StoredGroup>,
    /// The sequence that was given last; the first is 1.
    last_sequence: u64,
}

#[derive(Debug)]
struct StoredGroup {
    group: Group,
    streams: BTreeMap<String, Stream>,
    events: BTreeMap<Position, Event>,
}

impl StoredGroup {
    fn new(name: &str, settings: GroupSettings, now: Timestamp) -> Self {
        let group = Group { name: name.to_owned(), created: now, settings, stored_bytes: 0 };
        Self { group, streams: BTreeMap::new(), events: BTreeMap::new() }
    }

    fn remove(&mut self, position: Position) {
        if let Some(event) = self.events.remove(&position) {
            self.group.stored_bytes -= bytes(&event) as u64;
        }
    }
}

fn bytes(event: &Event) -> usize {
    event.message.len() + EVENT_OVERHEAD
}

fn new_stream(name: &str, now: Timestamp) -> Stream {
    Stream { name: name.to_owned(), created: now, first_event: None, last_event: None, last_ingestion: None }
}

/// The part of `events` that fits on a page.
fn fitting(events: impl Iterator<Item = Event>, page: Page) -> Vec<Event> {
    let (mut taken, mut size) = (Vec::new(), 0);
    for event in events.take(page.events) {
        size += bytes(&event);
        if size > page.bytes && !taken.is_empty() {
            break;
        }
        taken.push(event);
    }
    taken
}

impl MemoryLogStore {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock leaves it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn group(&mut self, scope: &Scope, name: &str) -> Option<&mut StoredGroup> {
        self.groups.get_mut(&(scope.clone(), name.to_owned()))
    }

    fn append(&mut self, batch: &Batch, now: Timestamp) -> Found<u64> {
        let first = self.last_sequence + 1;
        let key = (batch.scope.clone(), batch.group.clone());
        if batch.create {
            let make = || StoredGroup::new(&batch.group, GroupSettings::default(), now);
            self.groups.entry(key.clone()).or_insert_with(make);
        }
        let Some(group) = self.groups.get_mut(&key) else { return Found::NoGroup };
        if batch.create {
            let make = || new_stream(&batch.stream, now);
            group.streams.entry(batch.stream.clone()).or_insert_with(make);
        }
        let Some(stream) = group.streams.get_mut(&batch.stream) else { return Found::NoStream };
        for event in &batch.events {
            self.last_sequence += 1;
            let position = Position { time_ms: event.time.millis(), sequence: self.last_sequence };
            stream.first_event = Some(stream.first_event.map_or(event.time, |it| it.min(event.time)));
            stream.last_event = Some(stream.last_event.map_or(event.time, |it| it.max(event.time)));
            stream.last_ingestion = Some(now);
            group.group.stored_bytes += event.bytes() as u64;
            let kept = Event {
                position,
                stream: batch.stream.clone(),
                ingested: now,
                message: event.message.clone(),
            };
            group.events.insert(position, kept);
        }
        Found::Here(first)
    }
}

impl LogStore for MemoryLogStore {
    fn create_group(
        &self,
        scope: &Scope,
        name: &str,
        settings: &GroupSettings,
        now: Timestamp,
    ) -> Result<bool> {
        let mut state = self.state();
        if state.group(scope, name).is_some() {
            return Ok(false);
        }
        let group = StoredGroup::new(name, settings.clone(), now);
        state.groups.insert((scope.clone(), name.to_owned()), group);
        Ok(true)
    }

    fn group(&self, scope: &Scope, name: &str) -> Result<Option<Group>> {
        Ok(self.state().group(scope, name).map(|it| it.group.clone()))
    }

    fn groups(&self, scope: &Scope, filter: &GroupFilter, after: &str, max: usize) -> Result<Vec<Group>> {
        let state = self.state();
        let shown = state.groups.iter().filter(|((of, name), it)| {
            let class = filter.class.as_ref().is_none_or(|class| *class == it.group.settings.class);
            let named = name.starts_with(&filter.prefix) && name.contains(&filter.contains);
            of == scope && name.as_str() > after && class && named
        });
        Ok(shown.take(max).map(|(_, it)| it.group.clone()).collect())
    }

    fn edit_group(&self, scope: &Scope, name: &str, edit: Edit<'_>) -> Result<bool> {
        let mut state = self.state();
        let Some(group) = state.group(scope, name) else { return Ok(false) };
        let mut settings = group.group.settings.clone();
        if edit(&mut settings) {
            group.group.settings = settings;
        }
        Ok(true)
    }

    fn delete_group(&self, scope: &Scope, name: &str) -> Result<bool> {
        Ok(self.state().groups.remove(&(scope.clone(), name.to_owned())).is_some())
    }

    fn create_stream(&self, scope: &Scope, group: &str, stream: &str, now: Timestamp) -> Result<Created> {
        let mut state = self.state();
        let Some(group) = state.group(scope, group) else { return Ok(Created::NoGroup) };
        if group.streams.contains_key(stream) {
            return Ok(Created::Exists);
        }
        group.streams.insert(stream.to_owned(), new_stream(stream, now));
        Ok(Created::Made)
    }

    fn streams(&self, scope: &Scope, group: &str, query: &StreamQuery) -> Result<Found<Vec<Stream>>> {
        let mut state = self.state();
        let Some(group) = state.group(scope, group) else { return Ok(Found::NoGroup) };
        let key = |stream: &Stream| {
            let last = stream.last_event.map_or(0, Timestamp::millis);
            (if query.by_last_event { last } else { 0 }, stream.name.clone())
        };
        let mut streams: Vec<Stream> =
            group.streams.values().filter(|it| it.name.starts_with(&query.prefix)).cloned().collect();
        streams.sort_by_key(key);
        if query.descending {
            streams.reverse();
        }
        let after =
            query.after.clone().map(|(last, name)| (if query.by_last_event { last } else { 0 }, name));
        streams.retain(|stream| match &after {
            None => true,
            Some(after) if query.descending => key(stream) < *after,
            Some(after) => key(stream) > *after,
        });
        streams.truncate(query.max);
        Ok(Found::Here(streams))
    }

    fn delete_stream(&self, scope: &Scope, group: &str, stream: &str) -> Result<Found<()>> {
        let mut state = self.state();
        let Some(group) = state.group(scope, group) else { return Ok(Found::NoGroup) };
        if group.streams.remove(stream).is_none() {
            return Ok(Found::NoStream);
        }
        let gone: Vec<Position> = group
            .events
            .values()
            .filter(|event| event.stream == stream)
            .map(|event| event.position)
            .collect();
        for position in gone {
            group.remove(position);
        }
        Ok(Found::Here(()))
    }

    fn append(&self, batches: &[Batch], now: Timestamp) -> Result<Vec<Found<u64>>> {
        let mut state = self.state();
        Ok(batches.iter().map(|batch| state.append(batch, now)).collect())
    }

    fn read(
        &self,
        scope: &Scope,
        group: &str,
        stream: &str,
        times: Range<i64>,
        from: From,
        page: Page,
    ) -> Result<Found<Vec<Event>>> {
        let mut state = self.state();
        let Some(group) = state.group(scope, group) else { return Ok(Found::NoGroup) };
        if !group.streams.contains_key(stream) {
            return Ok(Found::NoStream);
        }
        let within = group.events.values().filter(|event| {
            let at = event.position;
            let beyond = match from {
                From::After(position) => at > position,
                From::Before(position) => at < position,
                From::Head | From::Tail => true,
            };
            event.stream == stream && times.contains(&at.time_ms) && beyond
        });
        Ok(Found::Here(match from {
            From::Head | From::After(_) => fitting(within.cloned(), page),
            From::Tail | From::Before(_) => {
                let mut events = fitting(within.rev().cloned(), page);
                events.reverse();
                events
            }
        }))
    }

    fn scan(
        &self,
        scope: &Scope,
        group: &str,
        streams: &StreamFilter,
        times: Range<i64>,
        after: Option<Position>,
        page: Page,
    ) -> Result<Found<Scanned>> {
        let mut state = self.state();
        let Some(group) = state.group(scope, group) else { return Ok(Found::NoGroup) };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let within = group.events.range((from, Bound::Unbounded));
        let within = within.filter(|(position, _)| times.contains(&position.time_ms)).map(|(_, event)| event);
        let looked_at = fitting(within.clone().cloned(), page);
        let resume =
            looked_at.last().map(|event| event.position).filter(|_| within.count() > looked_at.len());
        let events = looked_at.into_iter().filter(|event| streams.admits(&event.stream)).collect();
        Ok(Found::Here(Scanned { events, resume }))
    }

    fn maintain(&self, now: Timestamp, most_bytes: u64, budget: usize) -> Result<Maintained> {
        let mut state = self.state();
        let mut done = Maintained::default();
        for group in state.groups.values_mut() {
            let Some(before) = group.group.settings.expired_before(now) else { continue };
            let gone: Vec<Position> =
                group.events.keys().take_while(|it| it.time_ms < before.millis()).copied().collect();
            for position in gone {
                if done.expired == budget {
                    done.more = true;
                    break;
                }
                group.remove(position);
                done.expired += 1;
            }
        }
        while state.groups.values().map(|it| it.group.stored_bytes).sum::<u64>() > most_bytes {
            if done.expired + done.evicted >= budget {
                done.more = true;
                break;
            }
            let oldest = state
                .groups
                .iter()
                .flat_map(|(key, group)| group.events.keys().map(move |it| (it.sequence, *it, key.clone())))
                .min();
            let Some((_, position, key)) = oldest else { break };
            if let Some(group) = state.groups.get_mut(&key) {
                group.remove(position);
            }
            done.evicted += 1;
        }
        for group in state.groups.values_mut() {
            let StoredGroup { streams, events, .. } = group;
            streams.retain(|name, stream| {
                let recent =
                    stream.last_ingestion.is_none_or(|last| now.millis() - last.millis() < EMPTY_STREAM_MS);
                recent || events.values().any(|event| event.stream == *name)
            });
        }
        Ok(done)
    }

    fn stored_bytes(&self) -> Result<u64> {
        Ok(self.state().groups.values().map(|it| it.group.stored_bytes).sum())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn conforms() {
        crate::store::conformance::run(&super::MemoryLogStore::default());
    }
}
