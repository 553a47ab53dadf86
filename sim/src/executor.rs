//! Runs tasks one poll at a time; which one is next, whoever steps it decides. So the order in which tasks run follows
//! from the seed like everything else, and a crash can come between any two polls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use lambfold_queue::Spawn;
use lambfold_types::RunFuture;

/// A process in which tasks run, and which ends as a whole.
pub(crate) type Process = u32;

pub(crate) struct Executor {
    tasks: BTreeMap<u64, Task>,
    last_task: u64,
    shared: Arc<Shared>,
}

struct Task {
    process: Process,
    name: &'static str,
    future: RunFuture,
}

#[derive(Default)]
struct Shared {
    /// Tasks that want to be polled.
    woken: Mutex<BTreeSet<u64>>,
    spawned: Mutex<Vec<(Process, &'static str, RunFuture)>>,
}

impl Executor {
    pub(crate) fn new() -> Self {
        Self { tasks: BTreeMap::new(), last_task: 0, shared: Arc::default() }
    }

    /// Where the tasks of a process are started.
    pub(crate) fn spawner(&self, process: Process) -> Arc<dyn Spawn> {
        Arc::new(Spawner { process, shared: Arc::clone(&self.shared) })
    }

    /// Starts a task; returns its number.
    pub(crate) fn spawn(&mut self, process: Process, name: &'static str, future: RunFuture) -> u64 {
        self.last_task += 1;
        self.tasks.insert(self.last_task, Task { process, name, future });
        lock(&self.shared.woken).insert(self.last_task);
        self.last_task
    }

    /// The tasks that want to be polled, by number.
    pub(crate) fn ready(&mut self) -> Vec<u64> {
        let spawned = std::mem::take(&mut *lock(&self.shared.spawned));
        for (process, name, future) in spawned {
            self.spawn(process, name, future);
        }
        let tasks = &self.tasks;
        let mut woken = lock(&self.shared.woken);
        woken.retain(|task| tasks.contains_key(task));
        woken.iter().copied().collect()
    }

    /// Polls a task once; returns what it is called, and whether it has ended.
    pub(crate) fn poll(&mut self, number: u64) -> (&'static str, bool) {
        lock(&self.shared.woken).remove(&number);
        let Some(task) = self.tasks.get_mut(&number) else { return ("", true) };
        let waker = Waker::from(Arc::new(TaskWaker { number, shared: Arc::clone(&self.shared) }));
        let name = task.name;
        let done = task.future.as_mut().poll(&mut Context::from_waker(&waker));
        if matches!(done, Poll::Ready(())) {
            self.drop_task(number);
        }
        (name, matches!(done, Poll::Ready(())))
    }

    /// What a task is called.
    pub(crate) fn name(&self, number: u64) -> &'static str {
        self.tasks.get(&number).map_or("", |task| task.name)
    }

    /// The process that a task is of.
    pub(crate) fn process(&self, number: u64) -> Option<Process> {
        self.tasks.get(&number).map(|task| task.process)
    }

    pub(crate) fn is_running(&self, number: u64) -> bool {
        self.tasks.contains_key(&number)
    }

    /// Drops a task where it waits.
    pub(crate) fn drop_task(&mut self, number: u64) {
        drop(self.tasks.remove(&number));
    }

    /// Drops all tasks of a process where they wait.
    pub(crate) fn kill(&mut self, process: Process) {
        // What was to be started by the dead is not started.
        let spawned = std::mem::take(&mut *lock(&self.shared.spawned));
        let (dead, alive): (Vec<_>, Vec<_>) = spawned.into_iter().partition(|(of, ..)| *of == process);
        lock(&self.shared.spawned).extend(alive);
        drop(dead);
        let of_process = self.tasks.iter().filter(|(_, task)| task.process == process);
        for number in of_process.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.drop_task(number);
        }
    }
}

struct Spawner {
    process: Process,
    shared: Arc<Shared>,
}

impl Spawn for Spawner {
    fn spawn(&self, name: &'static str, task: RunFuture) {
        lock(&self.shared.spawned).push((self.process, name, task));
    }
}

struct TaskWaker {
    number: u64,
    shared: Arc<Shared>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        lock(&self.shared.woken).insert(self.number);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
