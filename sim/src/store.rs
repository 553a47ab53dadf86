//! A store that survives its users, and the connections of each process to it, on which everything can go wrong.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lambfold_queue::QueueStore;
use lambfold_queue::store::{
    DeduplicationRow, DeliveryRow, Directory, DirectoryChange, FencedWrite, MemoryStore, MessageRow,
    QueueRow, Result, ShardHead, ShardKey, ShardWrite, StoreError,
};
use lambfold_types::Timestamp;

use crate::dice::Dice;
use crate::executor::Process;
use crate::history::History;

/// How often things go wrong: once in so many calls; zero is never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    /// The process dies before or after the call has taken effect.
    pub(crate) crash: usize,
    /// A write fails, or has taken effect and is said to have failed.
    pub(crate) failure: usize,
    /// A read fails.
    pub(crate) read_failure: usize,
}

/// What the connections share.
pub(crate) struct Disk {
    pub(crate) contents: MemoryStore,
    pub(crate) state: Mutex<State>,
    history: History,
}

pub(crate) struct State {
    dice: Dice,
    pub(crate) rates: Rates,
    /// Whether new messages are refused for want of room.
    pub(crate) full: bool,
    /// Calls that failed since the simulation last asked.
    pub(crate) faults: usize,
}

impl Disk {
    pub(crate) fn new(seed: u64, history: History) -> Arc<Self> {
        let state = State { dice: Dice::new(seed, 2), rates: Rates::default(), full: false, faults: 0 };
        Arc::new(Self { contents: MemoryStore::new(), state: Mutex::new(state), history })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process's way to the disk.
pub(crate) struct Connection {
    process: Process,
    disk: Arc<Disk>,
    dead: AtomicBool,
    replaced: AtomicBool,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Works,
    /// The process dies before it.
    CrashBefore,
    /// The process dies after it.
    CrashAfter,
    /// It has no effect, and says so.
    Refused,
    /// It has taken effect, but that is not known.
    Unknown,
}

impl Connection {
    pub(crate) fn new(process: Process, disk: &Arc<Disk>) -> Arc<Self> {
        Arc::new(Self {
            process,
            disk: Arc::clone(disk),
            dead: AtomicBool::new(false),
            replaced: AtomicBool::new(false),
        })
    }

    /// Whether the process died in a call. Nobody sees what it did in the same step after that: its tasks are dropped
    /// before they are polled again.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// From now on nothing gets through.
    pub(crate) fn die(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// Another process has taken over. This one can take no shard any more, as if the other had a lease; what it has it
    /// keeps until the other takes it.
    pub(crate) fn is_replaced(&self) {
        self.replaced.store(true, Ordering::Relaxed);
    }

    fn write<T>(
        &self,
        what: impl fmt::Display,
        can_be_unknown: bool,
        call: impl FnOnce(&MemoryStore) -> Result<T>,
    ) -> Result<T> {
        let fate = {
            let mut state = self.disk.state();
            let Rates { crash, failure, .. } = state.rates;
            if state.dice.one_in(crash) {
                if state.dice.one_in(2) { Fate::CrashBefore } else { Fate::CrashAfter }
            } else if state.dice.one_in(failure) {
                if can_be_unknown && state.dice.one_in(2) { Fate::Unknown } else { Fate::Refused }
            } else {
                Fate::Works
            }
        };
        self.meet(fate, what, call)
    }

    fn read<T>(&self, what: impl fmt::Display, call: impl FnOnce(&MemoryStore) -> Result<T>) -> Result<T> {
        let fate = {
            let mut state = self.disk.state();
            let Rates { crash, read_failure, .. } = state.rates;
            if state.dice.one_in(crash) {
                Fate::CrashBefore
            } else if state.dice.one_in(read_failure) {
                Fate::Refused
            } else {
                Fate::Works
            }
        };
        self.meet(fate, what, call)
    }

    fn meet<T>(
        &self,
        fate: Fate,
        what: impl fmt::Display,
        call: impl FnOnce(&MemoryStore) -> Result<T>,
    ) -> Result<T> {
        if self.is_dead() {
            return Err(failure());
        }
        let result = match fate {
            Fate::CrashBefore | Fate::Refused => Err(failure()),
            Fate::Works => call(&self.disk.contents),
            Fate::CrashAfter | Fate::Unknown => call(&self.disk.contents).and_then(|_| Err(failure())),
        };
        if matches!(fate, Fate::CrashBefore | Fate::CrashAfter) {
            self.die();
        }
        let outcome = if result.is_ok() { "ok" } else { "failed" };
        self.disk.history.note(format_args!("  store p{} {what}: {outcome} ({fate:?})", self.process));
        self.disk.state().faults += usize::from(result.is_err());
        result
    }
}

fn failure() -> StoreError {
    StoreError::Driver("the simulation had it fail".into())
}

/// A batch as the history shows it.
struct Batch<'a>(&'a [FencedWrite]);

impl fmt::Display for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "apply")?;
        for FencedWrite { shard, epoch, write } in self.0 {
            let ShardWrite { inserts, deliveries, deletes, purge, .. } = write;
            write!(f, " [{shard} e{epoch}")?;
            for row in inserts {
                write!(f, " +{}", row.sequence)?;
            }
            for row in deliveries {
                write!(f, " ~{}:{}", row.sequence, row.receive_count)?;
            }
            for sequence in deletes {
                write!(f, " -{sequence}")?;
            }
            if let Some((before, _)) = purge {
                write!(f, " purge<{before}")?;
            }
            write!(f, "]")?;
        }
        Ok(())
    }
}

impl QueueStore for Connection {
    fn blocks(&self) -> bool {
        false
    }

    fn load_directory(&self) -> Result<Directory> {
        self.read("load_directory", QueueStore::load_directory)
    }

    fn create_queue(&self, row: &QueueRow) -> Result<QueueRow> {
        self.write(format_args!("create_queue {}", row.name), true, |store| store.create_queue(row))
    }

    fn change_directory(&self, change: &DirectoryChange) -> Result<()> {
        let what = match change {
            DirectoryChange::SetProperties { incarnation, .. } => format!("set_properties {incarnation}"),
            DirectoryChange::Delete { incarnation, .. } => format!("delete_queue {incarnation}"),
            DirectoryChange::AddMacKey(key) => format!("add_mac_key {}", key.id),
            DirectoryChange::PutMoveTask(task) => {
                format!("put_move_task {} {:?} moved {}", task.source, task.status, task.moved)
            }
            DirectoryChange::ForgetMoveTask(id) => format!("forget_move_task {id}"),
        };
        self.write(what, true, |store| store.change_directory(change))
    }

    fn take_shard(&self, shard: ShardKey) -> Result<ShardHead> {
        if self.replaced.load(Ordering::Relaxed) {
            return Err(StoreError::OwnedElsewhere { shard, address: "the next process".to_owned() });
        }
        self.write(format_args!("take_shard {shard}"), true, |store| store.take_shard(shard))
    }

    fn apply(&self, batch: &[FencedWrite]) -> Result<()> {
        if self.disk.state().full && batch.iter().any(|write| !write.write.inserts.is_empty()) {
            self.disk.history.note(format_args!("  store p{} {}: full", self.process, Batch(batch)));
            return Err(StoreError::Full);
        }
        self.write(Batch(batch), true, |store| store.apply(batch))
    }

    fn load_deliveries(&self, shard: ShardKey, from: u64, limit: usize) -> Result<Vec<DeliveryRow>> {
        self.read("load_deliveries", |store| store.load_deliveries(shard, from, limit))
    }

    fn load_deduplications(&self, shard: ShardKey, from: u64, limit: usize) -> Result<Vec<DeduplicationRow>> {
        self.read("load_deduplications", |store| store.load_deduplications(shard, from, limit))
    }

    fn load_page(
        &self,
        shard: ShardKey,
        range: Range<u64>,
        max_messages: usize,
        max_bytes: usize,
    ) -> Result<(Vec<MessageRow>, bool)> {
        self.read("load_page", |store| store.load_page(shard, range, max_messages, max_bytes))
    }

    fn load_messages(&self, shard: ShardKey, sequences: &[u64], max_bytes: usize) -> Result<Vec<MessageRow>> {
        self.read("load_messages", |store| store.load_messages(shard, sequences, max_bytes))
    }

    fn collect(&self, limit: usize, forget_before: Timestamp) -> Result<bool> {
        self.write("collect", true, |store| store.collect(limit, forget_before))
    }

    fn idle(&self) {}
}
