//! A store that survives its users, and the connections of each process to it, on which everything can go wrong.

mod owners;

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lambfold_queue::store::{
    DeduplicationRow, DeliveryRow, Directory, DirectoryChange, DirectoryNews, FencedWrite, MemoryCluster,
    MemoryNode, MessageRow, QueueRow, Result, ShardHead, ShardKey, ShardWrite, SharedStore, StoreError,
};
use lambfold_queue::{MoveTask, QueueStore};
use lambfold_types::{Clock, QueueName, Scope, Timestamp};

use crate::clock::VirtualClock;
use crate::dice::Dice;
use crate::executor::Process;
use crate::history::History;

pub(crate) use self::owners::{Owners, Takeover};

/// How often things go wrong: once in so many calls; zero is never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    /// The process dies before or after the call has taken effect.
    pub(crate) crash: usize,
    /// A write fails, or has taken effect and is said to have failed.
    pub(crate) failure: usize,
    /// A read fails.
    pub(crate) read_failure: usize,
    /// A node's renewal of its lease fails, has taken effect and is said to have failed, or takes long.
    pub(crate) renewal: usize,
}

/// How long a lease holds, as on Postgres.
pub(crate) const LEASE: Duration = Duration::from_secs(5);

/// What the connections share.
pub(crate) struct Disk {
    contents: MemoryCluster,
    clock: VirtualClock,
    pub(crate) state: Mutex<State>,
    history: History,
}

pub(crate) struct State {
    dice: Dice,
    pub(crate) rates: Rates,
    /// Whether new messages are refused for want of room.
    pub(crate) full: bool,
    /// Who owned what, and under which epoch.
    pub(crate) owners: Owners,
}

impl Disk {
    pub(crate) fn new(seed: u64, clock: VirtualClock, history: History) -> Arc<Self> {
        let contents = MemoryCluster::new(Arc::new(clock.clone()), LEASE);
        let owners = Owners::default();
        let state = State { dice: Dice::new(seed, 2), rates: Rates::default(), full: false, owners };
        Arc::new(Self { contents, clock, state: Mutex::new(state), history })
    }

    /// The move tasks that run, or shall go on, as the store has them.
    pub(crate) fn active_moves(&self) -> Result<Vec<MoveTask>> {
        self.contents.node().active_move_tasks()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process's way to the disk.
pub(crate) struct Connection {
    process: Process,
    disk: Arc<Disk>,
    contents: MemoryNode,
    /// Whether this is one of several nodes, which have leases.
    is_shared: bool,
    dead: AtomicBool,
    replaced: AtomicBool,
    cut_off: AtomicBool,
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
    pub(crate) fn new(process: Process, disk: &Arc<Disk>, is_shared: bool) -> Arc<Self> {
        Arc::new(Self {
            process,
            disk: Arc::clone(disk),
            contents: disk.contents.node(),
            is_shared,
            dead: AtomicBool::new(false),
            replaced: AtomicBool::new(false),
            cut_off: AtomicBool::new(false),
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

    /// Whether its calls fail for the time being: the network between it and the store is cut.
    pub(crate) fn cut_off(&self, is_cut_off: bool) {
        self.cut_off.store(is_cut_off, Ordering::Relaxed);
    }

    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Relaxed)
    }

    fn write<T>(
        &self,
        what: impl fmt::Display,
        can_be_unknown: bool,
        call: impl FnOnce(&MemoryNode) -> Result<T>,
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

    fn read<T>(&self, what: impl fmt::Display, call: impl FnOnce(&MemoryNode) -> Result<T>) -> Result<T> {
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
        call: impl FnOnce(&MemoryNode) -> Result<T>,
    ) -> Result<T> {
        if self.is_dead() || self.is_cut_off() {
            return Err(failure());
        }
        let result = match fate {
            Fate::CrashBefore | Fate::Refused => Err(failure()),
            Fate::Works => call(&self.contents),
            Fate::CrashAfter | Fate::Unknown => call(&self.contents).and_then(|_| Err(failure())),
        };
        if matches!(fate, Fate::CrashBefore | Fate::CrashAfter) {
            self.die();
        }
        let outcome = if result.is_ok() { "ok" } else { "failed" };
        self.disk.history.note(format_args!("  store p{} {what}: {outcome} ({fate:?})", self.process));
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
        self.write(format_args!("take_shard {shard}"), true, |store| {
            let head = store.take_shard(shard)?;
            self.disk.state().owners.takes(self.process, shard, head.epoch, self.disk.clock.now());
            Ok(head)
        })
    }

    fn apply(&self, batch: &[FencedWrite]) -> Result<()> {
        if self.disk.state().full && batch.iter().any(|write| !write.write.inserts.is_empty()) {
            self.disk.history.note(format_args!("  store p{} {}: full", self.process, Batch(batch)));
            return Err(StoreError::Full);
        }
        self.write(Batch(batch), true, |store| {
            store.apply(batch)?;
            self.disk.state().owners.commits(self.process, batch);
            Ok(())
        })
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
    fn shared(&self) -> Option<&dyn SharedStore> {
        self.is_shared.then_some(self)
    }
}

impl Connection {
    /// What is about the lease goes wrong more often than the rest; and time may pass before it takes effect, or before
    /// the answer is there.
    fn about_lease(&self, what: &str, call: impl FnOnce(&MemoryNode) -> Result<()>) -> Result<()> {
        let (fate, before, after) = {
            let mut state = self.disk.state();
            let often = state.rates.renewal;
            let fate = if state.dice.one_in(often) {
                state.dice.pick(&[Fate::Refused, Fate::Unknown, Fate::Works])
            } else {
                Fate::Works
            };
            let mut delay = || {
                let millis = if often > 0 { [0, 0, 0, 0, 300, 1_500, 4_000, 6_000] } else { [0; 8] };
                Duration::from_millis(state.dice.pick(&millis))
            };
            (fate, delay(), delay())
        };
        self.disk.clock.advance(before);
        let result = self.meet(fate, format_args!("{what} after {before:?}"), call);
        self.disk.clock.advance(after);
        result
    }
}

impl SharedStore for Connection {
    fn lease(&self) -> Duration {
        LEASE
    }

    fn join(&self, address: &str) -> Result<()> {
        self.about_lease("join", |store| store.join(address))
    }

    fn renew(&self) -> Result<()> {
        self.about_lease("renew", SharedStore::renew)
    }

    fn leave(&self) -> Result<()> {
        self.write("leave", true, SharedStore::leave)
    }

    fn news(&self, revision: u64) -> Result<DirectoryNews> {
        self.read("news", |store| store.news(revision))
    }

    fn move_tasks(&self, scope: &Scope, source: &QueueName) -> Result<Vec<MoveTask>> {
        self.read("move_tasks", |store| store.move_tasks(scope, source))
    }

    fn active_move_tasks(&self) -> Result<Vec<MoveTask>> {
        self.read("active_move_tasks", SharedStore::active_move_tasks)
    }
}
