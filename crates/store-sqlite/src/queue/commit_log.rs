//! The log in front of the database: a commit is one record in it, durable in one write ([ADR 016]). What was committed
//! is applied to the database behind the commits' backs, many commits in one transaction; most messages of a queue that is
//! worked off as fast as it is filled never get there. After a crash what is not applied yet is read back from the log.
//!
//! [ADR 016]: ../../../../docs/adr/016-commit-log.md

mod applier;
mod file;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use lambfold_queue::store::{FencedWrite, Result, ShardKey, ShardWrite, StoreError};

use self::file::{LogFile, Place};
use super::database::Database;
use super::space::Space;

/// So many rows are applied without waiting for the end of a segment.
const ROWS: usize = 4_096;

/// See the module.
#[derive(Debug)]
pub(super) struct CommitLog {
    shared: Arc<Shared>,
    applier: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    database: Arc<Database>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    file: LogFile,
    /// Where the next record is written...
    place: Place,
    /// ... and its number.
    next: u64,
    /// That of the last record that the database has.
    applied: u64,
    /// What the segment of `place` has and the database has not.
    pending: Vec<FencedWrite>,
    pending_rows: usize,
    /// What is being applied: the other segment's.
    applying: Option<Arc<Handed>>,
    /// Why that did not succeed when it was last tried.
    failure: Option<Failure>,
    /// Somebody waits for it.
    asked: bool,
    /// A record may have been written or not: no other one follows before the database has all that was decided.
    unsure: bool,
    /// The epochs of this process's owners.
    epochs: HashMap<ShardKey, u64>,
    stopping: bool,
}

/// What the applier is given.
#[derive(Debug)]
struct Handed {
    writes: Vec<FencedWrite>,
    /// The number of the last record of it.
    through: u64,
}

/// [`StoreError`], as it can be told to several.
#[derive(Clone, Debug)]
enum Failure {
    Full,
    Other(String),
}

impl From<&StoreError> for Failure {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Full => Self::Full,
            StoreError::Driver(source) => Self::Other(source.to_string()),
            error => Self::Other(error.to_string()),
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Full => Self::Full,
            Failure::Other(text) => Self::Driver(text.into()),
        }
    }
}

impl CommitLog {
    /// Opens the log of the database at `path`, and applies what is only there. `None` where the disk is too small for one.
    pub(super) fn open(path: &Path, database: &Arc<Database>, space: &Space) -> Result<Option<Self>> {
        let (applied, identity) = database.applied()?;
        let opened = LogFile::open(&beside(path), identity, space);
        let Some((file, records)) = opened.map_err(|error| StoreError::Driver(error.into()))? else {
            return Ok(None);
        };
        let mut next = applied + 1;
        let mut missing = Vec::new();
        for record in records.into_iter().filter(|record| record.number > applied) {
            if record.number != next {
                let detail = format!("record {next} is missing; there is {}", record.number);
                return Err(StoreError::Inconsistent { table: "commit_log", detail });
            }
            next += 1;
            missing.extend(record.batch);
        }
        missing.retain(|write| {
            let known = database.slot(write.shard);
            if let Err(error) = &known {
                tracing::error!(%error, "what was committed for a queue that is gone is left out");
            }
            known.is_ok()
        });
        if next > applied + 1 {
            database.apply(&missing, Some(next - 1))?;
            tracing::info!(commits = next - 1 - applied, "what was committed last is in the database now");
        }
        let state = State {
            file,
            place: Place::default(),
            next,
            applied: next - 1,
            pending: Vec::new(),
            pending_rows: 0,
            applying: None,
            failure: None,
            asked: false,
            unsure: false,
            epochs: HashMap::new(),
            stopping: false,
        };
        let shared = Arc::new(Shared {
            database: database.clone(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let applier = applier::start(shared.clone()).map_err(|error| StoreError::Driver(error.into()))?;
        Ok(Some(Self { shared, applier: Some(applier) }))
    }

    /// This process's owner of a shard decides under that epoch from now on.
    pub(super) fn taken(&self, shard: ShardKey, epoch: u64) {
        self.shared.state().epochs.insert(shard, epoch);
    }

    /// Such shards have no owner any more: their queue is to be deleted, or another owner to come.
    pub(super) fn given_up(&self, such: impl Fn(ShardKey) -> bool) {
        self.shared.state().epochs.retain(|shard, _| !such(*shard));
    }

    /// Makes `batch` durable.
    pub(super) fn commit(&self, batch: &[FencedWrite]) -> Result<()> {
        let mut state = self.shared.state();
        if let Some(stale) = batch.iter().find(|it| state.epochs.get(&it.shard) != Some(&it.epoch)) {
            return Err(StoreError::Fenced(stale.shard));
        }
        let number = state.next;
        if state.unsure || !state.file.encode(number, batch) {
            return self.apply_now(state, batch);
        }
        while !state.file.fits(state.place) {
            if state.applying.is_some() {
                state = self.shared.done(state)?;
            } else if state.pending.is_empty() {
                state.place = state.place.anew();
            } else {
                self.shared.hand_over(&mut state);
            }
        }
        let State { file, place, .. } = &mut *state;
        let appended = file.append(place);
        state.next += 1;
        if let Err(error) = appended {
            tracing::error!(%error, "the commit log cannot be written: the database is, instead");
            state.unsure = true;
            return self.apply_now(state, batch);
        }
        state.pending_rows += batch.iter().map(|write| write.write.weight().0).sum::<usize>();
        state.pending.extend_from_slice(batch);
        if state.pending_rows > ROWS && state.applying.is_none() {
            self.shared.hand_over(&mut state);
        }
        Ok(())
    }

    /// Without a record, behind all that has one. Of the thread that commits: nothing can come in between.
    fn apply_now(&self, state: MutexGuard<'_, State>, batch: &[FencedWrite]) -> Result<()> {
        let is_unsure = state.unsure;
        let mut state = self.shared.settled(state).map_err(|error| match error {
            // Then it is not sure that nothing of it will be there.
            StoreError::Full if is_unsure => {
                StoreError::Driver("no room is left for what is in the log".into())
            }
            error => error,
        })?;
        self.shared.database.apply(batch, Some(state.next - 1))?;
        state.unsure = false;
        state.place = state.place.anew();
        Ok(())
    }

    /// Waits until the database has all that was committed, if it has not something that `concerns` the caller.
    pub(super) fn settle(&self, concerns: impl Fn(&FencedWrite) -> bool) -> Result<()> {
        let state = self.shared.state();
        let applying = state.applying.iter().flat_map(|handed| &handed.writes);
        if state.unsure || state.pending.iter().chain(applying).any(concerns) {
            drop(self.shared.settled(state)?);
        }
        Ok(())
    }

    /// The first message of `shard` in `range` that the database may not know as it was committed.
    pub(super) fn first_in(&self, shard: ShardKey, range: &Range<u64>) -> Option<u64> {
        let state = self.shared.state();
        if state.unsure {
            return Some(range.start);
        }
        let applying = state.applying.iter().flat_map(|handed| &handed.writes);
        let writes = state.pending.iter().chain(applying).filter(|it| it.shard == shard);
        writes.flat_map(|it| sequences(&it.write)).filter(|sequence| range.contains(sequence)).min()
    }

    /// There is a pause: what was committed is applied, without waiting for it.
    pub(super) fn idle(&self) {
        let mut state = self.shared.state();
        if state.applying.is_none() && !state.pending.is_empty() {
            self.shared.hand_over(&mut state);
        }
    }

    /// By what a commit is durable, as the system says.
    pub(super) fn durability(&self) -> Result<&'static str> {
        self.shared.state().file.durability().map_err(|error| StoreError::Driver(error.into()))
    }
}

impl Drop for CommitLog {
    fn drop(&mut self) {
        self.shared.state().stopping = true;
        self.shared.changed.notify_all();
        if let Some(applier) = self.applier.take()
            && applier.join().is_err()
        {
            tracing::error!("the applier of the commit log panicked");
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the applier have what is pending, and goes on in the other segment. Nothing may be being applied.
    fn hand_over(&self, state: &mut State) {
        let writes = std::mem::take(&mut state.pending);
        state.pending_rows = 0;
        state.applying = Some(Arc::new(Handed { writes, through: state.next - 1 }));
        state.place = state.place.turned();
        self.changed.notify_all();
    }

    /// Waits until the applier has done what it has.
    fn done<'a>(&'a self, mut state: MutexGuard<'a, State>) -> Result<MutexGuard<'a, State>> {
        let Some(handed) = state.applying.clone() else { return Ok(state) };
        if state.failure.take().is_some() {
            state.asked = true;
            self.changed.notify_all();
        }
        while state.applied < handed.through {
            if let Some(failure) = &state.failure {
                return Err(failure.clone().into());
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(state)
    }

    /// Waits until the database has all that is committed now, not what is meanwhile.
    fn settled<'a>(&'a self, mut state: MutexGuard<'a, State>) -> Result<MutexGuard<'a, State>> {
        let through = state.next - 1;
        while state.applied < through {
            if state.applying.is_none() {
                self.hand_over(&mut state);
            }
            state = self.done(state)?;
        }
        Ok(state)
    }
}

/// The messages that a write is about.
pub(super) fn sequences(write: &ShardWrite) -> impl Iterator<Item = u64> {
    (write.inserts.iter().map(|row| row.sequence))
        .chain(write.deliveries.iter().map(|row| row.sequence))
        .chain(write.deletes.iter().copied())
}

/// Where the log of the database at `path` is. (`-journal`, `-wal` and `-shm` are SQLite's.)
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-commits");
    log.into()
}
