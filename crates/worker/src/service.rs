//! The worker as a service.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lambfold_api::logstore::LogIntake;
use lambfold_api::worker::worker_report::Report;
use lambfold_api::worker::{
    Capacity, InvokeFrame, InvokeRequest, InvokeResponse, PrepareRequest, PrepareResponse, ReportRequest,
    RetireRequest, RetireResponse, Synced, Worker, WorkerReport,
};
use lambfold_api::{BoxStream, CallContext, Fault};
use lambfold_network::Egress;
use lambfold_sandbox::SandboxDriver;
use lambfold_telemetry::{span, trace_of};
use lambfold_types::{CONTAINER_IMAGES, Clock, Entropy, RunFuture, uuid_v4};
use object_store::ObjectStore;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

use crate::answer_stream;
use crate::debugger::DebugPorts;
use crate::environment::{Environment, Invocation, NotPrepared, Pending, Preparation};
use crate::error::{Error, capacity_exceeded, environment_gone, worker_restarted};
use crate::hot_reload::HotReloads;
use crate::interpreter::Interpreters;
use crate::launch::Launcher;
use crate::log_delivery::{self, Delivery};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::packages::PackageCache;
use crate::pool::{self, Pools};
use crate::registry::{Entry, Registry};
use crate::runtime_api::AnswerStream;
use crate::runtime_files::RuntimeFiles;
use crate::start_gate::StartGate;
use crate::telemetry::Room;

/// How long, in all, a new environment waits for one that is on its way out.
const ROOM_ATTEMPTS: u32 = 20;
const ROOM_WAIT: Duration = Duration::from_millis(10);

/// Pieces of a streamed answer between a function and who reads it, of 64 KiB at most.
const PIECES_WAITING: usize = 8;

/// What a worker is built from.
pub struct Parts {
    /// Makes sandboxes; the worker shuts it down when it stops.
    pub driver: Arc<dyn SandboxDriver>,
    /// What it can run. The driver must show [`Interpreters::directories`] to sandboxes.
    pub interpreters: Interpreters,
    /// Where packages are: `packages/<SHA-256 in hex>`.
    pub store: Arc<dyn ObjectStore>,
    /// Where what functions log goes; nowhere but into the server's own log if there is none.
    pub logs: Option<Arc<dyn LogIntake>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// What functions reach beyond their endpoint: nothing if there is none. The driver must give sandboxes network devices
    /// then.
    pub egress: Option<Arc<Egress>>,
    /// What is counted.
    pub metrics: Metrics,
}

/// The execution environments of one machine.
pub struct WorkerService {
    handle: WorkerHandle,
    delivery: Option<Delivery>,
}

/// The way in; clones are the same worker.
#[derive(Clone)]
pub struct WorkerHandle {
    shared: Arc<Shared>,
}

struct Shared {
    incarnation: String,
    launcher: Arc<Launcher>,
    registry: Registry,
    metrics: Metrics,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl WorkerService {
    /// Makes a worker that is ready at once; [`run`](Self::run) is for its end.
    pub fn build(options: Options, parts: Parts) -> Result<Self, Error> {
        let Parts { driver, mut interpreters, store, logs, clock, entropy, egress, metrics } = parts;
        let failed = |source| Error::StateDirectory { path: options.state_dir.clone(), source };
        let cache = options.state_dir.join("packages");
        let packages = PackageCache::open(cache, store, options.package_cache_bytes).map_err(failed)?;
        let incarnation = uuid_v4(&*entropy).to_string();
        let (logs, delivery) =
            logs.map(|logs| log_delivery::channel(logs, &clock, &entropy, &metrics)).unzip();
        let (own_root, own_network) = (driver.capabilities().own_root, driver.capabilities().own_network);
        if own_root {
            interpreters.leave_out_tmp();
        }
        let runtimes = options.state_dir.join("runtimes");
        // Nothing is seen at a second place without a root of the sandbox's own.
        let none = Interpreters::default();
        let linked = if own_root { &interpreters } else { &none };
        let runtime_files =
            RuntimeFiles::install(&runtimes, linked, options.nearest_version).map_err(failed)?;
        let launcher = Launcher {
            debug_ports: Arc::new(DebugPorts::new(options.debugger, own_network, Arc::clone(&clock))),
            hot_reloads: Arc::new(HotReloads::new(options.hot_reload.clone(), driver.report().reached)),
            pools: Pools::new(&options, own_root, &interpreters, metrics.clone()),
            start_gate: StartGate::new(),
            options,
            driver,
            interpreters,
            runtime_files,
            packages,
            logs,
            telemetry_room: Room::default(),
            egress,
            clock,
            entropy,
            tasks: TaskTracker::new(),
            cutting_off: CancellationToken::new(),
        };
        let shared = Shared {
            registry: Registry::new(incarnation.clone()),
            incarnation,
            tasks: launcher.tasks.clone(),
            launcher: Arc::new(launcher),
            metrics,
            stopping: CancellationToken::new(),
        };
        Ok(Self { handle: WorkerHandle { shared: Arc::new(shared) }, delivery })
    }

    /// The way in.
    pub fn handle(&self) -> WorkerHandle {
        self.handle.clone()
    }

    /// Returns after a stop, or when the sandbox driver has ended by itself. A stop lets what runs finish, for
    /// [`Options::stop_within`], and then ends every environment.
    pub fn run(self, shutdown: CancellationToken) -> RunFuture {
        Box::pin(self.work(shutdown))
    }

    async fn work(self, shutdown: CancellationToken) {
        let shared = &self.handle.shared;
        let Launcher { driver, runtime_files, interpreters, clock, options, .. } = &*shared.launcher;
        let compiled = runtime_files.clone().compile(interpreters.found().to_vec());
        let launcher = Arc::clone(&shared.launcher);
        let advance = async move {
            compiled.await;
            pool::fill(launcher).await;
        };
        let stopping = shared.stopping.clone();
        shared.tasks.spawn(async move { stopping.run_until_cancelled(advance).await });
        let delivered = CancellationToken::new();
        let delivery = self.delivery.map(|delivery| tokio::spawn(delivery.run(delivered.clone())));
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = driver.closed() => tracing::error!("there is no spawner any more: no function can run"),
        }
        shared.stopping.cancel();
        shared.registry.retire_all();
        shared.launcher.pools.close();
        shared.tasks.close();
        tokio::select! {
            () = shared.tasks.wait() => {}
            () = clock.sleep_until(clock.now() + options.stop_within) => {
                tracing::warn!(environments = shared.registry.len(), "invocations are cut off");
            }
        }
        shared.launcher.cutting_off.cancel();
        driver.shutdown().await;
        delivered.cancel();
        if let Some(delivery) = delivery {
            // It has a bound of its own.
            let _ = delivery.await;
        }
    }
}

#[async_trait::async_trait]
impl Worker for WorkerHandle {
    async fn report(
        &self,
        _: &CallContext,
        _: ReportRequest,
    ) -> Result<BoxStream<Result<WorkerReport, Fault>>, Fault> {
        let shared = &self.shared;
        let (existing, changes) = shared.registry.watch();
        let message = |report| WorkerReport { incarnation: shared.incarnation.clone(), report: Some(report) };
        let mut first = vec![message(Report::Capacity(self.capacity()))];
        first.extend(existing);
        first.push(message(Report::Synced(Synced {})));
        // Who is too far behind is told to begin anew.
        let changes = BroadcastStream::new(changes).map(|change| change.map_err(|_| Fault::unavailable()));
        let stream = futures_util::stream::iter(first.into_iter().map(Ok)).chain(changes);
        Ok(Box::pin(stream.take_until(shared.stopping.clone().cancelled_owned())))
    }

    async fn invoke(&self, ctx: &CallContext, input: InvokeRequest) -> Result<InvokeResponse, Fault> {
        let shared = &self.shared;
        if !input.incarnation.is_empty() && input.incarnation != shared.incarnation {
            return Err(worker_restarted());
        }
        let span = span_of(ctx, &input);
        let pending = self.place(ctx, input, &span, None).instrument(span.clone()).await?;
        pending.answer().instrument(span).await
    }

    async fn invoke_stream(
        &self,
        ctx: &CallContext,
        input: InvokeRequest,
    ) -> Result<BoxStream<Result<InvokeFrame, Fault>>, Fault> {
        if !input.incarnation.is_empty() && input.incarnation != self.shared.incarnation {
            return Err(worker_restarted());
        }
        let span = span_of(ctx, &input);
        let (stream, pieces) = mpsc::channel(PIECES_WAITING);
        let pending = self.place(ctx, input, &span, Some(stream)).instrument(span.clone()).await?;
        Ok(Box::pin(answer_stream::frames(pieces, pending, span)))
    }

    async fn prepare(&self, ctx: &CallContext, input: PrepareRequest) -> Result<PrepareResponse, Fault> {
        let shared = &self.shared;
        if !input.incarnation.is_empty() && input.incarnation != shared.incarnation {
            return Err(worker_restarted());
        }
        if shared.stopping.is_cancelled() {
            return Err(environment_gone());
        }
        let function = input.function.ok_or_else(environment_gone)?;
        let (id, memory) = (&function.configuration_id, function.memory_size_mb);
        let Some((entry, invocations)) = self.add(&input.environment_id, id, memory, true).await else {
            return Err(capacity_exceeded());
        };
        let (reply, outcome) = oneshot::channel();
        let limit = Duration::from_secs(input.init_limit_seconds.max(1).into());
        let preparation = Preparation { limit, trace: ctx.trace, reply };
        let (launcher, metrics) = (Arc::clone(&shared.launcher), shared.metrics.clone());
        let environment = Environment::new(launcher, metrics, Arc::clone(&entry), function, invocations);
        self.spawn(entry, environment.prepared_by(preparation));
        match outcome.await {
            Ok(Ok(())) => Ok(PrepareResponse::default()),
            Ok(Err(NotPrepared::Function(failure))) => Ok(PrepareResponse { failure }),
            Ok(Err(NotPrepared::Platform(fault))) => Err(fault),
            Err(_) => Err(environment_gone()),
        }
    }

    async fn retire(&self, _: &CallContext, input: RetireRequest) -> Result<RetireResponse, Fault> {
        for id in &input.environment_ids {
            self.shared.registry.retire(id);
        }
        Ok(RetireResponse {})
    }
}

impl WorkerHandle {
    /// Hands the invocation to its environment, which is made if it is new. When the caller goes, the function runs on.
    async fn place(
        &self,
        ctx: &CallContext,
        mut input: InvokeRequest,
        span: &Span,
        stream: Option<AnswerStream>,
    ) -> Result<Pending, Fault> {
        let shared = &self.shared;
        // What the caller sent reaches the function as it came (TracingConfig `PassThrough`).
        let trace_header = match (&ctx.trace_header, trace_of(span).or(ctx.trace)) {
            (None, Some(trace)) => trace.to_amzn(),
            _ => input.trace_header.clone(),
        };
        if shared.stopping.is_cancelled() {
            return Err(environment_gone());
        }
        let function = input.function.take();
        let environment_id = std::mem::take(&mut input.environment_id);
        let (invocation, pending) = Invocation::new(input, trace_header, ctx.trace, stream);
        let entry = match (shared.registry.get(&environment_id), function) {
            (Some(entry), _) => entry,
            (None, None) => return Err(environment_gone()),
            (None, Some(function)) => {
                let (id, memory) = (&function.configuration_id, function.memory_size_mb);
                let Some((entry, invocations)) = self.add(&environment_id, id, memory, false).await else {
                    return Err(capacity_exceeded());
                };
                let (launcher, metrics) = (Arc::clone(&shared.launcher), shared.metrics.clone());
                let environment =
                    Environment::new(launcher, metrics, Arc::clone(&entry), function, invocations);
                self.spawn(Arc::clone(&entry), environment);
                entry
            }
        };
        if entry.invocations.send(invocation).await.is_err() {
            return Err(environment_gone());
        }
        Ok(pending)
    }

    /// Registers a new environment. One that was told to make room takes a moment to go.
    async fn add(
        &self,
        environment_id: &str,
        configuration_id: &str,
        memory_mb: u32,
        provisioned: bool,
    ) -> Option<(Arc<Entry>, mpsc::Receiver<Invocation>)> {
        let Launcher { clock, options, .. } = &*self.shared.launcher;
        for _ in 0..ROOM_ATTEMPTS {
            let most = options.max_environments;
            let registry = &self.shared.registry;
            let added = registry.add(environment_id, configuration_id, memory_mb, provisioned, most);
            if added.is_some() {
                return added;
            }
            clock.sleep_until(clock.now() + ROOM_WAIT).await;
        }
        None
    }

    fn spawn(&self, entry: Arc<Entry>, environment: Environment) {
        // Removed also when the task panics or is cut off.
        struct Registered(Arc<Shared>, Arc<Entry>);
        impl Drop for Registered {
            fn drop(&mut self) {
                self.0.registry.remove(&self.1);
                self.0.metrics.environments.dec();
            }
        }
        self.shared.metrics.environments.inc();
        let registered = Registered(Arc::clone(&self.shared), entry);
        self.shared.tasks.spawn(async move {
            let _registered = registered;
            Box::pin(environment.run()).await;
        });
    }

    fn capacity(&self) -> Capacity {
        let Launcher { options, driver, interpreters, .. } = &*self.shared.launcher;
        let mut runtimes = interpreters.runtimes(options.nearest_version);
        if driver.capabilities().own_root {
            runtimes.push(CONTAINER_IMAGES.to_owned());
        }
        Capacity {
            memory_mb: options.memory_mb,
            environments: options.max_environments,
            isolation: driver.report().reached.to_string(),
            runtimes,
        }
    }
}

fn span_of(ctx: &CallContext, input: &InvokeRequest) -> Span {
    span!(
        ctx.trace, "worker.invoke",
        "faas.invocation_id" = %input.request_id,
        "faas.coldstart" = input.function.is_some(),
        "faas.instance" = %input.environment_id,
        "aws.lambda.invoked_arn" = %input.invoked_function_arn,
    )
}
