//! The environments that exist, and the reports of them to dispatchers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lambfold_api::worker::worker_report::Report;
use lambfold_api::worker::{EnvironmentState, ExecutionEnvironment, WorkerReport};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::environment::Invocation;

/// Changes that a dispatcher may be behind before it has to begin anew.
const REPORT_BACKLOG: usize = 4096;

/// All environments of a worker.
pub(crate) struct Registry {
    entries: Mutex<HashMap<String, Arc<Entry>>>,
    reports: broadcast::Sender<WorkerReport>,
    incarnation: String,
}

/// One environment as others know it.
pub(crate) struct Entry {
    id: String,
    configuration_id: String,
    memory_size_mb: u32,
    /// It is kept ready while it is idle.
    pub(crate) provisioned: bool,
    /// Where its invocations go.
    pub(crate) invocations: mpsc::Sender<Invocation>,
    /// It ends soon because of its age.
    ending: AtomicBool,
    /// Ends it when it is idle.
    pub(crate) retire: CancellationToken,
    status: Mutex<Status>,
    reports: broadcast::Sender<WorkerReport>,
    incarnation: String,
}

struct Status {
    state: EnvironmentState,
    /// Somebody saw it at work and waits to hear that it is idle. Whoever gave it the work knows without a report.
    observed_at_work: bool,
}

impl Registry {
    pub(crate) fn new(incarnation: String) -> Self {
        Self { entries: Mutex::default(), reports: broadcast::Sender::new(REPORT_BACKLOG), incarnation }
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Entry>> {
        self.entries().get(id).cloned()
    }

    /// Adds an environment that is starting. `None` if there are as many as may be.
    pub(crate) fn add(
        &self,
        id: &str,
        configuration_id: &str,
        memory_size_mb: u32,
        provisioned: bool,
        most: u32,
    ) -> Option<(Arc<Entry>, mpsc::Receiver<Invocation>)> {
        let mut entries = self.entries();
        if entries.len() >= most as usize || entries.contains_key(id) {
            return None;
        }
        // One that runs is not in the channel, so this is room for the one that comes while it ends.
        let (sender, invocations) = mpsc::channel(1);
        let entry = Arc::new(Entry {
            id: id.to_owned(),
            configuration_id: configuration_id.to_owned(),
            memory_size_mb,
            provisioned,
            invocations: sender,
            ending: AtomicBool::new(false),
            retire: CancellationToken::new(),
            status: Mutex::new(Status { state: EnvironmentState::Starting, observed_at_work: false }),
            reports: self.reports.clone(),
            incarnation: self.incarnation.clone(),
        });
        entries.insert(id.to_owned(), Arc::clone(&entry));
        drop(entries);
        entry.tell(EnvironmentState::Starting);
        Some((entry, invocations))
    }

    pub(crate) fn remove(&self, entry: &Entry) {
        self.entries().remove(&entry.id);
        entry.tell(EnvironmentState::Gone);
    }

    pub(crate) fn len(&self) -> usize {
        self.entries().len()
    }

    pub(crate) fn retire(&self, id: &str) {
        if let Some(entry) = self.entries().get(id) {
            entry.retire.cancel();
        }
    }

    pub(crate) fn retire_all(&self) {
        for entry in self.entries().values() {
            entry.retire.cancel();
        }
    }

    /// All that there is, and then every change.
    pub(crate) fn watch(&self) -> (Vec<WorkerReport>, broadcast::Receiver<WorkerReport>) {
        let entries = self.entries();
        let changes = self.reports.subscribe();
        let now = entries.values().map(|entry| entry.observe()).collect();
        (now, changes)
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, Arc<Entry>>> {
        // Nothing that holds the lock leaves it half changed.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// It takes an invocation.
    pub(crate) fn busy(&self) {
        self.status().state = EnvironmentState::Busy;
    }

    /// Has it told when it is idle.
    pub(crate) fn tell_when_idle(&self) {
        self.status().observed_at_work = true;
    }

    /// It waits for one.
    pub(crate) fn idle(&self) {
        let mut status = self.status();
        status.state = EnvironmentState::Idle;
        if std::mem::take(&mut status.observed_at_work) {
            self.tell(EnvironmentState::Idle);
        }
    }

    /// Tells, once and while it is idle, that it ends soon.
    pub(crate) fn ends_soon(&self) {
        if !self.ending.swap(true, Ordering::Relaxed) {
            self.tell(EnvironmentState::Idle);
        }
    }

    /// Whether that has been told.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    fn observe(&self) -> WorkerReport {
        let mut status = self.status();
        status.observed_at_work = status.state != EnvironmentState::Idle;
        self.report(status.state)
    }

    fn tell(&self, state: EnvironmentState) {
        // Nobody may be listening.
        let _ = self.reports.send(self.report(state));
    }

    fn report(&self, state: EnvironmentState) -> WorkerReport {
        WorkerReport {
            incarnation: self.incarnation.clone(),
            report: Some(Report::Environment(ExecutionEnvironment {
                environment_id: self.id.clone(),
                configuration_id: self.configuration_id.clone(),
                state: state.into(),
                memory_size_mb: self.memory_size_mb,
                provisioned: self.provisioned,
                ending: self.ending.load(Ordering::Relaxed),
            })),
        }
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
