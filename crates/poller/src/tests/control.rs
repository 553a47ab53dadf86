//! The control plane in memory: mappings, their watch, and what is reported of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::stream;
use lambfold_api::control::watch_event::Event;
use lambfold_api::control::{
    AcknowledgeMarkResponse, Control, EventSourceMapping, FunctionVersion, Mark,
    ReportEventSourceMappingRequest, ReportEventSourceMappingResponse, ReportProvisionedConcurrencyRequest,
    ReportProvisionedConcurrencyResponse, ReportWorkerRequest, ReportWorkerResponse, Reset, ScopeRevision,
    Synced, WatchEvent, WatchRequest,
};
use lambfold_api::{BoxStream, CallContext, Fault};
use tokio::sync::mpsc;

type Sender = mpsc::UnboundedSender<Result<WatchEvent, Fault>>;

#[derive(Default)]
pub(super) struct ControlPlane(Mutex<State>);

#[derive(Default)]
pub(super) struct State {
    mappings: BTreeMap<String, EventSourceMapping>,
    function: Option<FunctionVersion>,
    revision: u64,
    watchers: Vec<Sender>,
    /// Answers every call with `ServiceUnavailable`.
    pub(super) away: bool,
    /// (uuid, generation, state, result) of every report.
    pub(super) reports: Vec<(String, u64, String, String)>,
}

impl ControlPlane {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Creates or changes a mapping: raises its generation.
    pub(super) fn put(&self, mut mapping: EventSourceMapping) {
        let mut state = self.state();
        let before = state.mappings.get(&mapping.uuid).map_or(0, |it| it.generation);
        mapping.generation = before + 1;
        state.mappings.insert(mapping.uuid.clone(), mapping.clone());
        state.tell(Event::EventSourceMapping(mapping));
    }

    pub(super) fn change(&self, uuid: &str, change: impl FnOnce(&mut EventSourceMapping)) {
        let mut mapping = self.state().mappings[uuid].clone();
        change(&mut mapping);
        self.put(mapping);
    }

    pub(super) fn set_desired_state(&self, uuid: &str, desired_state: &str) {
        self.change(uuid, |it| it.desired_state = desired_state.to_owned());
    }

    pub(super) fn remove(&self, uuid: &str) {
        let mut state = self.state();
        state.mappings.remove(uuid);
        state.tell(Event::EventSourceMappingRemoved(uuid.to_owned()));
    }

    pub(super) fn put_function(&self, function: FunctionVersion) {
        let mut state = self.state();
        state.function = Some(function.clone());
        state.tell(Event::Function(function));
    }

    /// Goes away and cuts every watch off.
    pub(super) fn goes_away(&self) {
        let mut state = self.state();
        state.away = true;
        state.watchers.clear();
    }

    pub(super) fn comes_back(&self) {
        self.state().away = false;
    }

    pub(super) fn is_watched(&self) -> bool {
        self.state().watchers.iter().any(|it| !it.is_closed())
    }

    /// States reported of a mapping, with their generations.
    pub(super) fn reached(&self, uuid: &str) -> Vec<(u64, String)> {
        let state = self.state();
        let of = state.reports.iter().filter(|it| it.0 == uuid && !it.2.is_empty());
        of.map(|it| (it.1, it.2.clone())).collect()
    }

    /// Results reported of a mapping.
    pub(super) fn results(&self, uuid: &str) -> Vec<String> {
        let state = self.state();
        state.reports.iter().filter(|it| it.0 == uuid && !it.3.is_empty()).map(|it| it.3.clone()).collect()
    }
}

impl State {
    fn at(&self) -> ScopeRevision {
        ScopeRevision { account: "000000000000".into(), region: "us-east-1".into(), revision: self.revision }
    }

    fn tell(&mut self, event: Event) {
        self.revision += 1;
        let told = WatchEvent { at: Some(self.at()), event: Some(event) };
        self.watchers.retain(|watcher| watcher.send(Ok(told.clone())).is_ok());
    }
}

#[async_trait::async_trait]
impl Control for ControlPlane {
    async fn watch(
        &self,
        _: &CallContext,
        input: WatchRequest,
    ) -> Result<BoxStream<Result<WatchEvent, Fault>>, Fault> {
        assert!(input.event_source_mappings);
        let mut state = self.state();
        if state.away {
            return Err(Fault::unavailable());
        }
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let mut events = Vec::new();
        if !input.seen.is_empty() {
            // This log reaches back nowhere.
            events.push(WatchEvent { at: None, event: Some(Event::Reset(Reset {})) });
        }
        let all = state.mappings.values().cloned().map(Event::EventSourceMapping);
        let all = state.function.clone().map(Event::Function).into_iter().chain(all);
        events.extend(all.map(|event| WatchEvent { at: Some(state.at()), event: Some(event) }));
        events.push(WatchEvent { at: Some(state.at()), event: Some(Event::Synced(Synced {})) });
        for event in events {
            sender.send(Ok(event)).unwrap();
        }
        state.watchers.push(sender);
        Ok(Box::pin(stream::poll_fn(move |cx| receiver.poll_recv(cx))))
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
        input: ReportEventSourceMappingRequest,
    ) -> Result<ReportEventSourceMappingResponse, Fault> {
        let mut state = self.state();
        if state.away {
            return Err(Fault::unavailable());
        }
        state.reports.push((input.uuid, input.generation, input.reached_state, input.last_processing_result));
        Ok(ReportEventSourceMappingResponse {})
    }
}
