//! Control and one worker, scripted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use lambfold_api::control::watch_event::Event;
use lambfold_api::control::{
    AcknowledgeMarkResponse, Control, FunctionVersion, Mark, ProvisionedAllocation,
    ReportEventSourceMappingRequest, ReportEventSourceMappingResponse, ReportProvisionedConcurrencyRequest,
    ReportProvisionedConcurrencyResponse, ReportWorkerRequest, ReportWorkerResponse, WatchEvent,
    WatchRequest,
};
use lambfold_api::lambda::{InvocationRequest, InvocationResponse, LambdaInvoke};
use lambfold_api::worker::invoke_frame::Frame;
use lambfold_api::worker::worker_report::Report;
use lambfold_api::worker::{
    AnswerHead, Capacity, EnvironmentState, ExecutionEnvironment, InvokeFrame, InvokeRequest, InvokeResponse,
    PrepareRequest, PrepareResponse, ReportRequest, RetireRequest, RetireResponse, Worker, WorkerReport,
};
use lambfold_api::{BoxStream, CallContext, Fault};
use lambfold_clock::{ManualClock, SystemEntropy};
use lambfold_dispatcher::{DispatcherHandle, DispatcherService, Metrics, Options, Parts};
use lambfold_types::{Scope, Timestamp, uuid_v4};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What the worker does with an invocation.
pub(crate) enum Act {
    Answer(&'static str),
    Respond(InvokeResponse),
    /// Runs until [`Neighbours::release`].
    Hold,
    Fault(&'static str),
}

/// An invocation as the worker saw it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) environment: String,
    pub(crate) cold: bool,
    pub(crate) request_id: String,
    pub(crate) incarnation: String,
    pub(crate) trace_header: String,
}

#[derive(Default)]
struct Scripted {
    acts: Mutex<VecDeque<Act>>,
    calls: Mutex<Vec<Call>>,
    retired: Mutex<Vec<String>>,
    release: Notify,
    incarnation: Mutex<Option<String>>,
    environments: u32,
    reports: Mutex<Option<mpsc::UnboundedSender<Result<WorkerReport, Fault>>>>,
    functions: Vec<FunctionVersion>,
    events: Mutex<Option<mpsc::UnboundedSender<Result<WatchEvent, Fault>>>>,
    control_away: Mutex<bool>,
    told: Mutex<Vec<ReportWorkerRequest>>,
    prepared: Mutex<Vec<PrepareRequest>>,
    /// How inits ahead of invocations end.
    init_failure: Mutex<String>,
    /// Functions whose inits ahead of invocations never end.
    hanging: Mutex<Vec<String>>,
    allocations: Mutex<Vec<ProvisionedAllocation>>,
}

struct ScriptedWorker(Arc<Scripted>);
struct ScriptedControl(Arc<Scripted>);

#[async_trait::async_trait]
impl Worker for ScriptedWorker {
    async fn report(
        &self,
        _: &CallContext,
        _: ReportRequest,
    ) -> Result<BoxStream<Result<WorkerReport, Fault>>, Fault> {
        let incarnation = self.0.incarnation.lock().unwrap().clone().ok_or_else(Fault::unavailable)?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let capacity = Capacity {
            memory_mb: 100_000,
            environments: self.0.environments,
            isolation: "none".into(),
            runtimes: vec!["python3.12".to_owned()],
        };
        for report in [Report::Capacity(capacity), Report::Synced(lambfold_api::worker::Synced {})] {
            let report = WorkerReport { incarnation: incarnation.clone(), report: Some(report) };
            sender.send(Ok(report)).unwrap();
        }
        *self.0.reports.lock().unwrap() = Some(sender);
        Ok(Box::pin(UnboundedReceiverStream::new(receiver)))
    }

    async fn invoke(&self, _: &CallContext, input: InvokeRequest) -> Result<InvokeResponse, Fault> {
        self.0.calls.lock().unwrap().push(Call {
            environment: input.environment_id,
            cold: input.function.is_some(),
            request_id: input.request_id,
            incarnation: input.incarnation,
            trace_header: input.trace_header,
        });
        let act = self.0.acts.lock().unwrap().pop_front().expect("a script for every call");
        match act {
            Act::Answer(payload) => Ok(InvokeResponse { payload: payload.into(), ..Default::default() }),
            Act::Respond(response) => Ok(response),
            Act::Hold => {
                self.0.release.notified().await;
                Ok(InvokeResponse { payload: "null".into(), ..Default::default() })
            }
            Act::Fault(code) => Err(Fault::raw(code, code, 500, "as told")),
        }
    }

    /// The script's answer in two pieces.
    async fn invoke_stream(
        &self,
        ctx: &CallContext,
        input: InvokeRequest,
    ) -> Result<BoxStream<Result<InvokeFrame, Fault>>, Fault> {
        let mut response = self.invoke(ctx, input).await?;
        let mut frames = Vec::new();
        if response.function_error.is_empty() {
            let mut payload = std::mem::take(&mut response.payload);
            let first = payload.split_to(payload.len() / 2);
            frames.push(Frame::Head(AnswerHead { content_type: "text/plain".into() }));
            frames.extend([Frame::Chunk(first), Frame::Chunk(payload)]);
        }
        frames.push(Frame::End(response));
        let frames = frames.into_iter().map(|frame| Ok(InvokeFrame { frame: Some(frame) }));
        Ok(Box::pin(tokio_stream::iter(frames.collect::<Vec<_>>())))
    }

    async fn prepare(&self, _: &CallContext, input: PrepareRequest) -> Result<PrepareResponse, Fault> {
        let failure = self.0.init_failure.lock().unwrap().clone();
        let name = input.function.as_ref().map(|it| it.function_name.clone()).unwrap_or_default();
        self.0.prepared.lock().unwrap().push(input);
        let hangs = self.0.hanging.lock().unwrap().contains(&name);
        if hangs {
            std::future::pending::<()>().await;
        }
        Ok(PrepareResponse { failure })
    }

    async fn retire(&self, _: &CallContext, input: RetireRequest) -> Result<RetireResponse, Fault> {
        self.0.retired.lock().unwrap().extend(input.environment_ids);
        Ok(RetireResponse {})
    }
}

#[async_trait::async_trait]
impl Control for ScriptedControl {
    async fn watch(
        &self,
        _: &CallContext,
        _: WatchRequest,
    ) -> Result<BoxStream<Result<WatchEvent, Fault>>, Fault> {
        if *self.0.control_away.lock().unwrap() {
            return Err(Fault::unavailable());
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.0.events.lock().unwrap() = Some(sender);
        let known = self.0.functions.iter().cloned().map(Event::Function);
        let known: Vec<_> = known
            .chain([Event::Synced(lambfold_api::control::Synced {})])
            .map(|event| Ok(WatchEvent { at: None, event: Some(event) }))
            .collect();
        Ok(Box::pin(futures_util::stream::iter(known).chain(UnboundedReceiverStream::new(receiver))))
    }

    async fn report_worker(
        &self,
        _: &CallContext,
        told: ReportWorkerRequest,
    ) -> Result<ReportWorkerResponse, Fault> {
        self.0.told.lock().unwrap().push(told);
        Ok(ReportWorkerResponse {})
    }

    async fn report_provisioned_concurrency(
        &self,
        _: &CallContext,
        told: ReportProvisionedConcurrencyRequest,
    ) -> Result<ReportProvisionedConcurrencyResponse, Fault> {
        *self.0.allocations.lock().unwrap() = told.allocations;
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

/// A dispatcher between the two.
pub(crate) struct Neighbours {
    pub(crate) dispatcher: DispatcherHandle,
    pub(crate) clock: ManualClock,
    scripted: Arc<Scripted>,
    _stop: DropGuard,
}

impl Neighbours {
    /// What control was told of workers.
    pub(crate) fn told(&self) -> Vec<ReportWorkerRequest> {
        self.scripted.told.lock().unwrap().clone()
    }

    pub(crate) async fn start(options: Options, environments: u32, functions: Vec<FunctionVersion>) -> Self {
        let clock = ManualClock::at(Timestamp::from_millis(1_767_323_045_678));
        let scripted = Arc::new(Scripted {
            incarnation: Mutex::new(Some("w1".into())),
            environments,
            functions,
            ..Scripted::default()
        });
        let parts = Parts {
            control: Arc::new(ScriptedControl(Arc::clone(&scripted))),
            workers: vec![Arc::new(ScriptedWorker(Arc::clone(&scripted)))],
            clock: Arc::new(clock.clone()),
            entropy: Arc::new(SystemEntropy),
            metrics: Metrics::default(),
        };
        let service = DispatcherService::build(options, parts);
        let dispatcher = service.handle();
        let stop = CancellationToken::new();
        tokio::spawn(service.run(stop.clone()));
        let here = Self { dispatcher, clock, scripted, _stop: stop.drop_guard() };
        here.settle().await;
        here
    }

    pub(crate) fn script(&self, acts: impl IntoIterator<Item = Act>) {
        self.scripted.acts.lock().unwrap().extend(acts);
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.scripted.calls.lock().unwrap().clone()
    }

    pub(crate) fn retired(&self) -> Vec<String> {
        self.scripted.retired.lock().unwrap().clone()
    }

    /// The environments that were prepared, in that order.
    pub(crate) fn prepared(&self) -> Vec<String> {
        let prepared = self.scripted.prepared.lock().unwrap();
        prepared.iter().map(|it| it.environment_id.clone()).collect()
    }

    pub(crate) fn fail_inits(&self, failure: &str) {
        failure.clone_into(&mut self.scripted.init_failure.lock().unwrap());
    }

    /// Inits of that function never end from now on.
    pub(crate) fn hang_inits(&self, function_name: &str) {
        self.scripted.hanging.lock().unwrap().push(function_name.to_owned());
    }

    /// What control was told of provisioned concurrency last: how many are allocated, and available; and what is wrong.
    pub(crate) fn allocations(&self) -> Vec<(String, u32, u32, String)> {
        let told = self.scripted.allocations.lock().unwrap();
        told.iter().map(|it| (it.qualifier.clone(), it.allocated, it.available, it.trouble.clone())).collect()
    }

    pub(crate) fn release(&self) {
        self.scripted.release.notify_waiters();
    }

    pub(crate) fn tell(&self, event: Event) {
        let events = self.scripted.events.lock().unwrap();
        events.as_ref().unwrap().send(Ok(WatchEvent { at: None, event: Some(event) })).unwrap();
    }

    pub(crate) fn report(&self, environment: &str, configuration: &str, state: EnvironmentState) {
        let report = Report::Environment(ExecutionEnvironment {
            environment_id: environment.into(),
            configuration_id: configuration.into(),
            state: state.into(),
            memory_size_mb: 128,
            provisioned: self.prepared().iter().any(|it| it == environment),
            ending: false,
        });
        let report = WorkerReport { incarnation: "w1".into(), report: Some(report) };
        self.scripted.reports.lock().unwrap().as_ref().unwrap().send(Ok(report)).unwrap();
    }

    pub(crate) async fn disconnect_worker(&self) {
        *self.scripted.incarnation.lock().unwrap() = None;
        *self.scripted.reports.lock().unwrap() = None;
        self.settle().await;
    }

    pub(crate) fn connect_worker(&self, incarnation: &str) {
        *self.scripted.incarnation.lock().unwrap() = Some(incarnation.into());
    }

    pub(crate) async fn disconnect_control(&self) {
        *self.scripted.control_away.lock().unwrap() = true;
        *self.scripted.events.lock().unwrap() = None;
        self.settle().await;
    }

    pub(crate) async fn invoke(&self, name: &str) -> Result<InvocationResponse, Fault> {
        let ctx = CallContext::internal(Scope::default(), uuid_v4(&SystemEntropy));
        let input = InvocationRequest { function_name: Some(name.into()), ..InvocationRequest::default() };
        self.dispatcher.invoke(&ctx, input).await
    }

    pub(crate) fn spawn(&self, name: &str) -> JoinHandle<Result<InvocationResponse, Fault>> {
        let (dispatcher, name) = (self.dispatcher.clone(), name.to_owned());
        let ctx = CallContext::internal(Scope::default(), uuid_v4(&SystemEntropy));
        tokio::spawn(async move {
            let input = InvocationRequest { function_name: Some(name), ..InvocationRequest::default() };
            dispatcher.invoke(&ctx, input).await
        })
    }

    /// Lets everything happen that needs no time. One thread runs all tasks, so enough turns do.
    pub(crate) async fn settle(&self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        for _ in 0..2000 {
            if holds(self) {
                return;
            }
            tokio::task::yield_now().await;
            self.clock.advance(Duration::from_micros(0));
        }
        panic!("it did not come to that");
    }
}

pub(crate) fn function(name: &str, configuration_id: &str) -> FunctionVersion {
    let scope = Scope::default();
    FunctionVersion {
        account: scope.account.to_string(),
        region: scope.region.to_string(),
        function_name: name.into(),
        version: "$LATEST".into(),
        incarnation: format!("{name}-1"),
        configuration_id: configuration_id.into(),
        state: "Active".into(),
        timeout_seconds: 3,
        memory_size_mb: 128,
        ..FunctionVersion::default()
    }
}
