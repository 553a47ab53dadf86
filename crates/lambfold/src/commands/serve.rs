//! `lambfold up` and `lambfold serve`: run roles until told to stop.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use lambfold_clock::{SystemClock, SystemEntropy};
use lambfold_config::Config;
use lambfold_node::{Node, NodeOptions, Role, Summary};
use lambfold_sandbox::SpawnerCommand;
use lambfold_telemetry::{LogFormat, Telemetry};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Settings;
use crate::{banner, open_files};

/// Runs `roles` in this process until SIGINT or SIGTERM; a second signal cuts the stop short.
pub(crate) fn run(settings: &Settings, roles: BTreeSet<Role>) -> anyhow::Result<()> {
    let began = Instant::now();
    open_files::raise_limit();
    let config = settings.load()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(task_threads()).enable_all().build()?;
    let options = telemetry_options(&config)?;
    let telemetry = {
        let _entered = runtime.enter();
        Telemetry::init(&options)?
    };
    let tell: fn(&Summary) = match options.log_format {
        LogFormat::Text => |summary: &Summary| {
            // It serves also where nobody can be told.
            _ = writeln!(std::io::stdout(), "{}", banner::render(summary));
        },
        LogFormat::Json => banner::log,
    };
    let outcome = runtime.block_on(serve(config, roles, &telemetry, tell, began));
    telemetry.shutdown();
    // What outlives a graceful stop is not waited for.
    runtime.shutdown_timeout(Duration::from_millis(500));
    outcome
}

/// Half of the processors, but two: what blocks has threads of its own (writing the queues above all), functions are
/// processes, and every task thread more is one that has to be woken. With one alone a large request would hold up all others.
fn task_threads() -> usize {
    std::thread::available_parallelism().map_or(2, |processors| processors.get().div_ceil(2).max(2))
}

async fn serve(
    config: Config,
    roles: BTreeSet<Role>,
    telemetry: &Telemetry,
    tell: fn(&Summary),
    began: Instant,
) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let options = NodeOptions {
        config,
        roles,
        spawner: SpawnerCommand::this_executable("spawner")?,
        recorder: telemetry.recorder(),
        traces_every_request: telemetry.traces_every_request(),
        clock: Arc::new(SystemClock::new()),
        entropy: Arc::new(SystemEntropy),
        began,
    };
    let mut node = Node::start(options).await?;
    tell(node.summary());
    let stopped = tokio::select! {
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        ended = node.ended() => Some(ended),
    };
    tracing::info!("stopping");
    tokio::select! {
        () = node.stop() => tracing::info!("stopped"),
        _ = interrupt.recv() => tracing::warn!("stopped without finishing what ran"),
        _ = terminate.recv() => tracing::warn!("stopped without finishing what ran"),
    }
    match stopped {
        None => Ok(()),
        Some(role) => anyhow::bail!("{role} ended by itself; the log says why"),
    }
}

fn telemetry_options(config: &Config) -> anyhow::Result<lambfold_telemetry::Options> {
    Ok(lambfold_telemetry::Options {
        log_format: config.log_format.parse().map_err(anyhow::Error::msg)?,
        log_filter: config.log_filter.clone(),
        otlp_endpoint: Some(config.otlp_endpoint.clone()).filter(|endpoint| !endpoint.is_empty()),
    })
}
