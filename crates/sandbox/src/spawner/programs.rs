//! The programs of one assignment as init has them: the command, and its companions.

use rustix::process::{Pid, Signal, kill_process};

use super::program::{self, Held, Start};
use crate::protocol::Failure;
use crate::{ProgramSignal, SandboxProgram};

pub(super) struct Programs {
    /// While it runs.
    command: Option<Pid>,
    /// While it waits for leave.
    held: Option<Held>,
    /// Each while it runs.
    companions: Vec<Option<Pid>>,
}

impl Programs {
    /// One that runs, alone.
    pub(super) fn alone(command: Pid) -> Self {
        Self { command: Some(command), held: None, companions: Vec::new() }
    }

    /// Starts the command; or, if it has companions, these, and the command waits.
    pub(super) fn start(command: &Start<'_>, companions: &[Start<'_>]) -> Result<Self, Failure> {
        if companions.is_empty() {
            return program::start(command).map(Self::alone);
        }
        // All are made before any runs: this process has to hide itself from them, and could make no more then.
        let all = companions.iter().map(program::hold).collect::<Result<Vec<_>, _>>()?;
        let held = program::hold(command)?;
        program::hide(command.ground);
        let companions = all.into_iter().map(|it| it.release().map(Some)).collect::<Result<_, _>>()?;
        Ok(Self { command: None, held: Some(held), companions })
    }

    pub(super) fn start_command(&mut self) -> Result<(), Failure> {
        let Some(held) = self.held.take() else {
            return Err(Failure::Invalid("no command waits to be started".to_owned()));
        };
        self.command = Some(held.release()?);
        Ok(())
    }

    /// Whether the sandbox ends with its command.
    pub(super) fn is_alone(&self) -> bool {
        self.companions.is_empty()
    }

    /// Notes the end of a process that has been waited for. `None` if it is none of these.
    pub(super) fn ended(&mut self, pid: Pid) -> Option<SandboxProgram> {
        if self.command == Some(pid) {
            self.command = None;
            return Some(SandboxProgram::Command);
        }
        let index = self.companions.iter().position(|companion| *companion == Some(pid))?;
        self.companions[index] = None;
        Some(SandboxProgram::Companion(index))
    }

    pub(super) fn signal(&self, program: SandboxProgram, signal: ProgramSignal) {
        let pid = match program {
            SandboxProgram::Command => self.command,
            SandboxProgram::Companion(index) => self.companions.get(index).copied().flatten(),
        };
        let signal = match signal {
            ProgramSignal::Terminate => Signal::TERM,
            ProgramSignal::Kill => Signal::KILL,
        };
        // Not waited for yet, so the number is still its own.
        if let Some(pid) = pid {
            let _ = kill_process(pid, signal);
        }
    }
}
