//! An edge at work on free ports, with time that the test moves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lambfold_api::lambda::{LambdaInvokeVia, LambdaVia};
use lambfold_api::logs::LogsVia;
use lambfold_api::sqs::{SqsPeekVia, SqsVia};
use lambfold_aws_wire::sigv4::Unverified;
use lambfold_clock::{ManualClock, SystemEntropy};
use lambfold_gateway::{GatewayService, Metrics, Options, Services, Surroundings};
use lambfold_types::Timestamp;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::fake_logs::FakeLogs;
use crate::fakes::{FakeInvoke, FakeLambda, FakePeek, FakeSqs, FakeTraces};
use crate::log::{Log, Policy, Recorder, watch_panics};

pub(crate) struct Edge {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) log: Arc<Log>,
    pub(crate) clock: ManualClock,
    pub(crate) ready: Arc<AtomicBool>,
}

impl Edge {
    pub(crate) async fn start() -> Self {
        Self::with(Policy::default(), Options::default()).await
    }

    pub(crate) async fn with(policy: Policy, options: Options) -> Self {
        watch_panics();
        let log = Arc::new(Log::new(policy));
        let clock = ManualClock::at(Timestamp::from_millis(1_767_225_600_000));
        let ready = Arc::new(AtomicBool::new(true));
        let mut registry = Registry::with_prefix("lambfold");
        let metrics = Metrics::register(&mut registry);
        let recorder = || Recorder(log.clone());
        let services = Services {
            sqs: Arc::new(SqsVia::new(Arc::new(FakeSqs::default()), recorder())),
            peek: Arc::new(SqsPeekVia::new(Arc::new(FakePeek), recorder())),
            lambda: Arc::new(LambdaVia::new(Arc::new(FakeLambda), recorder())),
            invoke: Arc::new(LambdaInvokeVia::new(Arc::new(FakeInvoke), recorder())),
            logs: Arc::new(LogsVia::new(Arc::new(FakeLogs::default()), recorder())),
            control: None,
            traces: Arc::new(FakeTraces),
            packages: None,
        };
        let asked = ready.clone();
        let around = Surroundings {
            authorizer: log.clone(),
            verifier: Arc::new(Unverified::default()),
            clock: Arc::new(clock.clone()),
            entropy: Arc::new(SystemEntropy),
            metrics,
            registry: Arc::new(registry),
            ready: Arc::new(move || asked.load(Ordering::SeqCst)),
        };
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = (http.local_addr().unwrap(), grpc.local_addr().unwrap());
        let edge = GatewayService::build(options, services, around);
        // The end of the test's runtime ends it.
        tokio::spawn(edge.run(http, grpc, CancellationToken::new()));
        Self { http: addresses.0, grpc: addresses.1, log, clock, ready }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.http).await
    }

    /// Whether it still serves who comes next, after whatever was done to it.
    pub(crate) async fn is_well(&self) -> bool {
        crate::log::panics() == 0 && self.client().await.ask("GET /livez HTTP/1.1", b"").await.status == 200
    }
}

/// Nothing here takes long; what hangs fails.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("in time")
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waited = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), waited).await.is_ok(), "{what}");
}
