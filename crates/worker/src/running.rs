//! A started sandbox with all that belongs to it: its Runtime API, its output, its way to Lambfold.

use lambfold_network::Network;
use lambfold_sandbox::{Exit, ExitStatus, ProgramEnd, RunningSandbox, SandboxError, SandboxProgram};
use lambfold_types::{Clock, SleepFuture};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::task::yield_now;

use crate::debugger::DebugPort;
use crate::hot_reload::HotCode;
use crate::log::{FunctionLog, Source};
use crate::packages::Package;
use crate::relay::Relay;
use crate::runtime_api::{ApiEvent, ExtensionFailure, RuntimeApi};

/// What is read from the pipe before others get their turn: in the worst case every byte of it is a line.
const CHUNK_BYTES: usize = 4 << 10;
/// What is drained at the end: no pipe holds more.
const MOST_DRAINED: usize = 1 << 20;
/// How long an answer may still come in after its sender has gone.
const LAST_WORDS: Duration = Duration::from_millis(50);
/// How long an extension may take to end after it has said that it cannot go on: how it ends words the failure.
const LAST_STEPS: Duration = Duration::from_millis(500);

/// What happened in an environment.
#[derive(Debug)]
pub(crate) enum Happening {
    /// The runtime said something.
    Api(ApiEvent),
    /// The runtime's process has ended.
    Exited(Exit),
    /// An extension is lost.
    ExtensionLost(Lost),
    /// The time that was given is over.
    Deadline,
}

/// How an extension was lost.
#[derive(Debug)]
pub(crate) enum Lost {
    /// It said so.
    Said(ExtensionFailure),
    /// The process of the external one of that index has ended.
    Ended(usize, ExitStatus),
}

/// A sandbox at work. Ends with all its processes and connections when dropped.
pub(crate) struct Running {
    pub(crate) sandbox: Box<dyn RunningSandbox>,
    pub(crate) api: RuntimeApi,
    output: Option<pipe::Receiver>,
    /// Of the external extensions.
    extensions_output: Option<pipe::Receiver>,
    /// Where there are external extensions.
    ends: Option<mpsc::UnboundedReceiver<ProgramEnd>>,
    command_runs: bool,
    /// The runtime's, not told yet, where the sandbox lives on.
    exit: Option<Exit>,
    /// Whether all processes stand still.
    frozen: bool,
    /// Which of the external extensions run.
    external: Vec<bool>,
    /// A developer's way in, where the function is debugged.
    pub(crate) debugger: Option<DebugPort>,
    /// The ways out. Held, not used.
    _ways: (Option<Relay>, Option<Network>),
    /// Code and layers, held.
    packages: (Package, Option<Package>),
}

impl Running {
    /// What has been started: the runtime, or these `external` extensions, for which it waits.
    pub(crate) fn new(
        mut sandbox: Box<dyn RunningSandbox>,
        api: RuntimeApi,
        external: &[String],
        ways: (Option<Relay>, Option<Network>),
        packages: (Package, Option<Package>),
    ) -> Self {
        let alone = external.is_empty();
        api.telemetry().connect_by(sandbox.network());
        Self {
            output: sandbox.take_output(),
            extensions_output: sandbox.take_companions_output(),
            ends: if alone { None } else { sandbox.take_ends() },
            sandbox,
            api,
            command_runs: alone,
            exit: None,
            frozen: false,
            external: vec![true; external.len()],
            debugger: None,
            _ways: ways,
            packages,
        }
    }

    /// Starts the runtime that waits for the extensions.
    pub(crate) async fn start_command(&mut self) -> Result<(), SandboxError> {
        self.sandbox.start_command().await?;
        self.command_runs = true;
        Ok(())
    }

    /// Has all processes stand still until [`thaw`](Self::thaw). False if the system refuses.
    pub(crate) fn freeze(&mut self) -> bool {
        self.frozen = true;
        self.api.telemetry().set_frozen(true);
        let frozen = self.sandbox.freeze();
        if let Err(error) = &frozen {
            tracing::debug!(%error, sandbox = self.sandbox.id(), "cannot freeze");
        }
        frozen.is_ok()
    }

    /// Lets processes go on that stand still.
    pub(crate) fn thaw(&mut self) {
        if !std::mem::take(&mut self.frozen) {
            return;
        }
        if let Err(error) = self.sandbox.thaw() {
            // It has ended; or else the invocation's timeout ends it.
            tracing::warn!(%error, sandbox = self.sandbox.id(), "cannot thaw");
        }
        self.api.telemetry().set_frozen(false);
    }

    /// The code, where it may change under it.
    pub(crate) fn hot_code(&self) -> Option<&Arc<HotCode>> {
        self.packages.0.hot_code()
    }

    /// Lets a debugger in, at a port of this machine.
    pub(crate) fn let_in(&mut self, port: DebugPort) {
        self.debugger = Some(port.open(self.sandbox.network()));
    }

    /// Whether a debugger is attached.
    pub(crate) fn is_debugged(&self) -> bool {
        self.debugger.as_ref().is_some_and(DebugPort::is_attached)
    }

    pub(crate) fn has_external(&self) -> bool {
        !self.external.is_empty()
    }

    /// Whether the runtime's process is there.
    pub(crate) fn command_runs(&self) -> bool {
        self.command_runs
    }

    /// Whether that, or an external extension's, is there.
    pub(crate) fn any_runs(&self) -> bool {
        self.command_runs || self.external.contains(&true)
    }

    /// How an external extension ended that said it would, if it did so at once.
    pub(crate) async fn end_of(&mut self, index: usize, clock: &dyn Clock) -> Option<ExitStatus> {
        if index >= self.external.len() {
            return None;
        }
        let mut patience = clock.sleep_until(clock.now() + LAST_STEPS);
        loop {
            let end = tokio::select! {
                end = next_end(&mut self.ends) => end,
                () = &mut patience => return None,
            };
            self.note(&end);
            if end.program == SandboxProgram::Companion(index) {
                return Some(end.exit.status);
            }
        }
    }

    fn note(&mut self, end: &ProgramEnd) {
        match end.program {
            SandboxProgram::Command => self.command_runs = false,
            SandboxProgram::Companion(index) => {
                if let Some(runs) = self.external.get_mut(index) {
                    *runs = false;
                }
            }
        }
    }

    fn note_the_end_of_all(&mut self) {
        self.command_runs = false;
        self.external.fill(false);
    }

    /// Waits for the next thing to happen, passing on what is printed meanwhile. Cancel-safe.
    pub(crate) async fn happening(
        &mut self,
        log: &mut FunctionLog,
        deadline: &mut SleepFuture,
        clock: &dyn Clock,
    ) -> Happening {
        if let Some(exit) = self.exit {
            return self.exited(exit, log, clock).await;
        }
        loop {
            let Self { sandbox, output, extensions_output, api, ends, .. } = self;
            // In this order: an answer counts even if its process has ended meanwhile, or its time has.
            tokio::select! {
                biased;
                event = api.event() => return said(event),
                exit = sandbox.wait() => {
                    self.note_the_end_of_all();
                    return self.exited(exit, log, clock).await;
                }
                end = next_end(ends) => {
                    self.note(&end);
                    match end.program {
                        SandboxProgram::Command => {
                            // Kept, since its last words may come before it.
                            self.exit = Some(end.exit);
                            return self.exited(end.exit, log, clock).await;
                        }
                        SandboxProgram::Companion(index) => {
                            return Happening::ExtensionLost(Lost::Ended(index, end.exit.status));
                        }
                    }
                }
                () = &mut *deadline => return Happening::Deadline,
                () = readable(output.as_ref()) => {
                    read_ready(output, Source::Function, log);
                    // A function that prints without end must not keep a thread from other environments.
                    yield_now().await;
                }
                () = readable(extensions_output.as_ref()) => {
                    read_ready(extensions_output, Source::Extension, log);
                    yield_now().await;
                }
            }
        }
    }

    async fn exited(&mut self, exit: Exit, log: &mut FunctionLog, clock: &dyn Clock) -> Happening {
        self.drain(log).await;
        if let Some(event) = self.last_words(clock).await {
            return said(event);
        }
        self.exit = None;
        Happening::Exited(exit)
    }

    /// What was said before the end and is still being read.
    async fn last_words(&mut self, clock: &dyn Clock) -> Option<ApiEvent> {
        if !self.api.is_answering() {
            return self.api.try_event();
        }
        tokio::select! {
            event = self.api.event() => Some(event),
            () = clock.sleep_until(clock.now() + LAST_WORDS) => None,
        }
    }

    /// Takes what is in the pipes at this moment. Past tokio, which reads only after its poll has seen the bytes: what
    /// a function printed before it answered must be there now.
    pub(crate) async fn drain(&mut self, log: &mut FunctionLog) {
        drain(self.output.as_ref(), Source::Function, log).await;
        drain(self.extensions_output.as_ref(), Source::Extension, log).await;
    }
}

/// Returns when there is something to read, or never will be.
async fn readable(output: Option<&pipe::Receiver>) {
    match output {
        // An error shows when it is read.
        Some(pipe) => drop(pipe.readable().await),
        None => std::future::pending().await,
    }
}

fn read_ready(output: &mut Option<pipe::Receiver>, source: Source, log: &mut FunctionLog) {
    let Some(pipe) = output else { return };
    let mut buffer = [0; CHUNK_BYTES];
    match pipe.try_read(&mut buffer) {
        Ok(length) if length > 0 => log.output(source, &buffer[..length]),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
        Ok(_) | Err(_) => *output = None,
    }
}

async fn drain(output: Option<&pipe::Receiver>, source: Source, log: &mut FunctionLog) {
    let Some(pipe) = output else { return };
    let mut buffer = [0; CHUNK_BYTES];
    let mut total = 0;
    while total < MOST_DRAINED {
        match rustix::io::read(pipe, &mut buffer) {
            // At the end tokio's own read sees it, too.
            Ok(0) | Err(_) => return,
            Ok(length) => {
                log.output(source, &buffer[..length]);
                total += length;
                yield_now().await;
            }
        }
    }
}

fn said(event: ApiEvent) -> Happening {
    match event {
        ApiEvent::ExtensionFailed(failure) => Happening::ExtensionLost(Lost::Said(failure)),
        event => Happening::Api(event),
    }
}

async fn next_end(ends: &mut Option<mpsc::UnboundedReceiver<ProgramEnd>>) -> ProgramEnd {
    if let Some(ends) = ends
        && let Some(end) = ends.recv().await
    {
        return end;
    }
    // There is but one program, or the sandbox has ended, which is told elsewhere.
    std::future::pending().await
}
