//! From the dispatcher through the worker into the sandbox.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use lambfold_api::control::watch_event::Event;
use lambfold_api::control::{
    AcknowledgeMarkResponse, Control, FunctionVersion, Mark, ReportEventSourceMappingRequest,
    ReportEventSourceMappingResponse, ReportProvisionedConcurrencyRequest,
    ReportProvisionedConcurrencyResponse, ReportWorkerRequest, ReportWorkerResponse, Synced, WatchEvent,
    WatchRequest,
};
use lambfold_api::lambda::{InvocationRequest, LambdaInvoke};
use lambfold_api::{BoxStream, CallContext, Fault};
use lambfold_clock::{SystemClock, SystemEntropy};
use lambfold_dispatcher::{DispatcherHandle, DispatcherService};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::support::{Rig, context, provided};

/// A control plane that tells what it is told.
struct Told {
    known: Vec<FunctionVersion>,
    changes: broadcast::Sender<WatchEvent>,
}

#[async_trait::async_trait]
impl Control for Told {
    async fn watch(
        &self,
        _: &CallContext,
        _: WatchRequest,
    ) -> Result<BoxStream<Result<WatchEvent, Fault>>, Fault> {
        use futures_util::StreamExt;
        let changes = tokio_stream::wrappers::BroadcastStream::new(self.changes.subscribe());
        let known = self.known.iter().cloned().map(Event::Function).chain([Event::Synced(Synced {})]);
        let known = known.map(|event| Ok(WatchEvent { at: None, event: Some(event) })).collect::<Vec<_>>();
        Ok(Box::pin(
            futures_util::stream::iter(known).chain(changes.map(|it| it.map_err(|_| Fault::unavailable()))),
        ))
    }

    async fn report_worker(
        &self,
        _: &CallContext,
        _: ReportWorkerRequest,
    ) -> Result<ReportWorkerResponse, Fault> {
        Ok(ReportWorkerResponse {})
    }

    async fn report_provisioned_concurrency(
        &self,
        _: &CallContext,
        _: ReportProvisionedConcurrencyRequest,
    ) -> Result<ReportProvisionedConcurrencyResponse, Fault> {
        Ok(ReportProvisionedConcurrencyResponse {})
    }

    async fn acknowledge_mark(&self, _: &CallContext, _: Mark) -> Result<AcknowledgeMarkResponse, Fault> {
        Ok(AcknowledgeMarkResponse {})
    }

    async fn report_event_source_mapping(
        &self,
        _: &CallContext,
        _: ReportEventSourceMappingRequest,
    ) -> Result<ReportEventSourceMappingResponse, Fault> {
        Err(Fault::internal())
    }
}

struct Dispatched {
    dispatcher: DispatcherHandle,
    changes: broadcast::Sender<WatchEvent>,
    _stop: tokio_util::sync::DropGuard,
}

impl Dispatched {
    fn start(rig: &Rig, known: Vec<FunctionVersion>) -> Self {
        let changes = broadcast::Sender::new(16);
        let parts = lambfold_dispatcher::Parts {
            control: Arc::new(Told { known, changes: changes.clone() }),
            workers: vec![Arc::new(rig.worker.clone())],
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy),
            metrics: lambfold_dispatcher::Metrics::default(),
        };
        let service = DispatcherService::build(lambfold_dispatcher::Options::default(), parts);
        let dispatcher = service.handle();
        let stop = CancellationToken::new();
        tokio::spawn(service.run(stop.clone()));
        Self { dispatcher, changes, _stop: stop.drop_guard() }
    }

    async fn invoke(&self, event: &str) -> Value {
        let answer = self.dispatcher.invoke(&context(), request(event)).await.unwrap();
        assert_eq!(answer.function_error, None, "{:?}", answer.payload);
        serde_json::from_slice(&answer.payload.unwrap()).unwrap()
    }
}

fn request(event: &str) -> InvocationRequest {
    InvocationRequest {
        function_name: Some("f".into()),
        payload: Some(Bytes::copy_from_slice(event.as_bytes())),
        ..InvocationRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_goes_all_the_way() {
    let rig = Rig::start().await;
    let function = rig
        .python(
            "import os\nn = 0\ndef handler(event, context):\n    global n\n    n += 1\n    print('seen')\n    c = context.client_context\n    return {'n': n, 'pid': os.getpid(), 'event': event, 'id': context.aws_request_id, 'trace': os.environ.get('_X_AMZN_TRACE_ID'), 'custom': c.custom if c else None}\n",
        )
        .await;
    let here = Dispatched::start(&rig, vec![function.clone()]);
    let ctx = context();
    let input = InvocationRequest {
        log_type: Some("Tail".into()),
        client_context: Some(STANDARD.encode(r#"{"custom": {"k": "ü"}}"#)),
        ..request(r#"{"a": 1}"#)
    };
    let answer = here.dispatcher.invoke(&ctx, input).await.unwrap();
    assert_eq!((answer.status_code, answer.executed_version.as_deref()), (Some(200), Some("$LATEST")));
    let log = String::from_utf8(STANDARD.decode(answer.log_result.unwrap()).unwrap()).unwrap();
    assert!(log.contains("\nseen\n") && log.contains("REPORT RequestId: "), "{log}");
    let first: Value = serde_json::from_slice(&answer.payload.unwrap()).unwrap();
    assert_eq!(first["event"], json!({"a": 1}));
    assert_eq!(first["id"], ctx.request_id.to_string());
    assert_eq!(first["custom"], json!({"k": "ü"}));
    let trace = first["trace"].as_str().unwrap();
    assert!(trace.starts_with("Root=1-") && trace.ends_with(";Sampled=0"), "{trace}");

    // One after another, and right behind the answer: one environment.
    for n in 2..30 {
        let next = here.invoke("{}").await;
        assert_eq!((&next["n"], &next["pid"]), (&json!(n), &first["pid"]));
    }

    // New code means a new environment, and the old one ends.
    let newer = FunctionVersion { configuration_id: "newer".into(), ..function };
    here.changes.send(WatchEvent { at: None, event: Some(Event::Function(newer)) }).unwrap();
    crate::support::eventually_async("the update to be seen", async || {
        here.invoke("{}").await["n"] == json!(1)
    })
    .await;
    drop(here);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_scales_out_and_what_came_of_it_is_used_again() {
    let rig = Rig::start().await;
    let function = rig
        .python("import os, time\ndef handler(event, context):\n    time.sleep(0.3)\n    return os.getpid() if event == 1 else os.environ['AWS_LAMBDA_LOG_STREAM_NAME']\n")
        .await;
    let burst = async |here: &Dispatched| {
        let answers = futures_util::future::join_all((0..5).map(|_| here.invoke("2"))).await;
        answers.into_iter().map(|it| it.to_string()).collect::<std::collections::BTreeSet<_>>()
    };
    let here = Dispatched::start(&rig, vec![function.clone()]);
    let first = burst(&here).await;
    assert_eq!(first.len(), 5);
    assert_eq!(burst(&here).await, first);
    drop(here);
    // They are on their way to `next`.
    crate::support::pause(1500).await;
    // A dispatcher that starts anew finds them, too.
    let again = Dispatched::start(&rig, vec![function]);
    assert_eq!(burst(&again).await, first);
    drop(again);
    rig.stop().await;
}

/// On AWS an environment is free when its runtime and its extensions ask for the next invocation, not when it has answered.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_at_work_after_the_answer_holds_nobody_up() {
    let rig = Rig::start().await;
    let body = r"
while True:
    id, event = take()
    call('POST', 'invocation/' + id + '/response', json.dumps({'name': os.environ['AWS_LAMBDA_LOG_STREAM_NAME'], 'event': event}))
    time.sleep(int(event))
";
    let mut function = provided(&rig, body).await;
    function.timeout_seconds = 30;
    let dispatched = Dispatched::start(&rig, vec![function]);
    let busy = dispatched.invoke("3").await;
    let other = dispatched.invoke("0").await;
    assert_ne!(other["name"], busy["name"], "another environment");
    assert_eq!(other["event"], json!("0"), "with the event whole");
    assert_eq!(dispatched.invoke("0").await["name"], other["name"]);
    // When it is free, both are there.
    crate::support::pause(4000).await;
    let both = tokio::join!(dispatched.invoke("1"), dispatched.invoke("1"));
    let mut names = [both.0["name"].to_string(), both.1["name"].to_string()];
    let mut known = [busy["name"].to_string(), other["name"].to_string()];
    names.sort_unstable();
    known.sort_unstable();
    assert_eq!(names, known);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_died_is_replaced_unseen() {
    // Frozen ones do not die by themselves.
    let rig = Rig::with(|options| options.freeze_after = None).await;
    let function = rig
        .python("import os, threading\ndef handler(event, context):\n    threading.Timer(0.05, lambda: os._exit(7)).start()\n    return 1\n")
        .await;
    let here = Dispatched::start(&rig, vec![function]);
    for _ in 0..5 {
        assert_eq!(here.invoke("{}").await, json!(1));
        crate::support::pause(500).await;
    }
    drop(here);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_invoked_is_said_in_awss_words() {
    let rig = Rig::start().await;
    let mut function = rig.python("def handler(event, context):\n    return 1\n").await;
    function.state = "Pending".into();
    let here = Dispatched::start(&rig, vec![function]);
    let fault = async |input: InvocationRequest| here.dispatcher.invoke(&context(), input).await.unwrap_err();
    let pending = fault(request("{}")).await;
    assert_eq!((pending.code(), pending.http_status()), ("ResourceConflictException", 409));
    let unknown = fault(InvocationRequest { function_name: Some("nope".into()), ..request("{}") }).await;
    assert_eq!((unknown.code(), unknown.http_status()), ("ResourceNotFoundException", 404));
    assert_eq!(
        unknown.message(),
        "Function not found: arn:aws:lambda:us-east-1:000000000000:function:nope:$LATEST"
    );
    let large = InvocationRequest { payload: Some(vec![b' '; 6_291_457].into()), ..request("") };
    assert_eq!(fault(large).await.http_status(), 413);
    drop(here);
    rig.stop().await;
}
