//! One invocation in an initialised environment: event in, answer or failure out, and what comes after the answer.

use std::fmt::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lambfold_api::worker::InvokeResponse;
use lambfold_sandbox::Exit;
use lambfold_types::{SleepFuture, Timestamp};
use serde_json::json;

use super::shutdown::Reason;
use super::{Environment, Invocation, Turn, micros};
use crate::error::{cut_off, environment_busy};
use crate::failure::{self, Failure};
use crate::metrics::InvocationOutcome;
use crate::platform_event::{AnswerTimes, PlatformEvent, Report};
use crate::platform_log::iso;
use crate::running::{Happening, Running};
use crate::runtime_api::{Answer, AnswerTiming, ApiEvent, Delivery};

/// How long an invoker who wants the log waits for the runtime to come back, so that REPORT tells all.
const TAIL_PATIENCE: Duration = Duration::from_millis(100);

/// How long an invocation waits for an environment that is not through with its last one. Longer than a runtime takes to come
/// back, shorter than it takes to start another one for code that loads anything.
const BUSY_PATIENCE: Duration = Duration::from_millis(50);

/// What follows an answer for longer than that is told of with the next one.
const LINGERS: Duration = Duration::from_millis(10);

/// How the function's part ended.
enum Ending {
    Answered(Answer, AnswerTiming),
    Exited(Exit),
    /// An extension was lost.
    Lost(Failure),
    TimedOut,
}

/// What came after the answer.
enum Aftermath {
    /// The runtime is in `next` again, and so is every extension that was told of the invocation.
    Ready,
    Exited(Exit),
    Lost(Failure),
    TimedOut,
}

/// What there is to tell when the runtime is through with an invocation that it has answered.
struct Answered<'a> {
    request_id: &'a str,
    trace_header: &'a str,
    started: Timestamp,
    began: Instant,
    timing: AnswerTiming,
    error_type: Option<&'a str>,
    /// That has been done.
    told: bool,
}

/// The answer in the invoker's terms.
struct Outcome {
    payload: Bytes,
    /// Empty when the function succeeded.
    error_type: String,
    failed: bool,
}

impl Environment {
    /// Serves one invocation. An error if the environment can take no other one.
    pub(super) async fn serve(&mut self, running: &mut Running, turn: Turn) -> Result<(), Reason> {
        if !running.api.deliver(delivery(&turn), || event(&turn)) {
            // Only a ready environment is given invocations.
            tracing::error!(environment = self.entry.id(), "an environment that was ready is not");
            return Err(Reason::Failure);
        }
        match self.ending(running, turn.deadline).await {
            Ending::Answered(answer, timing) => self.answered(running, turn, answer, timing).await,
            Ending::Exited(_) if self.launcher.is_going_down() => {
                let _ = turn.invocation.reply.send(Err(cut_off()));
                Err(Reason::Failure)
            }
            Ending::Exited(exit) => {
                let failure = Failure::exited(exit.status, exit.oom);
                self.failed(running, turn, &failure, exit.memory_peak).await;
                Err(Reason::Failure)
            }
            Ending::Lost(failure) => {
                self.failed(running, turn, &failure, None).await;
                Err(Reason::Failure)
            }
            Ending::TimedOut => {
                let failure = Failure::timed_out(self.function.timeout_seconds);
                self.failed(running, turn, &failure, None).await;
                Err(Reason::Timeout)
            }
        }
    }

    async fn ending(&mut self, running: &mut Running, until: Timestamp) -> Ending {
        let clock = std::sync::Arc::clone(&self.launcher.clock);
        let mut deadline = clock.sleep_until(until);
        loop {
            match running.happening(&mut self.log, &mut deadline, &*clock).await {
                Happening::Api(ApiEvent::Answer(answer, timing)) => return Ending::Answered(answer, timing),
                Happening::Api(_) => {}
                Happening::Exited(exit) => return Ending::Exited(exit),
                Happening::ExtensionLost(lost) => {
                    return Ending::Lost(self.extension_failure(running, lost).await);
                }
                Happening::Deadline => return Ending::TimedOut,
            }
        }
    }

    async fn aftermath(
        &mut self,
        running: &mut Running,
        until: Timestamp,
        answered: &mut Answered<'_>,
    ) -> Aftermath {
        let clock = std::sync::Arc::clone(&self.launcher.clock);
        let mut deadline = clock.sleep_until(until);
        let refuse_at =
            |early: &Invocation| (!early.may_wait).then(|| clock.sleep_until(clock.now() + BUSY_PATIENCE));
        let mut patience: Option<SleepFuture> = self.early.as_ref().and_then(refuse_at);
        loop {
            let happening = tokio::select! {
                biased;
                happening = running.happening(&mut self.log, &mut deadline, &*clock) => happening,
                Some(early) = self.invocations.recv(), if self.early.is_none() => {
                    patience = refuse_at(&early);
                    self.early = Some(early);
                    continue;
                }
                () = over(&mut patience) => {
                    patience = None;
                    // Before the refusal: who hears that must not wait for news that has gone out already.
                    self.entry.tell_when_idle();
                    if let Some(early) = self.early.take() {
                        let _ = early.reply.send(Err(environment_busy()));
                    }
                    continue;
                }
            };
            match happening {
                Happening::Api(ApiEvent::RuntimeReturned) => {
                    running.drain(&mut self.log).await;
                    self.returned(answered, None);
                }
                Happening::Api(ApiEvent::InvocationDone) => {
                    running.drain(&mut self.log).await;
                    self.returned(answered, None);
                    return Aftermath::Ready;
                }
                Happening::Api(_) => {}
                Happening::Exited(exit) => return Aftermath::Exited(exit),
                Happening::ExtensionLost(lost) => {
                    return Aftermath::Lost(self.extension_failure(running, lost).await);
                }
                Happening::Deadline => return Aftermath::TimedOut,
            }
        }
    }

    /// Tells that the runtime is through, once. `status`: of a failure that kept it from being so.
    fn returned(&mut self, answered: &mut Answered<'_>, status: Option<&'static str>) {
        if std::mem::replace(&mut answered.told, true) || !self.log.wants_platform_lines() {
            return;
        }
        let Answered { started, began, timing: AnswerTiming { began: answer, ended, bytes }, .. } = *answered;
        let now = Instant::now();
        let part = |from: Instant, to: Instant| micros(to.saturating_duration_since(from));
        let times = AnswerTimes {
            started,
            parts_us: [part(began, answer), part(answer, ended), part(ended, now)],
            produced_bytes: bytes,
        };
        let report = Report {
            duration_us: if status == Some("timeout") { self.limit_us() } else { part(began, now) },
            status,
            error_type: answered.error_type,
            trace_header: answered.trace_header,
            ..Report::default()
        };
        self.tell_runtime_done_of(answered.request_id, &report, Some(times));
    }

    /// The caller has its answer at once, and the log with it if it wants that; the environment is free when the
    /// runtime has come back, and the extensions that were told of the invocation.
    async fn answered(
        &mut self,
        running: &mut Running,
        turn: Turn,
        answer: Answer,
        timing: AnswerTiming,
    ) -> Result<(), Reason> {
        running.drain(&mut self.log).await;
        let Turn { invocation, started, began, deadline, init_us } = turn;
        let outcome = outcome(answer, &invocation.request_id);
        let kind = if outcome.failed { InvocationOutcome::FunctionError } else { InvocationOutcome::Success };
        self.metrics.invocation(kind);
        let mut response = InvokeResponse {
            payload: outcome.payload,
            function_error: if outcome.failed { "Unhandled".to_owned() } else { String::new() },
            error_type: outcome.error_type.clone(),
            log_tail: Bytes::new(),
            environment_gone: false,
            init_duration_us: init_us,
            duration_us: micros(began.elapsed()),
            lingers: self.lingered.unwrap_or(running.api.has_extensions()),
        };
        let mut answered = Answered {
            request_id: &invocation.request_id,
            trace_header: &invocation.trace_header,
            started,
            began,
            timing,
            error_type: outcome.failed.then_some(outcome.error_type.as_str()),
            told: false,
        };
        let wants_tail = invocation.log_tail;
        let (mut aftermath, mut reply) = (None, Some(invocation.reply));
        if wants_tail {
            let patience = (self.launcher.clock.now() + TAIL_PATIENCE).min(deadline);
            let within = self.aftermath(running, patience, &mut answered).await;
            if matches!(within, Aftermath::TimedOut) && patience < deadline && running.api.has_extensions() {
                // REPORT tells the extensions' time, which may be long: the invoker goes without it.
                response.log_tail = self.log.take_tail().into();
            } else {
                aftermath = Some(within);
            }
        }
        if response.lingers {
            self.entry.tell_when_idle();
        }
        if aftermath.is_none()
            && let Some(reply) = reply.take()
        {
            // The caller may have gone; the function runs on all the same.
            let _ = reply.send(Ok(std::mem::take(&mut response)));
        }
        if aftermath.is_none() {
            let replied = Instant::now();
            aftermath = Some(self.aftermath(running, deadline, &mut answered).await);
            self.lingered = Some(replied.elapsed() > LINGERS);
        }
        let status = match &aftermath {
            Some(Aftermath::Exited(_) | Aftermath::Lost(_)) => Some("error"),
            // While somebody waits for the log it may be patience alone that is over.
            Some(Aftermath::TimedOut) if reply.is_none() || self.launcher.clock.now() >= deadline => {
                Some("timeout")
            }
            _ => None,
        };
        self.returned(&mut answered, status);
        if self.log.wants_platform_lines() {
            let memory_peak_bytes = match &aftermath {
                Some(Aftermath::Exited(exit)) => exit.memory_peak,
                _ => running.sandbox.memory_peak().await,
            };
            let report = Report {
                duration_us: if status == Some("timeout") {
                    self.limit_us()
                } else {
                    micros(began.elapsed())
                },
                init_us,
                memory_peak_bytes: self.memory_used(memory_peak_bytes),
                status,
                error_type: match &aftermath {
                    Some(Aftermath::Lost(failure)) => Some(failure.report_type),
                    _ => outcome.failed.then_some(outcome.error_type.as_str()),
                },
                trace_header: &invocation.trace_header,
            };
            self.log_report(&invocation.request_id, &report);
        }
        response.log_tail = self.log.end().into();
        response.environment_gone = status.is_some();
        response.lingers = !matches!(aftermath, Some(Aftermath::Ready));
        if matches!(aftermath, Some(Aftermath::Ready)) {
            self.entry.idle();
        }
        if let Some(reply) = reply.take() {
            if response.lingers {
                self.entry.tell_when_idle();
            }
            let _ = reply.send(Ok(response));
            if matches!(aftermath, Some(Aftermath::TimedOut)) && status.is_none() {
                // Patience for the log is over, the function's own time may not be.
                aftermath = Some(self.aftermath(running, deadline, &mut answered).await);
                if matches!(aftermath, Some(Aftermath::Ready)) {
                    self.entry.idle();
                }
            }
        }
        match aftermath {
            Some(Aftermath::Ready) => Ok(()),
            Some(Aftermath::TimedOut) | None => Err(Reason::Timeout),
            Some(Aftermath::Exited(_) | Aftermath::Lost(_)) => Err(Reason::Failure),
        }
    }

    /// The platform words the answer. It goes out first; the environment ends when its value is dropped.
    async fn failed(
        &mut self,
        running: &mut Running,
        turn: Turn,
        failure: &Failure,
        memory_peak: Option<u64>,
    ) {
        running.drain(&mut self.log).await;
        let Turn { invocation, began, init_us, .. } = turn;
        let request_id = &invocation.request_id;
        let timed_out = failure.error_type == "Sandbox.Timedout";
        self.metrics.invocation(if timed_out {
            InvocationOutcome::Timeout
        } else {
            InvocationOutcome::Crash
        });
        let duration_us = if timed_out { self.limit_us() } else { micros(began.elapsed()) };
        if self.log.wants_platform_lines() {
            let memory_peak = match memory_peak {
                None => running.sandbox.memory_peak().await,
                known => known,
            };
            if timed_out {
                self.log_timeout(request_id);
            } else {
                self.log_fault(request_id, failure);
            }
            let report = Report {
                duration_us,
                init_us,
                memory_peak_bytes: self.memory_used(memory_peak),
                status: Some(if timed_out { "timeout" } else { "error" }),
                error_type: (!timed_out).then_some(failure.report_type),
                trace_header: &invocation.trace_header,
            };
            self.tell_runtime_done_of(request_id, &report, None);
            self.log_report(request_id, &report);
        }
        let response = InvokeResponse {
            payload: failure.payload(request_id),
            function_error: "Unhandled".to_owned(),
            error_type: failure.report_type.to_owned(),
            log_tail: self.log.end().into(),
            environment_gone: true,
            init_duration_us: init_us,
            duration_us,
            lingers: false,
        };
        let _ = invocation.reply.send(Ok(response));
    }

    /// What an invocation lasts that its timeout ended.
    pub(super) fn limit_us(&self) -> u64 {
        micros(self.timeout())
    }

    /// What REPORT tells of that peak: the kernel's limit has room for `/tmp` above the function's memory, AWS has not.
    pub(super) fn memory_used(&self, peak: Option<u64>) -> u64 {
        peak.unwrap_or_default().min(u64::from(self.function.memory_size_mb) << 20)
    }

    /// Why the platform ended it. In JSON the report says it.
    pub(super) fn log_fault(&mut self, request_id: &str, failure: &Failure) {
        let text = format!("{}\n{}", failure.message(request_id), failure.error_type);
        self.tell(&PlatformEvent::Fault { text: &text }, self.launcher.clock.now());
    }

    /// The same of its time-out.
    pub(super) fn log_timeout(&mut self, request_id: &str) {
        let now = self.launcher.clock.now();
        let text = failure::timeout_text(self.function.timeout_seconds);
        let text = format!("{} {request_id} {text}\n", iso(now));
        self.tell(&PlatformEvent::Fault { text: &text }, now);
    }

    pub(super) fn tell_runtime_done_of(
        &mut self,
        request_id: &str,
        report: &Report<'_>,
        answer: Option<AnswerTimes>,
    ) {
        self.tell(&PlatformEvent::RuntimeDone { request_id, report, answer }, self.launcher.clock.now());
    }

    pub(super) fn log_report(&mut self, request_id: &str, report: &Report<'_>) {
        let now = self.launcher.clock.now();
        self.tell(&PlatformEvent::End { request_id }, now);
        self.tell(&PlatformEvent::Report { request_id, report }, now);
    }
}

/// Returns when that is over, if there is one.
async fn over(patience: &mut Option<SleepFuture>) {
    match patience {
        Some(patience) => patience.await,
        None => std::future::pending().await,
    }
}

/// The HTTP answer to `next` (facts: execution environment §1.1). What is empty is left out.
fn delivery(turn: &Turn) -> Delivery {
    let invocation = &turn.invocation;
    let mut head = String::with_capacity(512);
    head.push_str("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n");
    let deadline = turn.deadline.millis().to_string();
    let headers = [
        ("Lambda-Runtime-Aws-Request-Id", invocation.request_id.as_str()),
        ("Lambda-Runtime-Deadline-Ms", deadline.as_str()),
        ("Lambda-Runtime-Invoked-Function-Arn", invocation.invoked_function_arn.as_str()),
        ("Lambda-Runtime-Trace-Id", invocation.trace_header.as_str()),
        ("Lambda-Runtime-Client-Context", invocation.client_context.as_str()),
    ];
    for (name, value) in headers {
        // Control characters would end the header; the dispatcher lets none through.
        if !value.is_empty() && !value.bytes().any(|byte| byte.is_ascii_control()) {
            let _ = write!(head, "{name}: {value}\r\n");
        }
    }
    let _ = write!(head, "Content-Length: {}\r\n\r\n", invocation.payload.len());
    Delivery {
        request_id: invocation.request_id.clone(),
        head: head.into(),
        payload: invocation.payload.clone(),
        stream: invocation.stream.clone(),
    }
}

/// What an extension is told of it (facts: execution environment §2).
fn event(turn: &Turn) -> Bytes {
    let invocation = &turn.invocation;
    let mut event = json!({
        "eventType": "INVOKE",
        "deadlineMs": turn.deadline.millis(),
        "requestId": invocation.request_id,
        "invokedFunctionArn": invocation.invoked_function_arn,
    });
    if !invocation.trace_header.is_empty() {
        event["tracing"] = json!({ "type": "X-Amzn-Trace-Id", "value": invocation.trace_header });
    }
    event.to_string().into()
}

fn outcome(answer: Answer, request_id: &str) -> Outcome {
    let platform = |failure: Failure| Outcome {
        payload: failure.payload(request_id),
        error_type: failure.report_type.to_owned(),
        failed: true,
    };
    match answer {
        Answer::Response(payload) => Outcome { payload, error_type: String::new(), failed: false },
        Answer::Streamed(None) => Outcome { payload: Bytes::new(), error_type: String::new(), failed: false },
        Answer::Streamed(Some(error)) | Answer::Error(error) => {
            Outcome { payload: error.body, error_type: error.error_type, failed: true }
        }
        Answer::TooLarge(limit) => Outcome {
            payload: failure::response_too_large(limit),
            error_type: "Function.ResponseSizeTooLarge".to_owned(),
            failed: true,
        },
        Answer::Truncated => platform(Failure::truncated_response()),
        Answer::InvalidMode => platform(Failure::invalid_response_mode()),
    }
}
