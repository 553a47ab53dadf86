//! The end of an environment with extensions (AWS: execution environment lifecycle, "Shutdown phase"): the runtime is
//! told to end and then made to; extensions hear of it and get a moment to finish. Nobody waits for it: it has a task
//! of its own. Without extensions everything is killed at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lambfold_sandbox::{ProgramSignal, SandboxProgram};
use lambfold_types::{Clock, Timestamp};
use serde_json::json;

use super::Environment;
use crate::log::FunctionLog;
use crate::running::{Happening, Running};

/// For runtime and external extensions together.
const WITH_EXTERNAL: Duration = Duration::from_secs(2);
/// Where all extensions live in the runtime's process.
const INTERNAL_ONLY: Duration = Duration::from_millis(500);

/// Why an environment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// It is no longer wanted.
    Spindown,
    /// The function used up its time.
    Timeout,
    /// A process ended, or said that it cannot go on.
    Failure,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Spindown => "spindown",
            Self::Timeout => "timeout",
            Self::Failure => "failure",
        }
    }
}

/// How long what is known so far may take to reach extensions that subscribed to it, before they are told to end.
const FLUSH: Duration = Duration::from_millis(500);

/// One end on its way.
struct Shutdown {
    running: Running,
    log: FunctionLog,
    clock: Arc<dyn Clock>,
    reason: Reason,
}

impl Environment {
    /// Ends what runs. Returns at once.
    pub(super) fn shut_down(&self, mut running: Running, reason: Reason, log: FunctionLog) {
        // Whatever comes after it needs the port.
        running.debugger = None;
        if !running.api.has_extensions() || self.launcher.is_going_down() {
            // Killed as it is dropped here.
            return;
        }
        let clock = Arc::clone(&self.launcher.clock);
        self.launcher.tasks.spawn(Shutdown { running, log, clock, reason }.run());
    }
}

impl Shutdown {
    async fn run(mut self) {
        let now = self.clock.now();
        let external = self.running.has_external();
        let budget = if external { WITH_EXTERNAL } else { INTERNAL_ONLY };
        let end = now + budget;
        self.running.sandbox.signal(SandboxProgram::Command, ProgramSignal::Terminate);
        self.until(now + budget * 3 / 10, |running| !running.command_runs()).await;
        if external {
            self.running.sandbox.signal(SandboxProgram::Command, ProgramSignal::Kill);
            self.flush((self.clock.now() + FLUSH).min(end)).await;
            let told = self.running.api.shut_down(&event(self.reason, end));
            for (index, _) in told.iter().enumerate().filter(|(_, told)| !**told) {
                self.running.sandbox.signal(SandboxProgram::Companion(index), ProgramSignal::Kill);
            }
            self.until(end, |running| !running.any_runs()).await;
        }
        self.running.drain(&mut self.log).await;
        self.log.end();
        // What is left is killed as it is dropped.
    }

    /// Lets extensions have what they subscribed to, while what they print themselves is read.
    async fn flush(&mut self, time: Timestamp) {
        self.running.drain(&mut self.log).await;
        let telemetry = Arc::clone(self.running.api.telemetry());
        tokio::select! {
            () = telemetry.flush(time) => {}
            () = self.until(time, |running| !running.any_runs()) => {}
        }
    }

    /// Passes on what is printed until `done`, or that time.
    async fn until(&mut self, time: Timestamp, done: impl Fn(&Running) -> bool) {
        let mut deadline = self.clock.sleep_until(time);
        while !done(&self.running) {
            let happening = self.running.happening(&mut self.log, &mut deadline, &*self.clock).await;
            if let Happening::Deadline = happening {
                return;
            }
        }
    }
}

fn event(reason: Reason, deadline: Timestamp) -> Bytes {
    let deadline = deadline.millis();
    json!({ "eventType": "SHUTDOWN", "shutdownReason": reason.as_str(), "deadlineMs": deadline })
        .to_string()
        .into()
}
