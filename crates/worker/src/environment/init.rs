//! Init: up to 10 seconds before the first invocation; if it fails, once more inside that invocation and on its time
//! ("suppressed init"), whose failure then is the answer.

use std::time::{Duration, Instant};

use lambfold_api::TraceContext;
use lambfold_api::worker::InvokeResponse;
use lambfold_sandbox::Exit;
use lambfold_telemetry::span;
use lambfold_types::Timestamp;
use tracing::Instrument;

use super::shutdown::Reason;
use super::{Environment, Invocation, Turn, micros, start_of};
use crate::error::LaunchError;
use crate::failure::{Failure, Preface};
use crate::launch::{Contents, Launcher};
use crate::log::{FunctionLog, Source};
use crate::metrics::InvocationOutcome;
use crate::platform_event::{PlatformEvent, Report};
use crate::running::{Happening, Running};
use crate::runtime_api::{ApiEvent, FunctionError, Shown};
use crate::telemetry::Event;

/// One try to get an environment ready.
struct Attempt {
    phase: &'static str,
    began: Instant,
    until: Timestamp,
    /// What extensions that start with it are told first.
    before: Vec<Event>,
}

/// How init failed.
pub(super) enum InitFailure {
    /// By the platform's judgement.
    Platform(Failure),
    /// By the runtime's own words.
    Reported(FunctionError),
    /// Its time was over.
    TimedOut,
}

/// An init that failed.
pub(super) struct FailedInit {
    pub(super) failure: InitFailure,
    /// The most memory that it used, where anything was started.
    memory_peak: Option<u64>,
}

impl InitFailure {
    fn status(&self) -> &'static str {
        if matches!(self, Self::TimedOut) { "timeout" } else { "error" }
    }

    pub(super) fn error_type(&self) -> Option<&str> {
        match self {
            Self::Platform(failure) => Some(failure.report_type),
            Self::Reported(error) => Some(&error.error_type),
            Self::TimedOut => None,
        }
    }
}

impl Environment {
    /// Starts the function for its first invocation. `None` if that has been answered with the failure to do so.
    pub(super) async fn start(&mut self, first: Invocation) -> Option<(Running, Turn)> {
        // Who is being debugged has the same time for all of it.
        let limit = if self.is_debugged() { self.timeout() } else { self.launcher.options.init_limit };
        let until = self.is_debugged().then(|| self.launcher.clock.now() + limit);
        let within =
            |turn: Turn| Turn { deadline: until.map_or(turn.deadline, |it| it.min(turn.deadline)), ..turn };
        let outcome = self.init_before_all(limit, first.trace).await;
        match outcome {
            Ok(Ok((running, took))) => {
                let turn = self.begin(first, micros(took));
                Some((running, within(turn)))
            }
            Ok(Err(_)) => {
                self.metrics.init_failures.inc();
                let contents = self.launcher.contents(&self.function).await;
                let turn = self.begin_again(first);
                self.start_again(within(turn), contents).await
            }
            Err(error) => {
                self.cannot_launch(first, &error);
                None
            }
        }
    }

    /// Init before any invocation, and how long it took. The limit is for init alone, as on AWS, where the code is there
    /// before the phase begins: an image may take longer to fetch and unpack than its init may.
    pub(super) async fn init_before_all(
        &mut self,
        limit: Duration,
        trace: Option<TraceContext>,
    ) -> Result<Result<(Running, Duration), FailedInit>, LaunchError> {
        let asked = Instant::now();
        let contents = self.launcher.contents(&self.function).await;
        let (account, function) = (&self.function.account, &self.function.function_name);
        let _turn = self.launcher.start_gate.enter(account, function, &self.launcher.clock).await;
        let began = Instant::now();
        let span = span!(
            trace, "worker.init",
            "faas.name" = %self.function.function_name,
            "faas.version" = %self.function.version,
            "faas.coldstart" = true,
        );
        let now = self.launcher.clock.now();
        let environment_id = self.entry.id().to_owned();
        let event = PlatformEvent::InitStart { environment_id: &environment_id, phase: "init" };
        self.tell(&event, now);
        let before = vec![self.platform.event(&event, now)];
        let attempt = Attempt { phase: "init", began, until: now + limit, before };
        let outcome = self.init(attempt, contents).instrument(span).await?;
        Ok(outcome.map(|running| {
            self.metrics.init_seconds.observe(asked.elapsed().as_secs_f64());
            (running, began.elapsed())
        }))
    }

    fn begin_again(&mut self, first: Invocation) -> Turn {
        // Those who listened are being shut down.
        self.log.publish_to_nobody();
        self.open(first, 0)
    }

    /// The suppressed init. START comes after it, as on AWS, also where it fails.
    async fn start_again(
        &mut self,
        turn: Turn,
        contents: Result<Contents, LaunchError>,
    ) -> Option<(Running, Turn)> {
        let environment_id = self.entry.id().to_owned();
        let event = PlatformEvent::InitStart { environment_id: &environment_id, phase: "invoke" };
        // Extensions are new, too, and have not heard of the invocation.
        let events = [start_of(&turn.invocation), event];
        let before = events.iter().map(|event| self.platform.event(event, turn.started)).collect();
        let attempt = Attempt { phase: "invoke", began: turn.began, until: turn.deadline, before };
        let outcome = self.init(attempt, contents).await;
        // Extensions have heard of it before.
        self.log.tell_in_log(&self.platform, &start_of(&turn.invocation), self.launcher.clock.now());
        let FailedInit { failure, memory_peak } = match outcome {
            Ok(Ok(running)) => return Some((running, turn)),
            Ok(Err(failed)) => failed,
            Err(error) => {
                self.cannot_launch(turn.invocation, &error);
                return None;
            }
        };
        let request_id = turn.invocation.request_id.clone();
        let (payload, error_type, outcome) = match failure {
            InitFailure::Reported(error) => (error.body, error.error_type, InvocationOutcome::InitError),
            InitFailure::Platform(failure) => {
                self.log_fault(&request_id, &failure);
                (failure.payload(&request_id), failure.report_type.to_owned(), InvocationOutcome::InitError)
            }
            InitFailure::TimedOut => {
                let failure = Failure::timed_out(self.function.timeout_seconds);
                self.log_timeout(&request_id);
                (failure.payload(&request_id), failure.report_type.to_owned(), InvocationOutcome::Timeout)
            }
        };
        self.metrics.invocation(outcome);
        let timed_out = outcome == InvocationOutcome::Timeout;
        let duration_us = if timed_out { self.limit_us() } else { micros(turn.began.elapsed()) };
        let report = Report {
            duration_us,
            init_us: 0,
            memory_peak_bytes: self.memory_used(memory_peak),
            status: Some(if timed_out { "timeout" } else { "error" }),
            error_type: (!timed_out).then_some(&error_type),
            trace_header: &turn.invocation.trace_header,
        };
        self.tell_runtime_done_of(&request_id, &report, None);
        self.log_report(&request_id, &report);
        let log_tail = self.log.end().into();
        let response = InvokeResponse {
            lingers: false,
            payload,
            function_error: "Unhandled".to_owned(),
            error_type,
            log_tail,
            environment_gone: true,
            init_duration_us: 0,
            duration_us,
        };
        // The caller may have gone.
        let _ = turn.invocation.reply.send(Ok(response));
        None
    }

    /// One attempt: from what was fetched, or could not be, to the runtime's first `next`.
    async fn init(
        &mut self,
        attempt: Attempt,
        contents: Result<Contents, LaunchError>,
    ) -> Result<Result<Running, FailedInit>, LaunchError> {
        let launcher = std::sync::Arc::clone(&self.launcher);
        let _starting = launcher.pools.starting();
        let mut running = match self.launch(&launcher, contents).await {
            Ok(running) => running,
            Err(LaunchError::Function(failure)) => {
                self.tell_preface(&failure);
                let failure = InitFailure::Platform(failure);
                self.tell_failure(&attempt, &failure);
                return Ok(Err(FailedInit { failure, memory_peak: None }));
            }
            Err(error) => return Err(error),
        };
        let telemetry = std::sync::Arc::clone(running.api.telemetry());
        for event in &attempt.before {
            telemetry.publish(event.clone());
        }
        self.log.publish_to(telemetry, std::sync::Arc::clone(&launcher.clock));
        let mut deadline = launcher.clock.sleep_until(attempt.until);
        let mut returned = false;
        let mut memory_peak = None;
        let failure = loop {
            match running.happening(&mut self.log, &mut deadline, &*launcher.clock).await {
                Happening::Api(ApiEvent::Subscribed { name, subscription }) => {
                    let (api, types) = (subscription.api, subscription.types.as_slice());
                    self.tell(&PlatformEvent::Subscription { api, name: &name, types }, launcher.clock.now());
                }
                Happening::Api(ApiEvent::RuntimeReturned) => {
                    returned = true;
                    running.drain(&mut self.log).await;
                    self.tell_runtime_done(&attempt, "success", None);
                }
                Happening::Api(ApiEvent::InitDone) => {
                    self.limit_cpu(&running).await;
                    running.drain(&mut self.log).await;
                    if !returned {
                        self.tell_runtime_done(&attempt, "success", None);
                    }
                    for extension in &running.api.extensions() {
                        let (state, error_type) = ("Ready", None);
                        let event = PlatformEvent::Extension { extension, state, error_type };
                        self.tell(&event, launcher.clock.now());
                    }
                    self.tell_report(&attempt, "success", None);
                    return Ok(Ok(running));
                }
                Happening::Api(ApiEvent::ExtensionsRegistered) => {
                    match launcher.start_command(&mut running, &self.function).await {
                        Ok(()) => {}
                        Err(LaunchError::Function(failure)) => {
                            self.tell_preface(&failure);
                            break InitFailure::Platform(failure);
                        }
                        Err(error) => return Err(error),
                    }
                }
                Happening::Api(ApiEvent::InitError(error)) => break InitFailure::Reported(error),
                Happening::ExtensionLost(lost) => {
                    break InitFailure::Platform(self.extension_failure(&mut running, lost).await);
                }
                Happening::Api(_) => {}
                Happening::Exited(Exit { status, oom, memory_peak: most }) => {
                    memory_peak = most;
                    break InitFailure::Platform(Failure::exited(status, oom));
                }
                Happening::Deadline => break InitFailure::TimedOut,
            }
        };
        running.drain(&mut self.log).await;
        self.log.processes_ended();
        if memory_peak.is_none() && self.log.wants_platform_lines() {
            memory_peak = running.sandbox.memory_peak().await;
        }
        if !returned {
            self.tell_runtime_done(&attempt, failure.status(), failure.error_type());
        }
        self.tell_report(&attempt, failure.status(), failure.error_type());
        let reason = if matches!(failure, InitFailure::TimedOut) { Reason::Timeout } else { Reason::Failure };
        // The environment's own log goes on with the next attempt: what is printed until the end is for the server's only,
        // and for extensions that listen.
        let mut log = FunctionLog::new(std::sync::Arc::clone(&self.function), None);
        log.publish_to(
            std::sync::Arc::clone(running.api.telemetry()),
            std::sync::Arc::clone(&launcher.clock),
        );
        self.shut_down(running, reason, log);
        Ok(Err(FailedInit { failure, memory_peak }))
    }

    /// Starts what is to be initialised, with a way in for a debugger if the function asks for that.
    async fn launch(
        &self,
        launcher: &Launcher,
        contents: Result<Contents, LaunchError>,
    ) -> Result<Running, LaunchError> {
        let contents = contents?;
        let port = launcher.debug_ports.take(&self.function, &self.entry.retire).await;
        let port = port.map_err(LaunchError::Function)?;
        let mut running = launcher.launch(&self.function, &self.log_stream, contents).await?;
        if let Some(port) = port {
            running.let_in(port);
        }
        Ok(running)
    }

    fn tell_preface(&mut self, failure: &Failure) {
        match &failure.preface {
            Some(Preface::Printed(text)) => self.log.output(Source::Function, text.as_bytes()),
            Some(Preface::NotLaunched(name, error_type)) => {
                let extension = &Shown { name: name.clone(), events: Vec::new() };
                let (state, error_type) = ("LaunchError", Some(*error_type));
                self.tell(
                    &PlatformEvent::Extension { extension, state, error_type },
                    self.launcher.clock.now(),
                );
            }
            None => {}
        }
    }

    fn tell_failure(&mut self, attempt: &Attempt, failure: &InitFailure) {
        self.tell_runtime_done(attempt, failure.status(), failure.error_type());
        self.tell_report(attempt, failure.status(), failure.error_type());
    }

    fn tell_runtime_done(&mut self, attempt: &Attempt, status: &'static str, error_type: Option<&str>) {
        let event = PlatformEvent::InitRuntimeDone { phase: attempt.phase, status, error_type };
        self.tell(&event, self.launcher.clock.now());
    }

    fn tell_report(&mut self, attempt: &Attempt, status: &'static str, error_type: Option<&str>) {
        let init_us = micros(attempt.began.elapsed());
        let event = PlatformEvent::InitReport { init_us, phase: attempt.phase, status, error_type };
        self.tell(&event, self.launcher.clock.now());
    }

    /// After init the function gets the CPU share of its memory, if that is wanted: 1769 MB is one CPU.
    async fn limit_cpu(&self, running: &Running) {
        if !self.launcher.options.limit_cpu {
            return;
        }
        let millis = (u64::from(self.function.memory_size_mb) * 1000).div_ceil(1769);
        let millis = Some(u32::try_from(millis).unwrap_or(u32::MAX));
        if let Err(error) = running.sandbox.set_cpu_millis(millis).await {
            tracing::warn!(%error, environment = self.entry.id(), "cannot limit the CPU share");
        }
    }

    /// Not the function's doing: a fault, logged here.
    fn cannot_launch(&mut self, invocation: Invocation, error: &LaunchError) {
        self.metrics.launch_failures.inc();
        let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::error!(
            %error,
            source,
            "request.id" = %invocation.request_id,
            "function.name" = %self.function.function_name,
            "cannot start an execution environment"
        );
        let _ = invocation.reply.send(Err(error.fault()));
    }
}
