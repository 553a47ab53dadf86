//! One worker per test binary's process and function; packages in memory.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use lambfold_api::control::FunctionVersion;
use lambfold_api::logstore::{DeliverRequest, DeliverResponse, LogIntake};
use lambfold_api::worker::{InvokeRequest, InvokeResponse, RetireRequest, Worker};
use lambfold_api::{CallContext, Fault};
use lambfold_clock::{SystemClock, SystemEntropy};
use lambfold_network::Egress;
use lambfold_sandbox::{SandboxDriver, SpawnerCommand, SpawnerOptions};
use lambfold_types::{Clock, Scope, uuid_v4};
use lambfold_worker::{Interpreters, LastingSpawner, Metrics, Options, Parts, WorkerHandle, WorkerService};
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use prometheus_client::registry::Registry;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::WAITING;

/// A running worker on a directory of its own.
pub(crate) struct Rig {
    pub(crate) worker: WorkerHandle,
    store: Arc<InMemory>,
    stop: CancellationToken,
    running: JoinHandle<()>,
    pub(crate) driver: Arc<dyn SandboxDriver>,
    pub(crate) directory: TempDir,
    pub(crate) metrics: Registry,
    logged: Arc<Logged>,
}

/// What functions have logged.
#[derive(Default)]
struct Logged(Mutex<Vec<String>>);

#[async_trait::async_trait]
impl LogIntake for Logged {
    async fn deliver(&self, _: &CallContext, input: DeliverRequest) -> Result<DeliverResponse, Fault> {
        let events = input.batches.into_iter().flat_map(|batch| batch.events);
        self.0.lock().unwrap().extend(events.map(|event| event.message));
        Ok(DeliverResponse {})
    }
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Options)) -> Self {
        Self::build(change, None, Duration::ZERO).await
    }

    /// With what functions reach beyond their endpoint.
    pub(crate) async fn with_network(egress: Arc<Egress>) -> Self {
        Self::build(|_| {}, Some(egress), Duration::ZERO).await
    }

    /// With packages that take so long to fetch.
    pub(crate) async fn with_slow_store(fetch: Duration, change: impl FnOnce(&mut Options)) -> Self {
        Self::build(change, None, fetch).await
    }

    async fn build(change: impl FnOnce(&mut Options), egress: Option<Arc<Egress>>, fetch: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::new());
        let path = std::env::var_os("PATH").unwrap_or_default();
        let interpreters = Interpreters::discover(&path, &*clock).await;
        let mut options =
            SpawnerOptions::new(SpawnerCommand::program(spawner()), directory.path().join("sandbox"));
        options.extra_readonly = interpreters.directories();
        options.network_device = egress.is_some();
        let driver = LastingSpawner::start(options, clock.clone()).await.unwrap();
        let store = Arc::new(InMemory::new());
        let mut options = Options::new(directory.path().join("worker"));
        options.pool_memory_mib = if WAITING { 200 } else { 0 };
        options.pool_minimum = 2;
        change(&mut options);
        let waiting = options.pool_memory_mib > 0 && driver.capabilities().own_root;
        let mut metrics = Registry::default();
        let logged = Arc::new(Logged::default());
        let parts = Parts {
            driver: Arc::clone(&driver),
            interpreters,
            store: Arc::new(ThrottledStore::new(
                Arc::clone(&store) as Arc<dyn ObjectStore>,
                ThrottleConfig { wait_get_per_call: fetch, ..ThrottleConfig::default() },
            )),
            logs: Some(logged.clone()),
            clock,
            entropy: Arc::new(SystemEntropy),
            egress,
            metrics: Metrics::register(&mut metrics),
        };
        let service = WorkerService::build(options, parts).unwrap();
        let worker = service.handle();
        let stop = CancellationToken::new();
        let running = tokio::spawn(service.run(stop.clone()));
        let rig = Self { worker, store, stop, running, driver, directory, metrics, logged };
        if waiting {
            rig.fill_pools().await;
        }
        rig
    }

    /// Has both languages asked for, and waits until environments of them wait.
    async fn fill_pools(&self) {
        let python = self.python("def handler(event, context):\n    return 1\n").await;
        let node = self.function("nodejs20.x", "index.js", "exports.handler = async () => 1;").await;
        for function in [python, node] {
            let (id, answer) = self.cold(&function, "{}").await;
            success(&answer);
            // Nothing of it is to be seen by the test.
            self.worker
                .retire(&context(), RetireRequest { environment_ids: vec![id.clone()] })
                .await
                .unwrap();
            eventually_async("its end", async || self.warm(&id, "{}").await.is_err()).await;
            eventually("environments that wait", || self.metric("waiting", &pool_of(&function)) >= 2).await;
        }
    }

    /// All that has been logged.
    pub(crate) fn logged(&self) -> String {
        self.logged.0.lock().unwrap().concat()
    }

    /// The events of that.
    pub(crate) fn logged_events(&self) -> Vec<String> {
        self.logged.0.lock().unwrap().clone()
    }

    /// A figure of a pool.
    pub(crate) fn metric(&self, name: &str, runtime: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).unwrap();
        let start = format!("worker_pool_{name}");
        let label = format!("{{runtime=\"{runtime}\"}} ");
        let mut lines = text.lines().filter(|line| line.starts_with(&start));
        lines.find_map(|line| line.split_once(&label)?.1.parse().ok()).unwrap_or(0)
    }

    /// How often idle environments were made to stand still.
    pub(crate) fn freezes(&self) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).unwrap();
        text.lines().find_map(|line| line.strip_prefix("worker_freezes_total ")?.parse().ok()).unwrap()
    }

    /// A function of one file with the handler `index.handler`.
    pub(crate) async fn function(&self, runtime: &str, file: &str, source: &str) -> FunctionVersion {
        self.package(runtime, &[(file, source, 0o644)]).await
    }

    pub(crate) async fn python(&self, source: &str) -> FunctionVersion {
        self.function("python3.11", "index.py", source).await
    }

    pub(crate) async fn package(&self, runtime: &str, files: &[(&str, &str, u32)]) -> FunctionVersion {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content, mode) in files {
            let options = zip::write::SimpleFileOptions::default().unix_permissions(*mode);
            archive.start_file(*name, options).unwrap();
            archive.write_all(content.as_bytes()).unwrap();
        }
        self.store(runtime, archive.finish().unwrap().into_inner()).await
    }

    /// As [`Self::package`], of files that are no text.
    pub(crate) async fn archive(&self, runtime: &str, files: &[(String, Vec<u8>)]) -> FunctionVersion {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in files {
            archive.start_file(name.as_str(), zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(content).unwrap();
        }
        self.store(runtime, archive.finish().unwrap().into_inner()).await
    }

    async fn store(&self, runtime: &str, bytes: Vec<u8>) -> FunctionVersion {
        let digest = Sha256::digest(&bytes);
        let location = ObjectPath::from(format!("packages/{}", hex::encode(digest)));
        self.store.put(&location, PutPayload::from(bytes)).await.unwrap();
        FunctionVersion {
            account: "000000000000".into(),
            region: "us-east-1".into(),
            function_name: "f".into(),
            version: "$LATEST".into(),
            incarnation: "i".into(),
            configuration_id: unique(),
            state: "Active".into(),
            runtime: runtime.into(),
            handler: "index.handler".into(),
            code_sha256: STANDARD.encode(digest),
            environment: BTreeMap::new(),
            timeout_seconds: 10,
            memory_size_mb: 256,
            ephemeral_storage_mb: 512,
            ..FunctionVersion::default()
        }
    }

    /// Invokes in a new environment; returns its id, too.
    pub(crate) async fn cold(&self, function: &FunctionVersion, event: &str) -> (String, InvokeResponse) {
        let id = unique();
        let answer = self.invoke(&id, Some(function), event.to_owned()).await.unwrap();
        (id, answer)
    }

    pub(crate) async fn warm(&self, environment: &str, event: &str) -> Result<InvokeResponse, Fault> {
        self.invoke(environment, None, event.to_owned()).await
    }

    pub(crate) async fn invoke(
        &self,
        environment: &str,
        function: Option<&FunctionVersion>,
        event: impl Into<Bytes>,
    ) -> Result<InvokeResponse, Fault> {
        invoke(&self.worker, environment, function, event).await
    }

    /// SIGKILL to its spawner: the child of this process that holds the lock of its directory.
    pub(crate) fn kill_spawner(&self) {
        let lock = self.directory.path().join("sandbox/lock");
        let holds_it = |pid: &str| {
            let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            files.map(|file| std::fs::read_link(file.path())).any(|link| link.is_ok_and(|it| it == lock))
        };
        let mut children = Vec::new();
        for thread in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
            let text = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            children.extend(text.split_whitespace().map(str::to_owned));
        }
        let spawner = children.into_iter().find(|pid| holds_it(pid)).expect("it has a spawner");
        assert!(Command::new("kill").args(["-KILL", &spawner]).status().unwrap().success());
    }

    /// Stops, whatever is left.
    pub(crate) async fn end(self) -> TempDir {
        self.stop.cancel();
        self.running.await.unwrap();
        self.directory
    }

    /// Stops gracefully; nothing may be left.
    pub(crate) async fn stop(self) {
        let directory = self.end().await;
        let sandboxes = directory.path().join("sandbox");
        assert_eq!(std::fs::read_dir(sandboxes.join("slots")).unwrap().count(), 0);
        let groups = std::fs::read_to_string(sandboxes.join("cgroups")).unwrap();
        assert!(!groups.lines().any(|group| std::path::Path::new(group).exists()), "{groups}");
    }
}

pub(crate) async fn invoke(
    worker: &WorkerHandle,
    environment: &str,
    function: Option<&FunctionVersion>,
    event: impl Into<Bytes>,
) -> Result<InvokeResponse, Fault> {
    let ctx = context();
    let request = InvokeRequest {
        environment_id: environment.into(),
        function: function.cloned(),
        request_id: ctx.request_id.to_string(),
        payload: event.into(),
        invoked_function_arn: "arn:aws:lambda:us-east-1:000000000000:function:f".into(),
        log_tail: true,
        ..InvokeRequest::default()
    };
    worker.invoke(&ctx, request).await
}

pub(crate) fn context() -> CallContext {
    CallContext::internal(Scope::default(), uuid_v4(&SystemEntropy))
}

/// What the pool that has environments for `function` is called.
pub(crate) fn pool_of(function: &FunctionVersion) -> String {
    let FunctionVersion { runtime, memory_size_mb, .. } = function;
    if runtime.starts_with("nodejs") { format!("{runtime} {memory_size_mb} MB") } else { runtime.clone() }
}

pub(crate) fn unique() -> String {
    uuid_v4(&SystemEntropy).to_string()
}

/// The answer's payload as JSON.
pub(crate) fn json(answer: &InvokeResponse) -> Value {
    serde_json::from_slice(&answer.payload).unwrap_or_else(|error| {
        panic!("{error}: {:?}, log: {}", answer.payload, String::from_utf8_lossy(&answer.log_tail))
    })
}

pub(crate) fn tail(answer: &InvokeResponse) -> String {
    String::from_utf8(answer.log_tail.to_vec()).unwrap()
}

/// `Max Memory Used` of the last REPORT.
pub(crate) fn memory_used(log: &str) -> u64 {
    let (_, rest) = log.rsplit_once("\tMax Memory Used: ").expect("there is a REPORT");
    rest.split_once(" MB").expect("it has a unit").0.parse().expect("it is a number")
}

/// A success with that payload, or a panic that shows the log.
pub(crate) fn success(answer: &InvokeResponse) -> Value {
    assert_eq!(answer.function_error, "", "{:?}\n{}", answer.payload, tail(answer));
    json(answer)
}

/// Asks until it is so; panics after ten seconds.
pub(crate) async fn eventually(what: &str, mut ask: impl FnMut() -> bool) {
    let clock = SystemClock::new();
    let until = clock.now() + std::time::Duration::from_secs(10);
    while !ask() {
        assert!(clock.now() < until, "waited ten seconds for {what}");
        clock.sleep_until(clock.now() + std::time::Duration::from_millis(10)).await;
    }
}

/// The same for questions that take a while.
pub(crate) async fn eventually_async(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let clock = SystemClock::new();
    let until = clock.now() + std::time::Duration::from_secs(10);
    while !ask().await {
        assert!(clock.now() < until, "waited ten seconds for {what}");
        pause(10).await;
    }
}

/// Lets time pass that a function's own timers need.
pub(crate) async fn pause(milliseconds: u64) {
    let clock = SystemClock::new();
    clock.sleep_until(clock.now() + std::time::Duration::from_millis(milliseconds)).await;
}

/// `lambfold-spawner`, built beside the tests.
fn spawner() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let test = std::env::current_exe().unwrap();
            // target/<profile>/deps/<test>
            let program = test.ancestors().nth(2).unwrap().join("lambfold-spawner");
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--quiet", "--package", "lambfold-sandbox", "--bin", "lambfold-spawner"]);
            if program.parent().is_some_and(|profile| profile.ends_with("release")) {
                cargo.arg("--release");
            }
            // Where the tests were carried to another machine or user there is no cargo, but a spawner.
            let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().is_ok_and(|it| it.success());
            assert!(built || program.exists(), "cannot build {}", program.display());
            program
        })
        .clone()
}

/// Speaks the Runtime API with nothing in between: `call` returns status and JSON.
const PRELUDE: &str = r"#!/usr/bin/env python3
import http.client, json, os, socket, sys, time
HOST = os.environ['AWS_LAMBDA_RUNTIME_API']
BASE = '/2018-06-01/runtime/'
def call(method, path, body=None, headers={}):
    c = http.client.HTTPConnection(HOST)
    c.request(method, path if path.startswith('/') else BASE + path, body, headers)
    r = c.getresponse()
    data = r.read()
    return r.status, (json.loads(data) if data.startswith(b'{') else data.decode()), r.headers
def take():
    status, event, headers = call('GET', 'invocation/next')
    assert status == 200, (status, event)
    return headers['Lambda-Runtime-Aws-Request-Id'], event
def raw(text, wait=True):
    host, port = HOST.split(':')
    s = socket.create_connection((host, int(port)))
    s.sendall(text)
    if not wait:
        return s
    data = b''
    while b'\r\n\r\n' not in data:
        piece = s.recv(65536)
        if not piece:
            break
        data += piece
    return data.decode()
";

/// A function with a runtime of its own, of which `body` is the rest.
pub(crate) async fn provided(rig: &Rig, body: &str) -> FunctionVersion {
    let source = format!("{PRELUDE}{body}");
    rig.package("provided.al2023", &[("bootstrap", &source, 0o755)]).await
}
