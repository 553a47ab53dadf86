//! Connections of AWS clients: HTTP/1.1 with keep-alive and h2c, told apart by their first bytes, each watched so that
//! one that says nothing does not stay.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use lambfold_types::{Clock, Timestamp};
use tokio::net::TcpListener;
use tokio::select;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer_body::AnswerBody;
use crate::front::Front;
use crate::identity::Secure;
use crate::listener::{Connection, Listener};

/// How long a connection that is to end may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// The largest head of a request over HTTP/2; over HTTP/1.1 it is hyper's, 400 KiB.
const MOST_HEADER_BYTES: usize = 64 << 10;

/// Serves connections until `shutdown`; returns when the last has ended.
pub(crate) async fn serve(front: Arc<Front>, listener: TcpListener, shutdown: CancellationToken) {
    // After the first byte, `Activity` watches.
    let listener = Listener::new(listener, "http", 1, &front.options, &front.metrics, front.clock.clone());
    let mut builder = Builder::new(TokioExecutor::new());
    // The head's time is watched here, for both protocols, without a timer for each request.
    builder.http1().header_read_timeout(None);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .max_concurrent_streams(256)
        .max_header_list_size(u32::try_from(MOST_HEADER_BYTES).unwrap_or(u32::MAX))
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20);
    let builder = Arc::new(builder);
    let connections = TaskTracker::new();
    loop {
        let connection = select! {
            biased;
            () = shutdown.cancelled() => break,
            connection = listener.accept() => connection,
        };
        let (front, builder) = (front.clone(), builder.clone());
        connections.spawn(serve_one(front, builder, connection, connections.clone(), shutdown.clone()));
    }
    // Refuse at once what comes now, instead of letting it wait for a server that goes.
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn serve_one(
    front: Arc<Front>,
    builder: Arc<Builder<TokioExecutor>>,
    stream: Connection,
    tasks: TaskTracker,
    shutdown: CancellationToken,
) {
    let clock = front.clock.clone();
    let options = &front.options;
    let activity = Arc::new(Activity::new(clock.now()));
    let (secure, from) = (stream.secure(), stream.from());
    let service = service_fn(|mut request: Request<Incoming>| {
        if secure.load(Ordering::Acquire) {
            request.extensions_mut().insert(Secure);
        }
        let (front, activity, tasks) = (front.clone(), activity.clone(), tasks.clone());
        async move {
            let busy = Busy::new(activity, front.clock.clone());
            let answer = front.answer(request, from).await;
            // A connection that streams an answer is busy until that ends.
            let (patience, clock) = (front.options.body_timeout, front.clock.clone());
            Ok::<_, Infallible>(answer.map(|answer| AnswerBody::new(answer, busy, patience, clock, &tasks)))
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    loop {
        let quiet_until = activity.quiet_until(options.header_timeout, options.idle_timeout, clock.now());
        select! {
            biased;
            outcome = connection.as_mut() => {
                if let Err(error) = outcome {
                    tracing::debug!(%error, "a connection ended");
                }
                return;
            }
            () = shutdown.cancelled() => break,
            () = clock.sleep_until(quiet_until) => {
                if activity.quiet_until(options.header_timeout, options.idle_timeout, clock.now()) <= clock.now() {
                    connection.as_mut().graceful_shutdown();
                    // Whoever is silent, or halfway through a head, has no answer coming.
                    select! {
                        _ = connection.as_mut() => {}
                        () = clock.sleep_until(clock.now() + GOODBYE) => {}
                    }
                    return;
                }
            }
        }
    }
    connection.as_mut().graceful_shutdown();
    // Requests that are under way are answered; how long that may take is the stopper's to say.
    loop {
        select! {
            biased;
            _ = connection.as_mut() => return,
            () = clock.sleep_until(clock.now() + GOODBYE) => {
                if activity.is_idle() {
                    return;
                }
            }
        }
    }
}

/// When something last happened on a connection.
struct Activity {
    requests: AtomicUsize,
    in_flight: AtomicUsize,
    last_ms: AtomicI64,
}

impl Activity {
    fn new(now: Timestamp) -> Self {
        Self {
            requests: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            last_ms: AtomicI64::new(now.millis()),
        }
    }

    fn is_idle(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) == 0
    }

    /// Until when it may stay as it is.
    fn quiet_until(&self, header_timeout: Duration, idle_timeout: Duration, now: Timestamp) -> Timestamp {
        let last = Timestamp::from_millis(self.last_ms.load(Ordering::Acquire));
        if !self.is_idle() {
            // What is under way has a deadline of its own.
            return now + idle_timeout;
        }
        match self.requests.load(Ordering::Acquire) {
            0 => last + header_timeout,
            _ => last + idle_timeout,
        }
    }
}

/// A request on its way, until the value is dropped.
struct Busy {
    activity: Arc<Activity>,
    clock: Arc<dyn Clock>,
}

impl Busy {
    fn new(activity: Arc<Activity>, clock: Arc<dyn Clock>) -> Self {
        activity.requests.fetch_add(1, Ordering::AcqRel);
        activity.in_flight.fetch_add(1, Ordering::AcqRel);
        Self { activity, clock }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.activity.last_ms.store(self.clock.now().millis(), Ordering::Release);
        self.activity.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}
