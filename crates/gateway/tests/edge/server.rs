//! An edge at work on free ports, and the plainest of clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lambfold_api::authorize::{AllowAll, Authorizer};
use lambfold_api::{Fault, Operation};
use lambfold_aws_wire::sigv4::Unverified;
use lambfold_clock::{SystemClock, SystemEntropy};
use lambfold_gateway::{GatewayService, Metrics, Options, Packages, Services, Surroundings};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fake_logs::FakeLogs;
use crate::fakes::{FakeInvoke, FakeLambda, FakePeek, FakeSqs, FakeTraces};

pub(crate) struct Server {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) sqs: Arc<FakeSqs>,
    pub(crate) logs: Arc<FakeLogs>,
    pub(crate) stop: CancellationToken,
    pub(crate) running: JoinHandle<()>,
}

struct OnePackage;

#[async_trait::async_trait]
impl Packages for OnePackage {
    async fn package(&self, sha256: &str) -> Result<Option<Bytes>, Fault> {
        Ok((sha256 == "ab".repeat(32)).then(|| Bytes::from_static(b"PK")))
    }
}

pub(crate) async fn start() -> Server {
    start_with(Options::default(), Arc::new(AllowAll)).await
}

pub(crate) async fn start_with(options: Options, authorizer: Arc<dyn Authorizer>) -> Server {
    let sqs = Arc::new(FakeSqs::default());
    let logs = Arc::new(FakeLogs::default());
    let mut registry = Registry::with_prefix("lambfold");
    let metrics = Metrics::register(&mut registry);
    let services = Services {
        sqs: sqs.clone(),
        peek: Arc::new(FakePeek),
        lambda: Arc::new(FakeLambda),
        invoke: Arc::new(FakeInvoke),
        logs: logs.clone(),
        control: None,
        traces: Arc::new(FakeTraces),
        packages: Some(Arc::new(OnePackage)),
    };
    let around = Surroundings {
        authorizer,
        verifier: Arc::new(Unverified::default()),
        clock: Arc::new(SystemClock::new()),
        entropy: Arc::new(SystemEntropy),
        metrics,
        registry: Arc::new(registry),
        ready: Arc::new(|| true),
    };
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = (http.local_addr().unwrap(), grpc.local_addr().unwrap());
    let stop = CancellationToken::new();
    let running =
        tokio::spawn(GatewayService::build(options, services, around).run(http, grpc, stop.clone()));
    Server { http: addresses.0, grpc: addresses.1, sqs, logs, stop, running }
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Reads one answer; `None` if the connection ends before one.
pub(crate) async fn read_answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut seen = Vec::new();
    let end = loop {
        if let Some(end) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
            return None;
        }
    };
    let head = String::from_utf8(seen[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut answer = Answer { status, head, body: seen[end..].to_vec() };
    let length: usize = answer.header("content-length").map_or(0, |value| value.parse().unwrap());
    while answer.body.len() < length {
        if stream.read_buf(&mut answer.body).await.unwrap_or(0) == 0 {
            return None;
        }
    }
    Some(answer)
}

/// One request on a connection of its own.
pub(crate) async fn send(address: SocketAddr, head: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    ask(&mut stream, head, body).await
}

/// One request on `stream`. Host and length are added.
pub(crate) async fn ask(stream: &mut TcpStream, head: &str, body: &[u8]) -> Answer {
    let request = format!("{head}\r\nHost: edge:4566\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    within(read_answer(stream)).await.expect("an answer")
}

/// The head of an operation of SQS in JSON.
pub(crate) fn sqs(operation: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nContent-Type: application/x-amz-json-1.0\r\nX-Amz-Target: AmazonSQS.{operation}"
    )
}

/// The head of an operation in AWS JSON.
pub(crate) fn target_of(operation: &Operation) -> String {
    let Operation { json_version, target_prefix, name, .. } = operation;
    format!(
        "POST / HTTP/1.1\r\nContent-Type: application/x-amz-json-{json_version}\r\nX-Amz-Target: {target_prefix}.{name}"
    )
}

/// Nothing here takes long; what hangs fails.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("in time")
}

/// Lets real time pass.
pub(crate) async fn pause(time: Duration) {
    let _ = tokio::time::timeout(time, std::future::pending::<()>()).await;
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
