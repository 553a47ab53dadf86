//! The Runtime API, version 2018-06-01, of one execution environment (facts: execution environment §1).
//!
//! Connections come and go as clients like; the environment is known by its listener. What runtimes say becomes
//! [`ApiEvent`]s for the environment's own task.

mod connection;
pub(crate) mod http;
mod state;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lambfold_types::Clock;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use self::http::Connection;
use self::state::{Next, Phase, Refusal, RuntimeState};

/// What the answer to an invocation may hold: 6 MiB and a little, as AWS's manager allows.
pub(crate) const MAX_ANSWER_BYTES: usize = 6_291_556;
/// What a streamed answer may hold: 200 MiB (AWS: Lambda quotas).
pub(crate) const MAX_STREAMED_BYTES: usize = 200 << 20;
/// Connections of one environment at once; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 128;
/// After a failed accept: the process is out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// What the runtime did.
#[derive(Debug)]
pub(crate) enum ApiEvent {
    /// It asked for its first invocation.
    InitDone,
    /// It could not load the function.
    InitError(FunctionError),
    /// It answered the invocation.
    Answer(Answer),
    /// It asked for another one.
    InvocationDone,
}

/// An error in the words of the runtime.
#[derive(Clone, Debug)]
pub(crate) struct FunctionError {
    /// The body as it was posted.
    pub(crate) body: Bytes,
    /// `Category.Reason`, for REPORT and telemetry.
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
    _server: JoinSet<()>,
}

/// What the connections share.
struct Link {
    inner: Mutex<Inner>,
    /// Wakes the connections that wait in `next`.
    invoked: Notify,
    // Bounded by the state machine: it makes an event only on a transition, and most of those the platform starts.
    events: mpsc::UnboundedSender<ApiEvent>,
    /// Held while the body of an `init/error` is read. (Answers take turns by the state.)
    init_errors: tokio::sync::Mutex<()>,
}

struct Inner {
    state: RuntimeState,
    /// What no connection has taken yet.
    pending: Option<Delivery>,
    /// Of the invocation that is under way.
    stream: Option<AnswerStream>,
}

impl RuntimeApi {
    /// Serves on `listener`, which must be non-blocking.
    pub(crate) fn start(listener: std::net::TcpListener, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let listener = TcpListener::from_std(listener)?;
        let (sender, events) = mpsc::unbounded_channel();
        let inner = Inner { state: RuntimeState::new(), pending: None, stream: None };
        let link = Arc::new(Link {
            inner: Mutex::new(inner),
            invoked: Notify::new(),
            events: sender,
            init_errors: tokio::sync::Mutex::new(()),
        });
        let mut server = JoinSet::new();
        server.spawn(accept(listener, Arc::clone(&link), clock));
        Ok(Self { link, events, _server: server })
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

    /// Gives the runtime an invocation. False if it is not waiting for one.
    pub(crate) fn deliver(&self, delivery: Delivery) -> bool {
        let mut inner = self.link.inner();
        if !inner.state.invoke(&delivery.request_id) {
            return false;
        }
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
        let meaning = self.inner().state.next()?;
        match meaning {
            Next::InitDone => self.tell(ApiEvent::InitDone),
            Next::InvocationDone => self.tell(ApiEvent::InvocationDone),
            Next::Again | Next::Redeliver => {}
        }
        Ok(meaning)
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
        self.inner().state.begin_answer(request_id)
    }

    /// Where the answer that has begun may be streamed to; the way is given to one connection only.
    fn take_stream(&self) -> Option<AnswerStream> {
        self.inner().stream.take()
    }

    fn end_answer(&self, answer: Answer) {
        let mut inner = self.inner();
        inner.state.end_answer();
        inner.stream = None;
        drop(inner);
        self.tell(ApiEvent::Answer(answer));
    }

    fn init_error(&self, error: FunctionError) -> Result<(), Refusal> {
        self.inner().state.init_error()?;
        self.tell(ApiEvent::InitError(error));
        Ok(())
    }
}

async fn accept(listener: TcpListener, link: Arc<Link>, clock: Arc<dyn Clock>) {
    let mut connections = JoinSet::new();
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
        connections.spawn(connection::serve(Connection::new(stream), Arc::clone(&link)));
    }
}
