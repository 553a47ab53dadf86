//! The Runtime API, version 2018-06-01, of one execution environment, and the Extensions API, version 2020-01-01, at the
//! same address (facts: execution environment §1 and §2).
//!
//! Connections come and go as clients like; the environment is known by its listener. What runtimes say becomes
//! [`ApiEvent`]s for the environment's own task.

mod connection;
mod extension_calls;
mod extensions;
pub(crate) mod http;
mod state;
mod telemetry_calls;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lambfold_api::control::FunctionVersion;
use lambfold_types::{Clock, Entropy, uuid_v4};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;

use self::extensions::Extensions;
pub(crate) use self::extensions::{Fatal, MAX_EXTENSIONS, Shown};
use self::http::Connection;
use self::state::{Next, Phase, Refusal, RuntimeState};
use crate::telemetry::{Api, Outcome, Refusal as SubscriptionRefusal, Room, Subscription, Telemetry};

/// What the answer to an invocation may hold: 6 MiB and a little, as AWS's manager allows.
pub(crate) const MAX_ANSWER_BYTES: usize = 6_291_556;
/// What a streamed answer may hold: 200 MiB (AWS: Lambda quotas).
pub(crate) const MAX_STREAMED_BYTES: usize = 200 << 20;
/// Connections of one environment at once; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 128;
/// After a failed accept: the process is out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// What the runtime or an extension did.
#[derive(Debug)]
pub(crate) enum ApiEvent {
    /// All external extensions have registered: the runtime may start.
    ExtensionsRegistered,
    /// The runtime asked for its first invocation, and every extension for its first event.
    InitDone,
    /// An extension subscribed to telemetry or logs.
    Subscribed { name: String, subscription: Subscription },
    /// Where there are extensions: the runtime has asked for an invocation, which ends its part of init or of the last one.
    RuntimeReturned,
    /// It could not load the function.
    InitError(FunctionError),
    /// It answered the invocation.
    Answer(Answer, AnswerTiming),
    /// It asked for another one, and so did every extension that was told of this one.
    InvocationDone,
    /// An extension said that it cannot go on.
    ExtensionFailed(ExtensionFailure),
}

/// When an answer came, and how much of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerTiming {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) bytes: usize,
}

/// An error in the words of the runtime.
#[derive(Clone, Debug)]
pub(crate) struct FunctionError {
    /// The body as it was posted.
    pub(crate) body: Bytes,
    /// `Category.Reason`, for REPORT and telemetry.
    pub(crate) error_type: String,
}

/// An extension's own word of its failure.
#[derive(Clone, Debug)]
pub(crate) struct ExtensionFailure {
    /// Its place among the extensions: the external ones come first, in the order in which they were expected.
    pub(crate) index: usize,
    pub(crate) fatal: Fatal,
    /// As it named it.
    pub(crate) error_type: String,
}

/// The answer to an invocation.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The handler's result.
    Response(Bytes),
    /// All of it has been streamed to the invoker, up to the error that it ended in, if it did.
    Streamed(Option<FunctionError>),
    /// The handler failed.
    Error(FunctionError),
    /// The result is over the limit, in bytes.
    TooLarge(usize),
    /// The connection broke within the answer.
    Truncated,
    /// It named a response mode that there is not.
    InvalidMode,
}

/// An invocation as it goes to the runtime.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) request_id: String,
    /// The HTTP answer to `next` up to the body.
    pub(crate) head: Bytes,
    pub(crate) payload: Bytes,
    /// Where an answer goes that comes in a stream; without it, such an answer is collected.
    pub(crate) stream: Option<AnswerStream>,
}

/// The way of a streamed answer to its invoker. Holds few pieces: the function waits for who reads.
pub(crate) type AnswerStream = mpsc::Sender<Piece>;

/// Part of a streamed answer.
#[derive(Debug)]
pub(crate) enum Piece {
    /// It begins; the content type that the runtime named, or nothing.
    Head(String),
    /// Bytes of it.
    Bytes(Bytes),
}

/// Serves one environment; stops, and closes every connection, when dropped.
pub(crate) struct RuntimeApi {
    link: Arc<Link>,
    events: mpsc::UnboundedReceiver<ApiEvent>,
    telemetry: Arc<Telemetry>,
    _server: JoinSet<()>,
}

/// What the connections share.
struct Link {
    inner: Mutex<Inner>,
    /// Wakes the connections that wait in `next`.
    invoked: Notify,
    entropy: Arc<dyn Entropy>,
    telemetry: Arc<Telemetry>,
    // Bounded by the state machine: it makes an event only on a transition, and most of those the platform starts.
    events: mpsc::UnboundedSender<ApiEvent>,
    /// Held while the body of an `init/error` is read. (Answers take turns by the state.)
    init_errors: tokio::sync::Mutex<()>,
}

struct Inner {
    state: RuntimeState,
    extensions: Extensions,
    /// What is over when runtime and extensions are all in `next`.
    under_way: Option<UnderWay>,
    /// Whom extensions may register for. Without it there is no Extensions API.
    function: Option<Arc<FunctionVersion>>,
    /// SnapStart is on.
    restores: bool,
    /// What no connection has taken yet.
    pending: Option<Delivery>,
    /// Of the invocation that is under way.
    stream: Option<AnswerStream>,
    /// When the answer that is being read began.
    answer_began: Instant,
}

#[derive(Clone, Copy)]
enum UnderWay {
    Init,
    Invocation,
}

impl RuntimeApi {
    /// Serves on `listener`, which must be non-blocking.
    pub(crate) fn start(
        listener: std::net::TcpListener,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        room: Room,
    ) -> io::Result<Self> {
        let listener = TcpListener::from_std(listener)?;
        let (sender, events) = mpsc::unbounded_channel();
        let inner = Inner {
            state: RuntimeState::new(),
            extensions: Extensions::new(),
            under_way: Some(UnderWay::Init),
            function: None,
            restores: false,
            pending: None,
            stream: None,
            answer_began: Instant::now(),
        };
        let telemetry = Arc::new(Telemetry::new(Arc::clone(&clock), room));
        let link = Arc::new(Link {
            inner: Mutex::new(inner),
            invoked: Notify::new(),
            entropy,
            telemetry: Arc::clone(&telemetry),
            events: sender,
            init_errors: tokio::sync::Mutex::new(()),
        });
        let mut server = JoinSet::new();
        server.spawn(accept(listener, Arc::clone(&link), clock));
        Ok(Self { link, events, telemetry, _server: server })
    }

    /// The next thing that happens. Cancel-safe.
    pub(crate) async fn event(&mut self) -> ApiEvent {
        match self.events.recv().await {
            Some(event) => event,
            // `self.link` holds a sender, so the channel cannot end.
            None => std::future::pending().await,
        }
    }

    /// What has happened already.
    pub(crate) fn try_event(&mut self) -> Option<ApiEvent> {
        self.events.try_recv().ok()
    }

    /// Opens the Extensions API for a function whose layers bring these external extensions.
    pub(crate) fn serve_extensions(&self, function: Arc<FunctionVersion>, external: &[String]) {
        self.telemetry.open(function.log_format == "JSON");
        let mut inner = self.link.inner();
        inner.function = Some(function);
        inner.extensions.expect(external);
    }

    /// What extensions subscribe to.
    pub(crate) fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// Opens the calls of SnapStart.
    pub(crate) fn serve_restore(&self) {
        self.link.inner().restores = true;
    }

    /// Those who are there, the external ones first.
    pub(crate) fn extensions(&self) -> Vec<Shown> {
        self.link.inner().extensions.shown()
    }

    /// Whether there are any.
    pub(crate) fn has_extensions(&self) -> bool {
        !self.link.inner().extensions.is_empty()
    }

    /// Gives SHUTDOWN subscribers that event. Says of each external extension whether it will be told.
    pub(crate) fn shut_down(&self, event: &Bytes) -> Vec<bool> {
        let told = self.link.inner().extensions.shut_down(event);
        self.link.invoked.notify_waiters();
        told
    }

    /// Gives the runtime an invocation, and extensions that want one the event of it. False if they are not waiting.
    pub(crate) fn deliver(&self, delivery: Delivery, event: impl FnOnce() -> Bytes) -> bool {
        let mut inner = self.link.inner();
        if !inner.state.invoke(&delivery.request_id) {
            return false;
        }
        inner.under_way = Some(UnderWay::Invocation);
        inner.extensions.invoke(event);
        inner.stream.clone_from(&delivery.stream);
        inner.pending = Some(delivery);
        drop(inner);
        self.link.invoked.notify_waiters();
        true
    }

    /// Whether an answer is being read.
    pub(crate) fn is_answering(&self) -> bool {
        self.link.inner().state.phase() == Phase::Answering
    }
}

impl Link {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds the lock can panic half way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: ApiEvent) {
        // Nobody listens any more: the environment is being torn down.
        let _ = self.events.send(event);
    }

    /// A call of `next`: if it is allowed, [`take`](Self::take) has or will have what it waits for.
    fn next(&self) -> Result<Next, Refusal> {
        let mut inner = self.inner();
        let meaning = inner.state.next()?;
        inner.extensions.close();
        let returned =
            matches!(meaning, Next::InitDone | Next::InvocationDone) && !inner.extensions.is_empty();
        let event = self.settle(&mut inner);
        drop(inner);
        if returned {
            self.tell(ApiEvent::RuntimeReturned);
        }
        if let Some(event) = event {
            self.tell(event);
        }
        Ok(meaning)
    }

    fn settle(&self, inner: &mut Inner) -> Option<ApiEvent> {
        let event = inner.settle();
        if let Some(ApiEvent::InitDone) = event {
            self.telemetry.close();
        }
        event
    }

    /// Whether there is an Extensions API.
    fn serves_extensions(&self) -> bool {
        self.inner().function.is_some()
    }

    fn unique(&self) -> String {
        uuid_v4(&*self.entropy).to_string()
    }

    /// The identifier of the one that has registered, and the function that it has registered for.
    fn register(
        &self,
        name: &str,
        events: &[String],
    ) -> Result<(String, Arc<FunctionVersion>), extensions::Refusal> {
        let identifier = self.unique();
        let mut inner = self.inner();
        let Some(function) = inner.function.clone() else {
            let text = "Extension registration closed already";
            return Err(extensions::Refusal::new("Extension.RegistrationClosed", text));
        };
        let before = inner.extensions.all_registered();
        inner.extensions.register(name, events, &identifier)?;
        let complete = !before && inner.extensions.all_registered();
        drop(inner);
        if complete {
            self.tell(ApiEvent::ExtensionsRegistered);
        }
        Ok((identifier, function))
    }

    /// An extension's call of `next`: if it is allowed, [`take_event`](Self::take_event) has or will have its event.
    fn extension_next(&self, identifier: &str) -> Result<(), extensions::Refusal> {
        let mut inner = self.inner();
        inner.extensions.next(identifier)?;
        let event = self.settle(&mut inner);
        drop(inner);
        if let Some(event) = event {
            self.tell(event);
        }
        Ok(())
    }

    fn take_event(&self, identifier: &str) -> Option<Bytes> {
        self.inner().extensions.take(identifier)
    }

    fn give_back_event(&self, identifier: &str, event: Bytes) {
        self.inner().extensions.give_back(identifier, event);
        self.invoked.notify_waiters();
    }

    fn knows_extension(&self, identifier: &str) -> Result<(), extensions::Refusal> {
        self.inner().extensions.knows(identifier)
    }

    /// Subscribes an extension that is known.
    fn subscribe(&self, identifier: &str, api: Api, body: &[u8]) -> Result<(), SubscriptionRefusal> {
        if let (Outcome::Subscribed, subscription) = self.telemetry.subscribe(identifier, api, body)? {
            let name = self.inner().extensions.name(identifier).unwrap_or_default();
            self.tell(ApiEvent::Subscribed { name, subscription });
        }
        Ok(())
    }

    fn extension_failed(
        &self,
        identifier: &str,
        fatal: Fatal,
        error_type: String,
    ) -> Result<(), extensions::Refusal> {
        if let Some(index) = self.inner().extensions.fail(identifier, fatal)? {
            self.tell(ApiEvent::ExtensionFailed(ExtensionFailure { index, fatal, error_type }));
        }
        Ok(())
    }

    /// The invocation, for the connection that asks first.
    fn take(&self) -> Option<Delivery> {
        self.inner().pending.take()
    }

    /// The connection that took it could not write it; another one may.
    fn give_back(&self, delivery: Delivery) {
        self.inner().pending = Some(delivery);
        self.invoked.notify_waiters();
    }

    fn delivered(&self, delivery: &Delivery) {
        self.inner().state.delivered(&delivery.request_id);
        // Who asked again before this was noted is to be refused.
        self.invoked.notify_waiters();
    }

    fn begin_answer(&self, request_id: &str) -> Result<(), Refusal> {
        let mut inner = self.inner();
        inner.state.begin_answer(request_id)?;
        inner.answer_began = Instant::now();
        Ok(())
    }

    /// Where the answer that has begun may be streamed to; the way is given to one connection only.
    fn take_stream(&self) -> Option<AnswerStream> {
        self.inner().stream.take()
    }

    /// `streamed`: so many bytes have been passed on already.
    fn end_answer(&self, answer: Answer, streamed: usize) {
        let bytes = match &answer {
            Answer::Response(body) | Answer::Error(FunctionError { body, .. }) => body.len(),
            _ => streamed,
        };
        let mut inner = self.inner();
        inner.state.end_answer();
        inner.stream = None;
        let timing = AnswerTiming { began: inner.answer_began, ended: Instant::now(), bytes };
        drop(inner);
        self.tell(ApiEvent::Answer(answer, timing));
    }

    fn init_error(&self, error: FunctionError) -> Result<(), Refusal> {
        self.inner().state.init_error()?;
        self.tell(ApiEvent::InitError(error));
        Ok(())
    }

    fn restore_error(&self, error: FunctionError) -> Result<(), Refusal> {
        self.inner().state.restore_error()?;
        self.tell(ApiEvent::InitError(error));
        Ok(())
    }

    /// The runtime wants to be restored from a snapshot.
    fn restore(&self) -> Result<(), Refusal> {
        let mut inner = self.inner();
        inner.state.restore()?;
        inner.extensions.close();
        Ok(())
    }

    /// Whether there are the calls of SnapStart.
    fn restores(&self) -> bool {
        self.inner().restores
    }
}

impl Inner {
    /// What is over now that runtime and extensions have nothing to do, if that is so.
    fn settle(&mut self) -> Option<ApiEvent> {
        if self.state.phase() != Phase::Ready || !self.extensions.settled() {
            return None;
        }
        Some(match self.under_way.take()? {
            UnderWay::Init => ApiEvent::InitDone,
            UnderWay::Invocation => ApiEvent::InvocationDone,
        })
    }
}

async fn accept(listener: TcpListener, link: Arc<Link>, clock: Arc<dyn Clock>) {
    let mut connections = JoinSet::new();
    let large_heads = Arc::new(Semaphore::new(1));
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        let Ok((stream, _)) = listener.accept().await else {
            clock.sleep_until(clock.now() + ACCEPT_PAUSE).await;
            continue;
        };
        // Without it small answers would wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        connections
            .spawn(connection::serve(Connection::new(stream, Arc::clone(&large_heads)), Arc::clone(&link)));
    }
}
