//! Execution environments in sandboxes.

use std::sync::Arc;
use std::time::Duration;

use lambfold_sandbox::{IsolationLevel, LevelReport, SpawnerOptions};
use lambfold_worker::{Interpreters, LastingSpawner, Metrics, Options, Parts, WorkerService};

use super::{Services, debugger, hot_reload, network, packages};
use crate::node::{Isolation, Surroundings};
use crate::part::Part;
use crate::{Role, StartError};

pub(super) async fn start(around: &mut Surroundings, services: &mut Services) -> Result<Part, StartError> {
    let config = around.config.worker.clone();
    let at_least: IsolationLevel = config.minimum_isolation.parse().map_err(|_| {
        StartError::Setting("worker.minimum_isolation", "use full, userns, process or unisolated".into())
    })?;
    let policy = network::policy(&config)?;
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    let interpreters = Interpreters::discover(&search_path, &*around.clock).await;
    let memory_mb = if config.memory_mib == 0 { three_quarters_of_the_machine() } else { config.memory_mib };
    let endpoint = match (config.endpoint.as_str(), around.http) {
        ("", Some(own)) => own.to_string(),
        ("", None) => around.config.listen.clone(),
        (given, _) => given.to_owned(),
    };
    let mut options = Options {
        memory_mb,
        max_environments: config.max_environments,
        idle: Duration::from_secs(config.idle_seconds),
        freeze_after: freeze_after(config.freeze_after_ms)?,
        package_cache_bytes: config.package_cache_mib << 20,
        nearest_version: config.nearest_version,
        limit_cpu: config.limit_cpu,
        pool_memory_mib: config.pool_memory_mib,
        pool_minimum: config.pool_minimum,
        hot_reload: hot_reload::rules(&around.config)?,
        debugger: debugger::is_on(&around.config),
        stop_within: Duration::from_secs(around.config.stop_within_seconds.saturating_sub(2)),
        ..Options::new(around.data_dir.join("worker"))
    };
    let spawner = SpawnerOptions {
        at_least,
        extra_readonly: interpreters.directories(),
        network_device: policy.has_network(),
        slots: config.max_environments.saturating_add(options.waiting_at_most()),
        total_memory_mb: Some(memory_mb.saturating_add(config.pool_memory_mib)),
        ..SpawnerOptions::new(around.spawner.clone(), around.data_dir.join("sandboxes"))
    };
    let started = LastingSpawner::start(spawner, around.clock.clone()).await;
    let driver = started.map_err(StartError::part("spawner"))?;
    let in_force = network::enforce(policy, driver.capabilities(), driver.report(), around).await;
    let in_force = match in_force {
        Ok(in_force) => in_force,
        Err(error) => {
            driver.shutdown().await;
            return Err(error);
        }
    };
    options.endpoint = in_force.endpoint.then_some(endpoint);
    services.isolation = Some(isolation(driver.report(), in_force.summary));
    let parts = Parts {
        driver,
        interpreters,
        store: packages::open(&around.packages_dir)?,
        logs: Some(around.peers.log_intake(services.log_intake.clone())?),
        clock: around.clock.clone(),
        entropy: around.entropy.clone(),
        egress: in_force.egress,
        metrics: Metrics::register(&mut around.registry),
    };
    let service = WorkerService::build(options, parts).map_err(StartError::part("worker"))?;
    services.worker = Some(Arc::new(service.handle()));
    Ok(Part::start(Role::Worker, |stop| service.run(stop)))
}

fn freeze_after(milliseconds: i64) -> Result<Option<Duration>, StartError> {
    match u64::try_from(milliseconds) {
        Ok(milliseconds) => Ok(Some(Duration::from_millis(milliseconds))),
        Err(_) if milliseconds == -1 => Ok(None),
        Err(_) => Err(StartError::Setting(
            "worker.freeze_after_ms",
            "use a number of milliseconds, or -1 for never".into(),
        )),
    }
}

fn isolation(report: &LevelReport, network: String) -> Isolation {
    let refusals = report.refused.iter().map(ToString::to_string);
    Isolation {
        level: report.reached.to_string(),
        notes: refusals.chain(report.notes.iter().cloned()).collect(),
        network,
    }
}

/// In MiB; 4 GiB where the machine does not tell.
fn three_quarters_of_the_machine() -> u64 {
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    });
    total.map_or(4096, |kib| kib / 1024 / 4 * 3)
}
