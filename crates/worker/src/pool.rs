//! Execution environments that wait for functions: finished sandboxes with interpreter and bootstrap loaded, so that a
//! cold start only has to attach the code. Filled behind the requests' backs; [`crate::launch`] takes from here first and
//! starts an environment from nothing where that is not possible.
//!
//! Where a function cannot be given to an interpreter that runs already, or its runtime has none, a bare sandbox waits: no
//! program is in it, but making its namespaces and entering its control groups is done.
//!
//! One that waits has seen nothing of any function; it serves one function's version from then on, for its life.
//!
//! V8 is told how much memory there is when it starts. So a Node.js that waits does so for functions of one memory size: AWS's
//! default, or one that functions lately had ([`by_size`]).

mod by_size;
mod fit;
mod size;

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lambfold_api::control::FunctionVersion;
use lambfold_sandbox::{Assignment, SandboxError, WaitingProgram};
use lambfold_types::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use self::by_size::BySize;
pub(crate) use self::size::at_most as waiting_at_most;
use self::size::{Demand, Want, shares};
use crate::error::LaunchError;
use crate::interpreter::{Interpreter, Interpreters, Language};
use crate::launch::{Launcher, assigned_memory};
use crate::metrics::{Metrics, RuntimeLabels};
use crate::options::Options;
use crate::runtime_files;
use crate::vacant::{RUNTIME_API, Vacant};
use crate::variables::at_start;

/// How often sizes are looked at when nothing happens.
const TICK: Duration = Duration::from_secs(5);
/// What a function that starts is given before the next environment is made: the machine is its own for so long.
const STEP_BACK: Duration = Duration::from_millis(5);
/// How often, at most: an environment must be made at some time.
const STEPS_BACK: u32 = 50;
/// After an environment could not be made; doubled each time.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// The memory of a function that says nothing of it, on AWS.
const USUAL_MEMORY_MB: u32 = 128;

/// The pools of a worker.
pub(crate) struct Pools {
    /// Those that are there whether anybody asks or not; none if nothing is to wait.
    fixed: Vec<Arc<Pool>>,
    /// Locked before the state of a pool, where both are.
    by_size: Mutex<BySize>,
    memory_mib: u64,
    minimum: u32,
    /// Functions that are starting.
    starting: AtomicUsize,
    /// Something was taken.
    changed: Notify,
    metrics: Metrics,
}

struct Pool {
    of: Kind,
    /// What one that waits takes.
    mib_each: u64,
    labels: RuntimeLabels,
    /// How long some wait after somebody asked; `None`: always, and before anybody did.
    kept: Option<Duration>,
    state: Mutex<State>,
}

/// What waits.
enum Kind {
    /// A bootstrap on this interpreter, for functions of that memory; `None`: of any.
    Bootstrap(Interpreter, Option<u32>),
    /// A sandbox with this language's runtime directory; `None`: for runtimes that functions bring.
    Bare(Option<Language>),
}

impl Pool {
    fn new(of: Kind, mib_each: u64, runtime: String, kept: Option<Duration>) -> Self {
        Self { of, mib_each, labels: RuntimeLabels { runtime }, kept, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock leaves it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Vacant>,
    being_made: u32,
    demand: Demand,
    /// When somebody last asked.
    asked: Option<Timestamp>,
    /// It is no longer one of the pools: what is made for it still goes.
    gone: bool,
    /// In succession.
    failures: u32,
    not_before: Timestamp,
}

/// Counted as a start while it exists.
pub(crate) struct Starting<'a>(&'a AtomicUsize);

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pools {
    /// Empty pools; [`fill`] fills them. None at all where the options or the level of isolation (`own_root`) forbid it.
    pub(crate) fn new(
        options: &Options,
        own_root: bool,
        interpreters: &Interpreters,
        metrics: Metrics,
    ) -> Self {
        let all_off = !own_root || options.pool_memory_mib == 0;
        let found = if all_off { &[] } else { interpreters.found() };
        let bootstraps = found.iter().filter_map(|interpreter| {
            let newest = !found
                .iter()
                .any(|other| other.language == interpreter.language && other.version > interpreter.version);
            let mib_each = size::mib_each(interpreter.language)?;
            let memory_mb = size::is_for_one_memory(interpreter.language).then_some(USUAL_MEMORY_MB);
            // What is of use to one memory size only waits uninvited for the newest.
            let is_fixed = newest || memory_mb.is_none();
            let kept = (!newest).then_some(size::MEMORY);
            let kind = Kind::Bootstrap(interpreter.clone(), memory_mb);
            is_fixed.then(|| Pool::new(kind, mib_each, label(interpreter, memory_mb), kept))
        });
        let brought = (!all_off).then_some(None);
        let languages: BTreeSet<Option<Language>> =
            found.iter().map(|interpreter| Some(interpreter.language)).chain(brought).collect();
        let bare = languages.into_iter().map(|language| {
            let name = language.map_or_else(|| "provided".to_owned(), |it| it.to_string());
            Pool::new(Kind::Bare(language), size::BARE_MIB, format!("bare {name}"), None)
        });
        Self {
            fixed: bootstraps.chain(bare).map(Arc::new).collect(),
            by_size: Mutex::default(),
            memory_mib: options.pool_memory_mib,
            minimum: options.pool_minimum,
            starting: AtomicUsize::new(0),
            changed: Notify::new(),
            metrics,
        }
    }

    /// A bootstrap that waits, if there is one and the function can be given to it.
    pub(crate) fn take(
        &self,
        interpreter: &Interpreter,
        function: &FunctionVersion,
        now: Timestamp,
    ) -> Option<Vacant> {
        let mib_each = size::mib_each(interpreter.language).filter(|_| !self.fixed.is_empty())?;
        if let Some(name) = fit::needed_at_start(function) {
            tracing::debug!(name, "a variable is needed when the interpreter starts");
            // Whatever its memory.
            self.metrics.pool_unfit.get_or_create(&RuntimeLabels { runtime: label(interpreter, None) }).inc();
            return None;
        }
        let memory_mb = size::is_for_one_memory(interpreter.language).then(|| assigned_memory(function));
        let fixed = self.fixed.iter().find(|pool| match &pool.of {
            Kind::Bootstrap(it, memory) => it.program == interpreter.program && *memory == memory_mb,
            Kind::Bare(_) => false,
        });
        match fixed {
            Some(pool) => self.take_from(pool, now),
            None => self.take_of_size(label(interpreter, memory_mb), now, |runtime| {
                let kind = Kind::Bootstrap(interpreter.clone(), memory_mb);
                Pool::new(kind, mib_each, runtime, Some(by_size::KEPT))
            }),
        }
    }

    /// A sandbox without a program, if one waits.
    pub(crate) fn take_bare(&self, language: Option<Language>, now: Timestamp) -> Option<Vacant> {
        let pool = self.fixed.iter().find(|pool| matches!(&pool.of, Kind::Bare(it) if *it == language))?;
        self.take_from(pool, now)
    }

    /// From the pool of that label, which is made if it is not there, so that the next function finds something.
    fn take_of_size(
        &self,
        runtime: String,
        now: Timestamp,
        make: impl FnOnce(String) -> Pool,
    ) -> Option<Vacant> {
        // Held to the end: a pool that is asked does not go meanwhile.
        let mut by_size = self.by_size();
        let (pool, least_recent) = by_size.ask(runtime, make);
        if let Some(pool) = least_recent {
            self.retire(&pool);
        }
        self.take_from(&pool, now)
    }

    fn take_from(&self, pool: &Pool, now: Timestamp) -> Option<Vacant> {
        let mut state = pool.state();
        state.demand.note(now);
        state.asked = Some(now);
        // What has ended meanwhile is dropped.
        let vacant =
            std::iter::from_fn(|| state.waiting.pop_front()).find(|vacant| vacant.prepared.is_alive());
        self.show(pool, &state);
        drop(state);
        let outcome = if vacant.is_some() { &self.metrics.pool_assigned } else { &self.metrics.pool_missed };
        outcome.get_or_create(&pool.labels).inc();
        self.changed.notify_one();
        vacant
    }

    /// While what is returned is held, a function is starting and no environment is made for the pools.
    pub(crate) fn starting(&self) -> Starting<'_> {
        self.starting.fetch_add(1, Ordering::Relaxed);
        Starting(&self.starting)
    }

    /// Drops everything that waits.
    pub(crate) fn close(&self) {
        for pool in self.all() {
            let mut state = pool.state();
            state.waiting.clear();
            self.show(&pool, &state);
        }
    }

    /// Which pool is in want of an environment, which the caller makes and [`hand_in`](Self::hand_in)s. Drops what has ended
    /// and what is too much.
    fn reserve(&self, now: Timestamp) -> Option<Arc<Pool>> {
        let all = self.all();
        let wants: Vec<Want> = all.iter().map(|pool| self.want(pool, now)).collect();
        let mut neediest = None;
        for (pool, share) in all.iter().zip(shares(&wants, self.memory_mib)) {
            let mut state = pool.state();
            state.waiting.retain(|vacant| vacant.prepared.is_alive());
            while state.waiting.len() > share as usize {
                state.waiting.pop_back();
            }
            self.show(pool, &state);
            let there =
                u32::try_from(state.waiting.len()).unwrap_or(u32::MAX).saturating_add(state.being_made);
            let lack = share.saturating_sub(there);
            if lack > 0
                && !state.gone
                && state.not_before <= now
                && neediest.is_none_or(|(most, _)| lack > most)
            {
                neediest = Some((lack, pool));
            }
        }
        let neediest = neediest.map(|(_, pool)| Arc::clone(pool));
        if let Some(pool) = &neediest {
            pool.state().being_made += 1;
        }
        self.retire_forgotten(now);
        neediest
    }

    /// Lets pools of sizes go that nobody has asked for in a while, once nothing waits in them.
    fn retire_forgotten(&self, now: Timestamp) {
        self.by_size().retain(|pool| {
            let is_wanted = self.want(pool, now).most > 0;
            let state = pool.state();
            let is_kept = is_wanted || !state.waiting.is_empty() || state.being_made > 0;
            drop(state);
            if !is_kept {
                self.retire(pool);
            }
            is_kept
        });
    }

    /// For a pool that is no longer one: what waits in it goes, and its figures, of which there would be more and more.
    fn retire(&self, pool: &Pool) {
        let mut state = pool.state();
        state.gone = true;
        state.waiting.clear();
        self.metrics.forget_pool(&pool.labels);
    }

    fn by_size(&self) -> MutexGuard<'_, BySize> {
        // As with the states of pools.
        self.by_size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// At this moment.
    fn all(&self) -> Vec<Arc<Pool>> {
        self.fixed.iter().chain(self.by_size().iter()).map(Arc::clone).collect()
    }

    fn want(&self, pool: &Pool, now: Timestamp) -> Want {
        let mut state = pool.state();
        let demand = state.demand.wanted(now);
        let is_kept = pool.kept.is_none_or(|kept| state.asked.is_some_and(|asked| now < asked + kept));
        let least = if is_kept { self.minimum } else { 0 };
        Want { least, most: demand.unwrap_or(0).max(least), mib_each: pool.mib_each }
    }

    fn hand_in(&self, pool: &Pool, made: Result<Vacant, LaunchError>, now: Timestamp) {
        let mut state = pool.state();
        state.being_made = state.being_made.saturating_sub(1);
        match made {
            Ok(vacant) => {
                state.failures = 0;
                if !state.gone {
                    state.waiting.push_back(vacant);
                }
            }
            Err(error) => {
                let pause = PAUSE.saturating_mul(1 << state.failures.min(16)).min(LONGEST_PAUSE);
                state.not_before = now + pause;
                state.failures += 1;
                if state.failures == 1 && !is_expected(&error) {
                    tracing::warn!(%error, runtime = pool.labels.runtime, "no environment can wait for functions");
                }
            }
        }
        self.show(pool, &state);
    }

    fn show(&self, pool: &Pool, state: &State) {
        if state.gone {
            return;
        }
        let waiting = i64::try_from(state.waiting.len()).unwrap_or(i64::MAX);
        self.metrics.pool_waiting.get_or_create(&pool.labels).set(waiting);
    }
}

/// Keeps the pools filled, for ever.
pub(crate) async fn fill(launcher: Arc<Launcher>) {
    let pools = &launcher.pools;
    if pools.fixed.is_empty() {
        tracing::info!("no environments wait for functions: every cold start is one from nothing");
        return;
    }
    let found = launcher.interpreters.found().iter();
    let runtimes: Vec<String> =
        found.filter(|it| size::mib_each(it.language).is_some()).map(Interpreter::identifier).collect();
    tracing::info!(
        memory_mib = pools.memory_mib,
        "environments can wait for functions of {}",
        runtimes.join(", ")
    );
    let makers = std::thread::available_parallelism().map_or(1, |cpus| cpus.get().div_ceil(4)).min(4);
    let mut making = JoinSet::new();
    for _ in 0..makers {
        making.spawn(make(Arc::clone(&launcher)));
    }
    // They end only if they panic.
    while let Some(ended) = making.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "environments are no longer made in advance");
        }
    }
}

async fn make(launcher: Arc<Launcher>) {
    let (pools, clock) = (&launcher.pools, &launcher.clock);
    loop {
        for _ in 0..STEPS_BACK {
            clock.sleep_until(clock.now() + STEP_BACK).await;
            if pools.starting.load(Ordering::Relaxed) == 0 {
                break;
            }
        }
        let Some(pool) = pools.reserve(clock.now()) else {
            tokio::select! {
                () = pools.changed.notified() => {}
                () = clock.sleep_until(clock.now() + TICK) => {}
            }
            continue;
        };
        let made = match &pool.of {
            Kind::Bootstrap(interpreter, memory_mb) => launcher.make_waiting(interpreter, *memory_mb).await,
            Kind::Bare(language) => {
                let runtime_dir = launcher.runtime_files.directory(*language).to_owned();
                launcher.open_at_once(launcher.template(runtime_dir, None, None)).await
            }
        };
        pools.hand_in(&pool, made, clock.now());
    }
}

impl Launcher {
    async fn make_waiting(
        &self,
        interpreter: &Interpreter,
        memory_mb: Option<u32>,
    ) -> Result<Vacant, LaunchError> {
        let view = lambfold_sandbox::SandboxView::own_root();
        let limits = Assignment::new(view.task_root.clone(), Vec::new());
        let memory_mb = memory_mb.unwrap_or(limits.memory_mb);
        let mut command = runtime_files::command(interpreter, &view.runtime_dir, memory_mb, None);
        command.push("wait".to_owned());
        let mut environment = at_start(&view, interpreter);
        let runtime_api = std::net::SocketAddr::from(RUNTIME_API);
        // It is connected before there is a function.
        environment.insert("AWS_LAMBDA_RUNTIME_API".to_owned(), runtime_api.to_string());
        let program = WaitingProgram {
            command,
            environment,
            open_files: limits.open_files,
            processes: limits.processes,
        };
        let runtime_dir = self.runtime_files.directory(Some(interpreter.language)).to_owned();
        self.open_at_once(self.template(runtime_dir, None, Some(program))).await
    }
}

/// What a pool is called.
fn label(interpreter: &Interpreter, memory_mb: Option<u32>) -> String {
    let identifier = interpreter.identifier();
    memory_mb.map_or_else(|| identifier.clone(), |memory_mb| format!("{identifier} {memory_mb} MB"))
}

/// What passes by itself, or is said elsewhere.
fn is_expected(error: &LaunchError) -> bool {
    matches!(error, LaunchError::Sandbox(SandboxError::NoFreeSlot { .. } | SandboxError::SpawnerGone))
}

#[cfg(test)]
mod tests;
