//! Calls between two processes, over a real socket: in a stream that they share, and by their own rpc.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use lambfold_api::queue::{AdoptRequest, AdoptResponse, QUEUE_PEERS_ADOPT, QueuePeers, QueuePeersRpc};
use lambfold_api::rpc::{Calls, PassOnError, PeerContext, RetryPolicy, RpcClient, RpcServer};
use lambfold_api::telemetry::{
    GetTraceRequest, GetTraceResponse, Span, TRACES_GET_TRACE, Traces, TracesRemote, TracesRpc,
};
use lambfold_api::transport::{PeerAddress, PeerListener, connect};
use lambfold_api::{CallContext, Fault};
use lambfold_clock::{SystemClock, SystemEntropy};
use lambfold_types::{Clock, Scope};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use uuid::Uuid;

/// What the callee does is asked for by the trace id.
#[derive(Clone)]
struct Callee {
    calls: Arc<AtomicUsize>,
    release: CancellationToken,
    began: mpsc::UnboundedSender<String>,
    dropped: mpsc::UnboundedSender<String>,
}

/// Says that its call ended before it was answered.
struct Unanswered(Option<(mpsc::UnboundedSender<String>, String)>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some((tell, what)) = self.0.take() {
            let _ = tell.send(what);
        }
    }
}

#[async_trait::async_trait]
impl Traces for Callee {
    async fn get_trace(&self, ctx: &CallContext, input: GetTraceRequest) -> Result<GetTraceResponse, Fault> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let word = input.trace_id.split(' ').next().unwrap_or_default();
        match word {
            "refuse" => {
                return Err(
                    Fault::raw("Refused", "Refused.Query", 409, "No.").with_member("Why", &*input.trace_id)
                );
            }
            "panic" => panic!("as the test asks"),
            "wait" => {
                let mut guard = Unanswered(Some((self.dropped.clone(), input.trace_id.clone())));
                let _ = self.began.send(input.trace_id.clone());
                self.release.cancelled().await;
                guard.0 = None;
            }
            _ => {}
        }
        let size = i64::try_from(input.trace_id.len()).unwrap();
        let name = format!("{} {} {}", ctx.scope.account, ctx.principal.as_str(), ctx.request_id);
        Ok(GetTraceResponse {
            spans: vec![Span { trace_id: input.trace_id, name, start_us: size, ..Span::default() }],
        })
    }
}

#[async_trait::async_trait]
impl QueuePeers for Callee {
    async fn adopt(&self, _: &CallContext, input: AdoptRequest) -> Result<AdoptResponse, Fault> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let _ = self.began.send(input.queue);
        self.release.cancelled().await;
        Ok(AdoptResponse {})
    }
}

struct World {
    directory: tempfile::TempDir,
    callee: Callee,
    began: mpsc::UnboundedReceiver<String>,
    dropped: mpsc::UnboundedReceiver<String>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ((tell_began, began), (tell_dropped, dropped)) =
            (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let callee = Callee {
            calls: Arc::default(),
            release: CancellationToken::new(),
            began: tell_began,
            dropped: tell_dropped,
        };
        let stop = CancellationToken::new();
        let serving = serve(&socket(directory.path()), &callee, &stop, true).await;
        Self { directory, callee, began, dropped, stop, serving }
    }

    fn rpc(&self) -> RpcClient {
        client(&socket(self.directory.path()), "secret")
    }

    fn traces(&self) -> TracesRemote {
        TracesRemote::new(self.rpc())
    }

    /// The callee's process dies.
    async fn kill(&mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("peers.sock")
}

fn client(socket: &Path, token: &str) -> RpcClient {
    let channel = connect(&PeerAddress::Unix(socket.to_owned()), None);
    let retry = RetryPolicy { patience: Duration::from_secs(5), ..RetryPolicy::default() };
    RpcClient::new(channel, Arc::new(SystemClock::new()), Arc::new(SystemEntropy))
        .with_token(Some(token.parse().unwrap()))
        .with_retry(retry)
}

/// A listener in a task with its connections, so that both end when the task is aborted.
async fn serve(socket: &Path, callee: &Callee, stop: &CancellationToken, in_streams: bool) -> JoinHandle<()> {
    let listener = PeerListener::bind(&PeerAddress::Unix(socket.to_owned())).await.unwrap();
    let source = Arc::new(PeerContext::new(Arc::new(SystemClock::new()), Some("secret".to_owned())));
    let mut calls = Calls::new(source.clone(), stop.clone());
    let mut routes = Routes::builder();
    calls.add(TracesRpc::add_to(&mut routes, Arc::new(callee.clone()), RpcServer::new(source.clone())));
    calls.add(QueuePeersRpc::add_to(&mut routes, Arc::new(callee.clone()), RpcServer::new(source)));
    if in_streams {
        calls.add_to(&mut routes);
    }
    let server = Server::builder().add_routes(routes.routes());
    let stop = stop.clone().cancelled_owned();
    // On a runtime of its own: aborting a task would leave the connections' tasks.
    let (tell, ended) = tokio::sync::oneshot::channel::<()>();
    let (end, kill) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // The socket was bound by the test's runtime: its descriptor moves to this one.
        let PeerListener::Unix(listener) = listener else { unreachable!("it is one") };
        let listener = listener.into_std().unwrap();
        runtime.spawn(async move {
            let listener = PeerListener::Unix(tokio::net::UnixListener::from_std(listener).unwrap());
            server.serve_with_incoming_shutdown(listener.incoming(None), stop).await.unwrap();
            drop(tell);
        });
        let _ = kill.recv();
        runtime.shutdown_timeout(Duration::from_millis(200));
    });
    tokio::spawn(async move {
        let _end = end;
        let _ = ended.await;
    })
}

fn ctx() -> CallContext {
    let scope = Scope { account: "111122223333".parse().unwrap(), region: "eu-west-1".parse().unwrap() };
    CallContext::internal(scope, Uuid::from_u128(7))
}

fn ask(what: impl Into<String>) -> GetTraceRequest {
    GetTraceRequest { trace_id: what.into() }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it hangs")
}

#[tokio::test]
async fn each_of_many_callers_gets_its_own_answer() {
    let world = World::new().await;
    let traces = world.traces();
    let calls = (0..500).map(|n| {
        let traces = traces.clone();
        async move {
            let word = if n % 7 == 0 { "refuse" } else { "echo" };
            (n, traces.get_trace(&ctx(), ask(format!("{word} {n}"))).await)
        }
    });
    for (n, answer) in within(join_all(calls)).await {
        if n % 7 == 0 {
            let expected =
                Fault::raw("Refused", "Refused.Query", 409, "No.").with_member("Why", format!("refuse {n}"));
            assert_eq!(answer.unwrap_err(), expected);
        } else {
            let span = answer.unwrap().spans.remove(0);
            assert_eq!(span.trace_id, format!("echo {n}"));
            assert_eq!(span.name, format!("111122223333 service:lambfold {}", Uuid::from_u128(7)));
        }
    }
}

#[tokio::test]
async fn what_is_large_goes_by_its_own_rpc_and_holds_nobody_up() {
    let world = World::new().await;
    let traces = world.traces();
    let large = "x".repeat(900_000);
    let answer = within(traces.get_trace(&ctx(), ask(large.clone()))).await.unwrap();
    assert_eq!(answer.spans[0].start_us, 900_000);
    let fault = within(traces.get_trace(&ctx(), ask("x".repeat(2 << 20)))).await.unwrap_err();
    assert_eq!(fault, Fault::too_large(TRACES_GET_TRACE.max_request_bytes));
}

#[tokio::test]
async fn a_caller_that_goes_ends_its_call_only() {
    let mut world = World::new().await;
    let traces = world.traces();
    let staying = tokio::spawn({
        let traces = traces.clone();
        async move { traces.get_trace(&ctx(), ask("wait staying")).await }
    });
    let going = tokio::spawn(async move { traces.get_trace(&ctx(), ask("wait going")).await });
    let mut both = vec![within(world.began.recv()).await.unwrap(), within(world.began.recv()).await.unwrap()];
    both.sort();
    assert_eq!(both, ["wait going", "wait staying"]);
    going.abort();
    assert_eq!(within(world.dropped.recv()).await.unwrap(), "wait going");
    world.callee.release.cancel();
    assert_eq!(within(staying).await.unwrap().unwrap().spans[0].trace_id, "wait staying");
    assert!(world.dropped.try_recv().is_err());
}

#[tokio::test]
async fn a_deadline_ends_the_call_on_both_sides() {
    let mut world = World::new().await;
    let deadline = Some(SystemClock::new().now() + Duration::from_millis(200));
    let ctx = CallContext { deadline, ..ctx() };
    let fault = within(world.traces().get_trace(&ctx, ask("wait"))).await.unwrap_err();
    assert_eq!(fault, Fault::deadline_exceeded());
    assert_eq!(within(world.dropped.recv()).await.unwrap(), "wait");
}

#[tokio::test]
async fn a_panic_concerns_one_call() {
    let mut world = World::new().await;
    let traces = world.traces();
    let waiting = tokio::spawn({
        let traces = traces.clone();
        async move { traces.get_trace(&ctx(), ask("wait")).await }
    });
    within(world.began.recv()).await.unwrap();
    assert_eq!(within(traces.get_trace(&ctx(), ask("panic"))).await.unwrap_err(), Fault::internal());
    world.callee.release.cancel();
    within(waiting).await.unwrap().unwrap();
}

#[tokio::test]
async fn who_stops_answers_what_it_has_and_ends() {
    let mut world = World::new().await;
    let traces = world.traces();
    let waiting = tokio::spawn({
        let traces = traces.clone();
        async move { traces.get_trace(&ctx(), ask("wait")).await }
    });
    within(world.began.recv()).await.unwrap();
    world.stop.cancel();
    // The next one is on the same socket: what comes now is answered there.
    let stop = CancellationToken::new();
    let next = serve(&socket(world.directory.path()), &world.callee, &stop, true).await;
    let answer = within(world.traces().get_trace(&ctx(), ask("next"))).await.unwrap();
    assert_eq!(answer.spans[0].trace_id, "next");
    assert!(!world.serving.is_finished(), "a call is under way");
    world.callee.release.cancel();
    assert_eq!(within(waiting).await.unwrap().unwrap().spans[0].trace_id, "wait");
    within(&mut world.serving).await.unwrap();
    let answer = within(traces.get_trace(&ctx(), ask("same client"))).await.unwrap();
    assert_eq!(answer.spans[0].trace_id, "same client");
    drop(next);
}

#[tokio::test]
async fn a_lost_call_is_made_again_only_if_that_does_no_harm() {
    let mut world = World::new().await;
    let rpc = world.rpc();
    let again = tokio::spawn({
        let traces = TracesRemote::new(rpc.clone());
        async move { traces.get_trace(&ctx(), ask("wait")).await }
    });
    let once = tokio::spawn({
        let rpc = rpc.clone();
        async move {
            let input = AdoptRequest { queue: "once".to_owned(), ..AdoptRequest::default() };
            rpc.pass_on::<_, AdoptResponse>(&QUEUE_PEERS_ADOPT, &ctx(), input).await
        }
    });
    within(world.began.recv()).await.unwrap();
    within(world.began.recv()).await.unwrap();
    world.kill().await;
    assert!(matches!(within(once).await.unwrap(), Err(PassOnError::Lost)));
    // One that is sent just when the connection breaks may have been lost on the way.
    let asked = async {
        loop {
            let input = AdoptRequest::default();
            match rpc.pass_on::<_, AdoptResponse>(&QUEUE_PEERS_ADOPT, &ctx(), input).await {
                Err(PassOnError::Lost) => tokio::task::yield_now().await,
                away => break away,
            }
        }
    };
    let away = within(asked).await;
    assert!(matches!(away, Err(PassOnError::NotSent)), "{away:?}");

    let _next = serve(&socket(world.directory.path()), &world.callee, &CancellationToken::new(), true).await;
    assert_eq!(within(world.began.recv()).await.unwrap(), "wait");
    world.callee.release.cancel();
    assert_eq!(within(again).await.unwrap().unwrap().spans[0].trace_id, "wait");
    assert_eq!(world.callee.calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_peer_of_an_older_release_is_called_by_single_rpcs() {
    let world = World::new().await;
    let directory = tempfile::tempdir().unwrap();
    let _older = serve(&socket(directory.path()), &world.callee, &world.stop, false).await;
    let traces = TracesRemote::new(client(&socket(directory.path()), "secret"));
    for n in 0..3 {
        let answer = within(traces.get_trace(&ctx(), ask(format!("echo {n}")))).await.unwrap();
        assert_eq!(answer.spans[0].trace_id, format!("echo {n}"));
    }
}

#[tokio::test]
async fn who_does_not_know_the_token_is_refused() {
    let world = World::new().await;
    let traces = TracesRemote::new(client(&socket(world.directory.path()), "guess"));
    let fault = within(traces.get_trace(&ctx(), ask("echo"))).await.unwrap_err();
    assert_eq!((fault.code(), fault.http_status()), ("AccessDeniedException", 403));
    assert_eq!(world.callee.calls.load(Ordering::SeqCst), 0);
}
