//! Follows control and the workers, for as long as the dispatcher runs. While one of them is away, all goes on as it
//! was told last.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lambfold_api::Fault;
use lambfold_api::control::watch_event::Event;
use lambfold_api::control::{Control, ReportWorkerRequest};
use lambfold_api::worker::worker_report::Report;
use lambfold_api::worker::{EnvironmentState, ExecutionEnvironment, ReportRequest};
use tokio::sync::watch;

use crate::placement::{Observation, Observed, WorkerId};
use crate::shared::Shared;

const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Control forgets a worker after three times this.
const RETELL: Duration = Duration::from_secs(20);

/// Keeps the functions as control tells them.
pub(crate) async fn control(shared: Arc<Shared>, control: Arc<dyn Control>) {
    let mut wait = FIRST_WAIT;
    loop {
        let ended = functions(&shared, &*control, &mut wait).await;
        shared.functions().disconnected();
        // It may have to be told again what is ready.
        shared.provisioning.notify_one();
        pause(&shared, &mut wait, "control", ended.err()).await;
    }
}

async fn functions(shared: &Arc<Shared>, control: &dyn Control, wait: &mut Duration) -> Result<(), Fault> {
    let request = shared.functions().begin();
    let mut events = control.watch(&shared.context(), request).await?;
    while let Some(event) = events.next().await {
        let event = event?;
        *wait = FIRST_WAIT;
        if let Some(Event::Mark(mark)) = event.event {
            control.acknowledge_mark(&shared.context(), mark).await?;
            continue;
        }
        let (mut outdated, synced) = {
            let mut functions = shared.functions();
            let was_synced = functions.is_synced();
            let outdated = functions.apply(event);
            shared.metrics.functions.set(i64::try_from(functions.len()).unwrap_or(i64::MAX));
            (outdated, functions.is_synced() && !was_synced)
        };
        if synced {
            // What a worker told before the functions were known is judged now.
            let used = shared.board(|board| (board.placement.configurations(), Vec::new()));
            let functions = shared.functions();
            outdated.extend(used.iter().filter(|it| !functions.is_current(it)).map(ToString::to_string));
        }
        for configuration in outdated {
            shared.act(|placement| placement.outdate(&configuration));
        }
        shared.tell_news();
    }
    Ok(())
}

/// Keeps the picture of one worker, and tells control what it runs.
pub(crate) async fn worker(shared: Arc<Shared>, worker: WorkerId, control: Arc<dyn Control>) {
    let mut wait = FIRST_WAIT;
    loop {
        let told = watch::Sender::new(None);
        let ended = tokio::select! {
            ended = reports(&shared, worker, &told, &mut wait) => ended,
            never = retell(&shared, &*control, told.subscribe()) => match never {},
        };
        shared.act(|placement| {
            placement.disconnected(worker);
            Vec::new()
        });
        pause(&shared, &mut wait, "a worker", ended.err()).await;
    }
}

async fn reports(
    shared: &Arc<Shared>,
    worker: WorkerId,
    told: &watch::Sender<Option<ReportWorkerRequest>>,
    wait: &mut Duration,
) -> Result<(), Fault> {
    let mut reports = shared.workers[worker].report(&shared.context(), ReportRequest {}).await?;
    while let Some(report) = reports.next().await {
        let report = report?;
        *wait = FIRST_WAIT;
        match report.report {
            Some(Report::Capacity(capacity)) => {
                tracing::info!(
                    worker,
                    memory_mb = capacity.memory_mb,
                    environments = capacity.environments,
                    isolation = capacity.isolation,
                    runtimes = capacity.runtimes.join(" "),
                    "a worker is connected"
                );
                told.send_replace(Some(ReportWorkerRequest {
                    incarnation: report.incarnation.clone(),
                    runtimes: capacity.runtimes,
                }));
                let (memory, environments) = (capacity.memory_mb, capacity.environments);
                shared.act(|placement| {
                    placement.connected(worker, &report.incarnation, memory, environments);
                    Vec::new()
                });
            }
            Some(Report::Environment(environment)) => {
                if let Some(observation) = observation(shared, environment) {
                    shared.act(|placement| placement.observed(worker, observation));
                }
            }
            Some(Report::Synced(_)) => shared.act(|placement| placement.synced(worker)),
            None => {}
        }
    }
    Ok(())
}

/// Tells control of a worker for as long as it is heard of. A control that is away misses it, and that is all.
async fn retell(
    shared: &Shared,
    control: &dyn Control,
    mut told: watch::Receiver<Option<ReportWorkerRequest>>,
) -> Infallible {
    loop {
        let request = told.borrow_and_update().clone();
        if let Some(request) = request
            && let Err(fault) = control.report_worker(&shared.context(), request).await
        {
            tracing::debug!(%fault, "control did not hear what a worker runs");
        }
        tokio::select! {
            () = shared.clock.sleep_until(shared.clock.now() + RETELL) => {}
            Ok(()) = told.changed() => {}
        }
    }
}

fn observation(shared: &Shared, environment: ExecutionEnvironment) -> Option<Observation> {
    let observed = match environment.state() {
        EnvironmentState::Starting | EnvironmentState::Busy => Observed::Working,
        EnvironmentState::Idle => Observed::Idle,
        EnvironmentState::Gone => Observed::Gone,
        EnvironmentState::Unspecified => return None,
    };
    Some(Observation {
        current: shared.functions().is_current(&environment.configuration_id),
        environment: environment.environment_id.into(),
        configuration: environment.configuration_id.into(),
        memory_mb: environment.memory_size_mb,
        provisioned: environment.provisioned,
        ending: environment.ending,
        observed,
    })
}

async fn pause(shared: &Shared, wait: &mut Duration, who: &str, fault: Option<Fault>) {
    let fault = fault.map_or_else(|| "the stream ended".to_owned(), |fault| fault.to_string());
    tracing::debug!(fault, "{who} is not heard, trying again");
    shared.clock.sleep_until(shared.clock.now() + *wait).await;
    *wait = (*wait * 2).min(LONGEST_WAIT);
}
