//! Keeps provisioned environments: starts those that are missing, again when one has ended, and tells control what has
//! become of them.

mod running;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lambfold_api::control::{
    Control, FunctionVersion, ProvisionedAllocation, ReportProvisionedConcurrencyRequest,
};
use lambfold_api::worker::PrepareRequest;
use lambfold_api::{CallContext, Fault};
use lambfold_types::{DEBUG_LIMIT, Scope, Timestamp};
use tokio::sync::mpsc;

use self::running::Running;
use crate::functions::Target;
use crate::placement::{ConfigurationId, Fate, Grant, Need};
use crate::shared::Shared;

/// Inits that may fail one after another before that is told.
const FAILURES_TOLD: u32 = 3;
/// When to look again where there was no room.
const ROOM_WAIT: Duration = Duration::from_secs(1);
/// The wait after a failure; doubled by every further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// Control forgets what it was told after three times this.
const RETELL: Duration = Duration::from_secs(20);
/// What init may take ahead of an invocation, and the function's own time if that is longer (facts §5).
const LEAST_INIT: Duration = Duration::from_secs(130);
const MOST_INIT: Duration = Duration::from_mins(15);
/// What a worker may take beyond it: package and sandbox.
const PREPARE_SLACK: Duration = Duration::from_mins(1);

/// Why there is less than there should be.
struct Trouble {
    failures: u32,
    reason: String,
    /// Not before.
    again: Timestamp,
}

/// What is to be kept ready of a configuration.
struct Wanted {
    count: usize,
    scope: Scope,
    version: Arc<FunctionVersion>,
}

/// How a preparation ended.
struct Prepared {
    scope: Scope,
    configuration: ConfigurationId,
    outcome: Result<(), Failed>,
}

enum Failed {
    /// The function's init, in its words.
    Init(String),
    /// The worker; it may go better the next time.
    Worker(Fault),
}

struct Provisioner {
    shared: Arc<Shared>,
    trouble: HashMap<ConfigurationId, Trouble>,
    running: Running,
    ended: mpsc::UnboundedSender<Prepared>,
}

/// Runs for as long as the dispatcher does.
pub(crate) async fn run(shared: Arc<Shared>, control: Arc<dyn Control>) {
    let (ended, mut endings) = mpsc::unbounded_channel();
    let running = Running::default();
    let mut this = Provisioner { shared: Arc::clone(&shared), trouble: HashMap::new(), running, ended };
    let mut told: Option<(ReportProvisionedConcurrencyRequest, Timestamp)> = None;
    loop {
        let changed = shared.provisioning.notified();
        while let Ok(prepared) = endings.try_recv() {
            this.end(prepared);
        }
        let (targets, heard) = {
            let functions = shared.functions();
            (functions.targets(), functions.is_synced())
        };
        if !heard {
            told = None;
        }
        let mut wake = None;
        if let Some(targets) = targets {
            wake = this.provide(&targets);
            let now = shared.clock.now();
            let report = this.report(&targets);
            if told.as_ref().is_none_or(|(last, at)| *last != report || *at + RETELL <= now) {
                match control.report_provisioned_concurrency(&shared.context(), report.clone()).await {
                    Ok(_) => told = Some((report, now)),
                    Err(fault) => {
                        tracing::debug!(%fault, "control did not hear of provisioned concurrency");
                        told = None;
                        wake = wake.min(Some(now + ROOM_WAIT)).or(Some(now + ROOM_WAIT));
                    }
                }
            }
            // Nothing to tell again while there is nothing.
            if let Some((last, at)) = &told
                && !last.allocations.is_empty()
            {
                wake = Some(wake.map_or(*at + RETELL, |wake| wake.min(*at + RETELL)));
            }
        }
        let sleep = async {
            match wake {
                Some(at) => shared.clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changed => {}
            Some(prepared) = endings.recv() => this.end(prepared),
            () = sleep => {}
        }
    }
}

impl Provisioner {
    /// Starts what is missing and ends what is too much. When to look again, if anything has to wait.
    fn provide(&mut self, targets: &[Target]) -> Option<Timestamp> {
        let now = self.shared.clock.now();
        let mut wanted: HashMap<ConfigurationId, Wanted> = HashMap::new();
        for target in targets {
            let Some(version) = &target.version else { continue };
            let entry = wanted.entry(version.configuration_id.as_str().into());
            let none = || Wanted { count: 0, scope: target.name.0.clone(), version: Arc::clone(version) };
            entry.or_insert_with(none).count += target.executions as usize;
        }
        self.trouble.retain(|configuration, _| wanted.contains_key(configuration));
        let counts = wanted.iter().map(|(id, wanted)| (Arc::clone(id), wanted.count)).collect();
        self.shared.act(|placement| placement.set_targets(counts));
        let mut wake: Option<Timestamp> = None;
        for (configuration, Wanted { count, scope, version }) in wanted {
            let there = self.shared.board(|board| (board.placement.provisioned(&configuration), Vec::new()));
            if there.available >= count {
                // What was wrong is over, also if it was only that more was wanted than there is room for.
                self.trouble.remove(&configuration);
            }
            if there.allocated >= count {
                continue;
            }
            while self.running.has_room(&scope, &configuration) {
                if let Some(trouble) = self.trouble.get(&configuration)
                    && now < trouble.again
                {
                    wake = Some(wake.map_or(trouble.again, |wake| wake.min(trouble.again)));
                    break;
                }
                let need = Need::of(Arc::clone(&configuration), version.memory_size_mb);
                let granted = self.shared.board(|board| {
                    if board.placement.provisioned(&configuration).lasting >= count {
                        return (None, Vec::new());
                    }
                    let (grant, effects) = board.placement.provision(&need);
                    (Some(grant), effects)
                });
                match granted {
                    // All there.
                    None => break,
                    Some(Some(grant)) => self.start(grant, &scope, Arc::clone(&version)),
                    Some(None) => {
                        let memory = version.memory_size_mb;
                        let reason = format!(
                            "The workers have no room for another execution environment of {memory} MB."
                        );
                        let again = now + ROOM_WAIT;
                        self.trouble.insert(
                            Arc::clone(&configuration),
                            Trouble { failures: FAILURES_TOLD, reason, again },
                        );
                    }
                }
            }
        }
        wake
    }

    /// Has a worker initialise an environment.
    fn start(&mut self, grant: Grant, scope: &Scope, version: Arc<FunctionVersion>) {
        let (scope, configuration) = (scope.clone(), version.configuration_id.as_str().into());
        self.running.begin(&scope, &configuration);
        let (shared, ended) = (Arc::clone(&self.shared), self.ended.clone());
        self.shared.tasks.spawn(async move {
            let stopping = shared.stopping.clone();
            let outcome = tokio::select! {
                outcome = prepare(&shared, &grant, &version) => outcome,
                () = stopping.cancelled() => Err(Failed::Worker(Fault::unavailable())),
            };
            let fate = if outcome.is_ok() { Fate::Idle } else { Fate::Gone };
            // Before the room is free again, or it would be tried again at once. Who listens lives as long as the dispatcher.
            let _ = ended.send(Prepared { scope, configuration, outcome });
            shared.act(|placement| placement.finish(&grant.environment, fate));
        });
    }

    fn end(&mut self, Prepared { scope, configuration, outcome }: Prepared) {
        self.running.end(&scope, &configuration);
        let reason = match outcome {
            Ok(()) => {
                self.trouble.remove(&configuration);
                return;
            }
            Err(Failed::Init(reason)) => reason,
            Err(Failed::Worker(fault)) => {
                tracing::debug!(%fault, "a provisioned environment could not be started");
                "The workers could not start an execution environment.".to_owned()
            }
        };
        let failures = self.trouble.get(&configuration).map_or(0, |it| it.failures) + 1;
        let wait = FIRST_WAIT.saturating_mul(1 << failures.min(7).saturating_sub(1)).min(LONGEST_WAIT);
        let again = self.shared.clock.now() + wait;
        self.trouble.insert(configuration, Trouble { failures, reason, again });
    }

    /// What there is, by the names under which it was asked for.
    fn report(&self, targets: &[Target]) -> ReportProvisionedConcurrencyRequest {
        let mut allocations: Vec<ProvisionedAllocation> = Vec::new();
        for target in targets {
            let (scope, name) = &target.name;
            let mut here = ProvisionedAllocation {
                account: scope.account.to_string(),
                region: scope.region.to_string(),
                function_name: name.clone(),
                qualifier: target.qualifier.clone(),
                requested: target.requested,
                ..ProvisionedAllocation::default()
            };
            if let Some(version) = &target.version {
                let configuration = version.configuration_id.as_str();
                let there =
                    self.shared.board(|board| (board.placement.provisioned(configuration), Vec::new()));
                here.allocated = u32::try_from(there.allocated).unwrap_or(u32::MAX).min(target.executions);
                here.available = u32::try_from(there.available).unwrap_or(u32::MAX).min(target.executions);
                let trouble = self.trouble.get(configuration).filter(|it| it.failures >= FAILURES_TOLD);
                here.trouble = trouble.map(|it| it.reason.clone()).unwrap_or_default();
            }
            // An alias with two versions has one row.
            match allocations.last_mut() {
                Some(row)
                    if (&row.account, &row.region, &row.function_name, &row.qualifier)
                        == (&here.account, &here.region, &here.function_name, &here.qualifier) =>
                {
                    row.allocated += here.allocated;
                    row.available += here.available;
                    if row.trouble.is_empty() {
                        row.trouble = here.trouble;
                    }
                }
                _ => allocations.push(here),
            }
        }
        allocations.sort_by(|a, b| {
            let key = |it: &ProvisionedAllocation| {
                (it.account.clone(), it.region.clone(), it.function_name.clone(), it.qualifier.clone())
            };
            key(a).cmp(&key(b))
        });
        ReportProvisionedConcurrencyRequest { allocations }
    }
}

async fn prepare(shared: &Shared, grant: &Grant, version: &FunctionVersion) -> Result<(), Failed> {
    shared.metrics.cold_starts.inc();
    let most = if version.debugger.is_some() { DEBUG_LIMIT } else { MOST_INIT };
    let init = Duration::from_secs(version.timeout_seconds.into()).clamp(LEAST_INIT, most);
    let ctx = CallContext { deadline: Some(shared.clock.now() + init + PREPARE_SLACK), ..shared.context() };
    let request = PrepareRequest {
        environment_id: grant.environment.to_string(),
        function: Some(FunctionVersion {
            initialization_type: "provisioned-concurrency".to_owned(),
            ..version.clone()
        }),
        init_limit_seconds: u32::try_from(init.as_secs()).unwrap_or(u32::MAX),
        incarnation: grant.incarnation.clone(),
    };
    match shared.workers[grant.worker].prepare(&ctx, request).await {
        Ok(prepared) if prepared.failure.is_empty() => Ok(()),
        Ok(prepared) => Err(Failed::Init(prepared.failure)),
        Err(fault) => Err(Failed::Worker(fault)),
    }
}
