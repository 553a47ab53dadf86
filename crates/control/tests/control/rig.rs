//! A control plane beside a real SQS, in time that is wound by hand, which can be stopped and built anew.

use std::io::{Cursor, Write};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use lambfold_api::authorize::AllowAll;
use lambfold_api::control::watch_event::Event;
use lambfold_api::control::{
    Control, ReportEventSourceMappingRequest, ScopeRevision, WatchEvent, WatchRequest,
};
use lambfold_api::interceptor::PublicEdge;
use lambfold_api::lambda::{Lambda, LambdaVia};
use lambfold_api::sqs::{CreateQueueRequest, Sqs};
use lambfold_api::{BoxStream, CallContext, Fault};
use lambfold_clock::{ManualClock, SeededEntropy};
use lambfold_control::{ControlHandle, ControlService, ControlStore, MemoryControlStore, Options};
use lambfold_queue::store::MemoryStore;
use lambfold_queue::{QueueService, SqsService};
use lambfold_store_sqlite::SqliteControlStore;
use lambfold_types::{PlainSealer, Scope, Timestamp};
use object_store::memory::InMemory;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What stands before the names of functions in the caller's account and region.
pub(crate) const FUNCTION: &str = "arn:aws:lambda:us-east-1:000000000000:function:";

/// What stands before the names of queues there.
pub(crate) const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:";

/// Which store to run over.
#[derive(Clone, Copy)]
pub(crate) enum Store {
    Memory,
    Sqlite,
}

pub(crate) struct Rig {
    /// The caller of account 000000000000 in us-east-1.
    pub(crate) here: Caller,
    pub(crate) control: ControlHandle,
    pub(crate) objects: Arc<InMemory>,
    pub(crate) clock: ManualClock,
    store: Arc<dyn ControlStore>,
    directory: Option<TempDir>,
    sqs: SqsService,
    entropy: Arc<SeededEntropy>,
    running: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Rig {
    pub(crate) fn start(store: Store) -> Self {
        let clock = ManualClock::at(Timestamp::from_millis(1_700_000_000_000));
        let queues = QueueService::build(
            lambfold_queue::Options::default(),
            Arc::new(MemoryStore::new()),
            Arc::new(clock.clone()),
            Arc::new(SeededEntropy::new(7)),
            Arc::new(PlainSealer),
        );
        let queues = queues.unwrap();
        let sqs = SqsService::new(queues.handle());
        // Runs for as long as the test does.
        tokio::spawn(queues.run(CancellationToken::new()));
        let directory = matches!(store, Store::Sqlite).then(|| tempfile::tempdir().unwrap());
        let store = open(directory.as_ref()).unwrap_or_else(|| Arc::new(MemoryControlStore::default()));
        let objects = Arc::new(InMemory::new());
        let entropy = Arc::new(SeededEntropy::new(11));
        let service = build(&store, &objects, &sqs, &clock, &entropy);
        let (here, control) = (caller(&service, &sqs, Scope::default()), service.handle());
        let mut rig = Self { here, control, objects, clock, store, directory, sqs, entropy, running: None };
        rig.run(service);
        rig
    }

    /// Stops the service and builds it anew over what is stored, with nothing running in its background.
    pub(crate) async fn restart_idle(&mut self) -> ControlService {
        if let Some((stop, running)) = self.running.take() {
            stop.cancel();
            running.await.unwrap();
        }
        if let Some(directory) = &self.directory {
            // A database file is opened once at a time: let go of it, then open what is on the disk.
            self.store = Arc::new(MemoryControlStore::default());
            let placeholder = build(&self.store, &self.objects, &self.sqs, &self.clock, &self.entropy);
            (self.here, self.control) = (self.caller_of(&placeholder), placeholder.handle());
            self.store = reopen(directory).await;
        }
        let service = build(&self.store, &self.objects, &self.sqs, &self.clock, &self.entropy);
        (self.here, self.control) = (self.caller_of(&service), service.handle());
        service
    }

    fn caller_of(&self, service: &ControlService) -> Caller {
        caller(service, &self.sqs, self.here.ctx.scope.clone())
    }

    /// Lets a service that was idle so far do its background work.
    pub(crate) fn run(&mut self, service: ControlService) {
        let stop = CancellationToken::new();
        self.running = Some((stop.clone(), tokio::spawn(service.run(stop))));
    }

    /// Ends the background work, for good.
    pub(crate) async fn stop(&mut self) {
        let (stop, running) = self.running.take().unwrap();
        stop.cancel();
        running.await.unwrap();
    }

    /// A caller of another account or region.
    pub(crate) fn caller(&self, account: &str, region: &str) -> Caller {
        let scope = Scope { account: account.parse().unwrap(), region: region.parse().unwrap() };
        Caller { ctx: CallContext::internal(scope, Uuid::nil()), ..self.here.clone() }
    }

    /// Watches functions and mappings from these revisions of the default scope on; from the start if there is none.
    pub(crate) async fn watch(&self, seen: Option<u64>) -> Watch {
        let seen = seen.map(|revision| ScopeRevision {
            account: "000000000000".into(),
            region: "us-east-1".into(),
            revision,
        });
        let request = WatchRequest {
            seen: seen.into_iter().collect(),
            functions: true,
            event_source_mappings: true,
            ..WatchRequest::default()
        };
        Watch(self.control.watch(&self.here.ctx, request).await.unwrap())
    }

    /// Tells, as the poller does, that a mapping has reached a state.
    pub(crate) async fn reached(&self, uuid: &str, generation: u64, state: &str) {
        self.report(uuid, generation, state, "").await;
    }

    pub(crate) async fn report(&self, uuid: &str, generation: u64, state: &str, result: &str) {
        let report = ReportEventSourceMappingRequest {
            account: "000000000000".into(),
            region: "us-east-1".into(),
            uuid: uuid.into(),
            generation,
            reached_state: state.into(),
            last_processing_result: result.into(),
        };
        self.control.report_event_source_mapping(&self.here.ctx, report).await.unwrap();
    }
}

fn build(
    store: &Arc<dyn ControlStore>,
    objects: &Arc<InMemory>,
    sqs: &SqsService,
    clock: &ManualClock,
    entropy: &Arc<SeededEntropy>,
) -> ControlService {
    ControlService::build(
        Options { architecture: "x86_64", ..Options::default() },
        store.clone(),
        objects.clone(),
        Arc::new(sqs.clone()),
        Arc::new(clock.clone()),
        entropy.clone(),
        Arc::new(PlainSealer),
    )
}

fn open(directory: Option<&TempDir>) -> Option<Arc<dyn ControlStore>> {
    let path = directory?.path().join("control.sqlite");
    Some(Arc::new(SqliteControlStore::open(&path).unwrap()))
}

/// Opens a database as soon as the last part of the service before has let go of it.
async fn reopen(directory: &TempDir) -> Arc<dyn ControlStore> {
    let path = directory.path().join("control.sqlite");
    for _ in 0..10_000 {
        if let Ok(store) = SqliteControlStore::open(&path) {
            return Arc::new(store);
        }
        tokio::task::yield_now().await;
    }
    panic!("something holds the database");
}

fn caller(service: &ControlService, sqs: &SqsService, scope: Scope) -> Caller {
    let edge = LambdaVia::new(Arc::new(service.handle()), PublicEdge::new(Arc::new(AllowAll)));
    Caller {
        lambda: Arc::new(edge),
        sqs: Arc::new(sqs.clone()),
        ctx: CallContext::internal(scope, Uuid::nil()),
    }
}

/// Somebody who calls the Lambda API at the public edge.
#[derive(Clone)]
pub(crate) struct Caller {
    lambda: Arc<dyn Lambda>,
    sqs: Arc<dyn Sqs>,
    pub(crate) ctx: CallContext,
}

/// An answer as JSON; or the code, status and message of a refusal.
pub(crate) type Answer = Result<Value, (String, u16, String)>;

macro_rules! operations {
    ($($operation:ident)+) => {
        impl Caller {
            $(pub(crate) async fn $operation(&self, input: Value) -> Answer {
                let input = serde_json::from_value(input).unwrap();
                answer(self.lambda.$operation(&self.ctx, input).await)
            })+
        }
    };
}

operations! {
    create_function get_function get_function_configuration list_functions update_function_code
    update_function_configuration delete_function create_event_source_mapping get_event_source_mapping
    list_event_source_mappings update_event_source_mapping delete_event_source_mapping list_tags tag_resource
    untag_resource publish_layer_version get_layer_version get_layer_version_by_arn list_layers list_layer_versions
    delete_layer_version add_layer_version_permission get_layer_version_policy remove_layer_version_permission
    publish_version create_alias delete_alias put_function_concurrency delete_function_concurrency
    put_provisioned_concurrency_config list_provisioned_concurrency_configs
}

impl Caller {
    /// Creates a function, with these settings beside what it takes.
    pub(crate) async fn create(&self, name: &str, settings: Value) -> Answer {
        self.create_function(function(name, settings)).await
    }

    /// Creates a function and waits until it is active.
    pub(crate) async fn active(&self, name: &str, settings: Value) -> Value {
        self.create(name, settings).await.unwrap();
        self.settled(name).await
    }

    /// Waits until neither a creation nor an update is on its way; the configuration then.
    pub(crate) async fn settled(&self, name: &str) -> Value {
        for _ in 0..20_000 {
            let found = self.get_function_configuration(json!({"FunctionName": name})).await.unwrap();
            if found["State"] != "Pending" && found["LastUpdateStatus"] != "InProgress" {
                return found;
            }
            tokio::task::yield_now().await;
        }
        panic!("{name} never came to rest");
    }

    /// Creates a queue; its ARN.
    pub(crate) async fn queue(&self, name: &str) -> String {
        let input = CreateQueueRequest { queue_name: Some(name.into()), ..CreateQueueRequest::default() };
        self.sqs.create_queue(&self.ctx, input).await.unwrap();
        lambfold_types::Arn::queue(&self.ctx.scope, name).to_string()
    }

    /// Creates a mapping; its UUID.
    pub(crate) async fn map(&self, queue: &str, function: &str) -> String {
        let input = json!({"EventSourceArn": queue, "FunctionName": function});
        text(&self.create_event_source_mapping(input).await.unwrap()["UUID"])
    }

    /// `State` of a mapping.
    pub(crate) async fn state(&self, uuid: &str) -> String {
        text(&self.get_event_source_mapping(json!({"UUID": uuid})).await.unwrap()["State"])
    }
}

pub(crate) fn answer<T: serde::Serialize>(outcome: Result<T, Fault>) -> Answer {
    match outcome {
        Ok(output) => Ok(serde_json::to_value(output).unwrap()),
        Err(fault) => Err((fault.code().to_owned(), fault.http_status(), fault.message().to_owned())),
    }
}

/// The request that creates a function.
pub(crate) fn function(name: &str, settings: Value) -> Value {
    let request = json!({
        "FunctionName": name,
        "Runtime": "python3.12",
        "Role": "arn:aws:iam::000000000000:role/r",
        "Handler": "index.handler",
        "Code": {"ZipFile": STANDARD.encode(zip("1"))},
    });
    with(request, settings)
}

/// `request` with other members; those that are null are absent.
pub(crate) fn with(mut request: Value, settings: Value) -> Value {
    let members = request.as_object_mut().unwrap();
    let Value::Object(settings) = settings else { panic!("{settings} is no object") };
    members.extend(settings);
    members.retain(|_, value| !value.is_null());
    request
}

/// A package with one file.
pub(crate) fn zip(source: &str) -> Vec<u8> {
    zip_of(&[("index.py", source.as_bytes())])
}

/// A package of these files.
pub(crate) fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, data) in files {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(data).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// `InvalidParameterValueException`
pub(crate) fn invalid(message: impl Into<String>) -> Answer {
    Err(("InvalidParameterValueException".into(), 400, message.into()))
}

/// A constraint of the service model that does not hold.
pub(crate) fn violation(message: &str) -> Answer {
    let message = format!("1 validation error detected: {message}");
    Err(("ValidationException".into(), 400, message))
}

pub(crate) fn not_found(message: impl Into<String>) -> Answer {
    Err(("ResourceNotFoundException".into(), 404, message.into()))
}

pub(crate) fn conflict(message: impl Into<String>) -> Answer {
    Err(("ResourceConflictException".into(), 409, message.into()))
}

/// What Lambfold says of a setting that it does not act on.
pub(crate) fn not_yet(what: &str) -> Answer {
    invalid(format!("Lambfold does not support {what} yet; see docs/gaps.md."))
}

/// A watch of control.
pub(crate) struct Watch(pub(crate) BoxStream<Result<WatchEvent, Fault>>);

impl Watch {
    /// The next event; `None` when the watch has ended.
    pub(crate) async fn next(&mut self) -> Option<WatchEvent> {
        let next = tokio::time::timeout(Duration::from_secs(20), self.0.next()).await;
        next.expect("an event in good time").transpose().unwrap()
    }

    /// The next events in short, up to the first of the kind that is named.
    pub(crate) async fn until(&mut self, last: &str) -> Vec<String> {
        let mut seen = Vec::new();
        while seen.last().is_none_or(|event| event != last) {
            seen.push(shown(&self.next().await.unwrap()));
        }
        seen
    }
}

/// An event in short: its revision, where it has one, and what it tells.
pub(crate) fn shown(event: &WatchEvent) -> String {
    let at = event.at.as_ref().map(|at| format!("{} ", at.revision)).unwrap_or_default();
    let what = match event.event.as_ref().unwrap() {
        Event::Function(told) if told.version != "$LATEST" => {
            format!("{}:{} {}", told.function_name, told.version, told.state)
        }
        Event::Function(told) => format!("{} {}", told.function_name, told.state),
        Event::FunctionRemoved(_) => "function removed".to_owned(),
        Event::EventSourceMapping(told) => format!("mapping {} {}", told.generation, told.desired_state),
        Event::EventSourceMappingRemoved(_) => "mapping removed".to_owned(),
        Event::Synced(_) => "synced".to_owned(),
        Event::FunctionUrls(told) => format!("{} has {} URLs", told.function_name, told.urls.len()),
        Event::Reset(_) => "reset".to_owned(),
        Event::Mark(mark) => format!("mark {}", mark.changes),
    };
    at + &what
}
