//! One execution environment: it is started for its first invocation or ahead of any, serves one after another, and ends when it
//! failed, was idle for too long, or is no longer wanted (facts: execution environment §5).

mod init;
mod invoke;
mod prepare;
mod shutdown;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lambfold_api::control::FunctionVersion;
use lambfold_api::worker::InvokeResponse;
use lambfold_api::{Fault, TraceContext};
use lambfold_types::{Timestamp, uuid_v4};
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::prepare::{NotPrepared, Preparation};
use self::shutdown::Reason;
use crate::error::{cut_off, environment_gone};
use crate::failure::Failure;
use crate::launch::Launcher;
use crate::log::FunctionLog;
use crate::metrics::Metrics;
use crate::platform_event::PlatformEvent;
use crate::platform_log::PlatformLog;
use crate::registry::Entry;
use crate::running::{Happening, Lost, Running};
use crate::runtime_api::{AnswerStream, ExtensionFailure};
use crate::variables::{log_group, log_stream};

/// How long an environment is not frozen because telemetry is being delivered to its extensions, and how often that is
/// looked at.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(1);
const DELIVERY_STEP: Duration = Duration::from_millis(10);

/// An invocation on its way to an environment.
pub(crate) struct Invocation {
    pub(crate) request_id: String,
    pub(crate) payload: Bytes,
    pub(crate) invoked_function_arn: String,
    pub(crate) client_context: String,
    pub(crate) trace_header: String,
    pub(crate) log_tail: bool,
    may_wait: bool,
    pub(crate) trace: Option<TraceContext>,
    /// Where the answer may go as it comes, if its invoker wants that.
    stream: Option<AnswerStream>,
    reply: oneshot::Sender<Result<InvokeResponse, Fault>>,
    /// Once set, nobody may run it again.
    started: Arc<AtomicBool>,
}

/// Where the answer to an [`Invocation`] arrives.
pub(crate) struct Pending {
    answer: oneshot::Receiver<Result<InvokeResponse, Fault>>,
    started: Arc<AtomicBool>,
}

impl Invocation {
    /// One of `request`, and where its answer will come.
    pub(crate) fn new(
        request: lambfold_api::worker::InvokeRequest,
        trace_header: String,
        trace: Option<TraceContext>,
        stream: Option<AnswerStream>,
    ) -> (Self, Pending) {
        let (reply, answer) = oneshot::channel();
        let started = Arc::new(AtomicBool::new(false));
        let invocation = Self {
            request_id: request.request_id,
            payload: request.payload,
            invoked_function_arn: request.invoked_function_arn,
            client_context: request.client_context,
            trace_header,
            log_tail: request.log_tail,
            may_wait: request.may_wait,
            trace,
            stream,
            reply,
            started: Arc::clone(&started),
        };
        (invocation, Pending { answer, started })
    }
}

impl Pending {
    /// Waits for the answer. An environment that goes away leaves one of two faults, by whether it had begun.
    pub(crate) async fn answer(self) -> Result<InvokeResponse, Fault> {
        match self.answer.await {
            Ok(answer) => answer,
            Err(_) if self.started.load(Ordering::Acquire) => Err(cut_off()),
            Err(_) => Err(environment_gone()),
        }
    }
}

/// An invocation that has begun.
struct Turn {
    invocation: Invocation,
    started: Timestamp,
    began: Instant,
    deadline: Timestamp,
    /// Zero for a warm one.
    init_us: u64,
}

/// The environment's own task.
pub(crate) struct Environment {
    launcher: Arc<Launcher>,
    metrics: Metrics,
    entry: Arc<Entry>,
    function: Arc<FunctionVersion>,
    invocations: mpsc::Receiver<Invocation>,
    /// One that came while what followed the last answer went on.
    early: Option<Invocation>,
    /// Whether it took long to be ready after the last answer; unknown before the first.
    lingered: Option<bool>,
    /// Who wants it ahead of any invocation.
    preparation: Option<Preparation>,
    log_stream: String,
    log: FunctionLog,
    platform: PlatformLog,
}

impl Environment {
    pub(crate) fn new(
        launcher: Arc<Launcher>,
        metrics: Metrics,
        entry: Arc<Entry>,
        function: FunctionVersion,
        invocations: mpsc::Receiver<Invocation>,
    ) -> Self {
        let function = Arc::new(function);
        // One for the life of the environment, whatever is started in it.
        let (log_stream, log) = new_log(&launcher, &function);
        let platform = PlatformLog::new(&function, launcher.runtime_version_arn(&function));
        Self {
            launcher,
            metrics,
            entry,
            log_stream,
            log,
            platform,
            function,
            invocations,
            early: None,
            lingered: None,
            preparation: None,
        }
    }

    /// It begins without an invocation.
    pub(crate) fn prepared_by(self, preparation: Preparation) -> Self {
        Self { preparation: Some(preparation), ..self }
    }

    /// Lives until there is a reason to end. The first invocation is in the channel already, unless it is prepared.
    pub(crate) async fn run(mut self) {
        let born = self.launcher.clock.now();
        let (mut running, mut served) = if let Some(preparation) = self.preparation.take() {
            let Some(running) = self.prepare(preparation).await else { return };
            (running, Ok(()))
        } else {
            let Some(first) = self.invocations.recv().await else { return };
            self.entry.busy();
            let Some((mut running, turn)) = self.start(first).await else { return };
            let served = self.serve(&mut running, turn).await;
            (running, served)
        };
        let reason = loop {
            if let Err(reason) = served {
                break reason;
            }
            let next = match self.wait(&mut running, born).await {
                Ok(next) => next,
                Err(reason) => break reason,
            };
            self.entry.busy();
            let outdated = match running.hot_code() {
                Some(code) => code.has_changed().await,
                None => false,
            };
            let turn = if outdated {
                let Some((other, turn)) = Box::pin(self.replace(running, next)).await else { return };
                running = other;
                turn
            } else {
                self.begin(next, 0)
            };
            served = self.serve(&mut running, turn).await;
        };
        tracing::debug!(
            environment = self.entry.id(),
            "function.name" = %self.function.function_name,
            "an execution environment ends"
        );
        let silent = FunctionLog::new(Arc::clone(&self.function), None);
        let log = std::mem::replace(&mut self.log, silent);
        self.shut_down(running, reason, log);
        // What is still in the channel has not started; its sender learns that from the channel's end.
    }

    /// Becomes a new environment under the old one's name, for code that has changed. `None` as for [`start`](Self::start).
    async fn replace(&mut self, old: Running, first: Invocation) -> Option<(Running, Turn)> {
        let (log_stream, log) = new_log(&self.launcher, &self.function);
        self.log_stream = log_stream;
        let log = std::mem::replace(&mut self.log, log);
        self.shut_down(old, Reason::Spindown, log);
        self.start(first).await
    }

    /// Waits for an invocation, or until it is time to end. What stood still meanwhile goes on before anything is delivered.
    async fn wait(&mut self, running: &mut Running, born: Timestamp) -> Result<Invocation, Reason> {
        if let Some(early) = self.early.take() {
            return Ok(early);
        }
        let next = self.idle(running, born).await;
        running.thaw();
        next
    }

    async fn idle(&mut self, running: &mut Running, born: Timestamp) -> Result<Invocation, Reason> {
        let Launcher { clock, options, .. } = &*self.launcher;
        let now = clock.now();
        let (mut announce, mut end) = if self.entry.provisioned {
            // Not all of them at once.
            let (announce, end) = self.launcher.provisioned_ages(self.entry.id());
            (Some(born + announce).filter(|_| !self.entry.is_ending()), born + end)
        } else {
            (None, (now + options.idle).min(born + options.max_age))
        };
        // One timer for all: an environment that is not idle for long never pays for being frozen.
        let mut freeze = options.freeze_after.map(|after| now + after).filter(|freeze| *freeze < end);
        if self.is_debugged() {
            // Who stands still answers no debugger.
            freeze = None;
        }
        let next = |freeze: Option<Timestamp>, announce: Option<Timestamp>, end: Timestamp| {
            clock.sleep_until([freeze, announce].into_iter().flatten().fold(end, Timestamp::min))
        };
        let mut idle = next(freeze, announce, end);
        let telemetry = Arc::clone(running.api.telemetry());
        let hot_code = running.hot_code().map(|code| (Arc::clone(code), Arc::clone(clock)));
        let changed = async move {
            match hot_code {
                Some((code, clock)) => code.changed(clock).await,
                None => std::future::pending().await,
            }
        };
        let mut changed = std::pin::pin!(changed);
        loop {
            tokio::select! {
                biased;
                invocation = self.invocations.recv() => return invocation.ok_or(Reason::Spindown),
                () = self.entry.retire.cancelled() => return Err(Reason::Spindown),
                () = &mut changed => return Err(Reason::Spindown),
                happening = running.happening(&mut self.log, &mut idle, &**clock) => match happening {
                    Happening::Exited(exit) => {
                        tracing::debug!(environment = self.entry.id(), ?exit, "an idle environment's process ended");
                        return Err(Reason::Failure);
                    }
                    Happening::ExtensionLost(lost) => {
                        let failure = self.extension_failure(running, lost).await;
                        tracing::debug!(environment = self.entry.id(), ?failure, "an idle environment's extension is lost");
                        return Err(Reason::Failure);
                    }
                    Happening::Deadline => {
                        let at = clock.now();
                        if announce.take_if(|announce| *announce <= at).is_some() {
                            self.entry.ends_soon();
                        } else if freeze.take_if(|freeze| *freeze <= at).is_some() {
                            // What is on its way to an extension gets a moment to arrive.
                            if telemetry.is_delivering() && at < now + DELIVERY_PATIENCE {
                                freeze = Some(at + DELIVERY_STEP);
                            } else if running.freeze() {
                                self.metrics.freezes.inc();
                            }
                        } else if running.is_debugged() {
                            // Somebody is looking at it.
                            end = at + options.idle;
                        } else {
                            return Err(Reason::Spindown);
                        }
                        idle = next(freeze, announce, end);
                    }
                    // Only answers and calls of `next` make events, and neither comes without an invocation.
                    Happening::Api(event) => tracing::debug!(?event, "an idle runtime spoke"),
                },
            }
        }
    }

    /// Begins an invocation in an environment that is ready.
    fn begin(&mut self, invocation: Invocation, init_us: u64) -> Turn {
        let turn = self.open(invocation, init_us);
        if self.log.wants_platform_lines() {
            self.tell(&start_of(&turn.invocation), turn.started);
        }
        turn
    }

    /// Opens an invocation's part of the log.
    fn open(&mut self, invocation: Invocation, init_us: u64) -> Turn {
        invocation.started.store(true, Ordering::Release);
        let now = self.launcher.clock.now();
        self.log.begin(&invocation.request_id, invocation.log_tail);
        let deadline = now + self.timeout();
        Turn { invocation, started: now, began: Instant::now(), deadline, init_us }
    }

    /// The loss of an extension in the platform's words, which the log gets, too.
    async fn extension_failure(&mut self, running: &mut Running, lost: Lost) -> Failure {
        let clock = Arc::clone(&self.launcher.clock);
        let (index, state, failure, shown_type) = match lost {
            Lost::Said(ExtensionFailure { index, fatal, error_type }) => {
                let failure = match running.end_of(index, &*clock).await {
                    Some(status) => Failure::extension_ended(fatal.error_type(), status),
                    None => Failure::extension_said(fatal.error_type(), &error_type),
                };
                (index, fatal.state(), failure, error_type)
            }
            Lost::Ended(index, status) => {
                let failure = Failure::extension_ended("Extension.Crash", status);
                (index, "ExitError", failure, "Extension.Crash".to_owned())
            }
        };
        running.drain(&mut self.log).await;
        if let Some(extension) = running.api.extensions().get(index) {
            let error_type = Some(shown_type.as_str());
            self.tell(&PlatformEvent::Extension { extension, state, error_type }, clock.now());
        }
        failure
    }

    /// In the log, and to who subscribes to telemetry.
    fn tell(&mut self, event: &PlatformEvent<'_>, now: Timestamp) {
        self.log.tell(&self.platform, event, now);
    }

    /// Whether the function asks for a debugger.
    fn is_debugged(&self) -> bool {
        self.function.debugger.is_some()
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.function.timeout_seconds.max(1).into())
    }
}

/// The log of a new environment, and the name of its stream.
fn new_log(launcher: &Launcher, function: &Arc<FunctionVersion>) -> (String, FunctionLog) {
    let today = launcher.clock.now().utc("%Y/%m/%d");
    let log_stream = log_stream(function, &today, &uuid_v4(&*launcher.entropy));
    let outbox = launcher.logs.as_ref();
    let stream = outbox.map(|outbox| outbox.stream(function, log_group(function), log_stream.clone()));
    (log_stream, FunctionLog::new(Arc::clone(function), stream))
}

fn start_of(invocation: &Invocation) -> PlatformEvent<'_> {
    PlatformEvent::Start { request_id: &invocation.request_id, trace_header: &invocation.trace_header }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
