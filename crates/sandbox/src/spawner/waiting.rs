//! A program that waits in a finished sandbox for its function, as init has it.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::init::Plan;
use super::step::Step;
use super::{contents, program};
use crate::protocol::Failure;
use crate::{Assignment, WaitingProgram};

/// How long it may take until it is ready: an interpreter's start on a machine that is very busy.
const READY_WITHIN: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

pub(super) struct Waiting {
    pid: Pid,
    /// Its assignment goes here.
    socket: OwnedFd,
}

impl Waiting {
    /// Starts it and waits until it is ready.
    pub(super) fn start(
        plan: &Plan<'_>,
        waiting: &WaitingProgram,
        output: &OwnedFd,
    ) -> Result<Self, Failure> {
        // Mounted before Landlock is told of it; the size comes with the function.
        contents::mount_tmp(plan.identity, 1)?;
        let (socket, its_socket) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .step("make a socket pair")?;
        let pid = program::start(&program::Start {
            ground: plan.ground,
            identity: plan.identity,
            command: &waiting.command,
            search: false,
            environment: &waiting.environment,
            open_files: waiting.open_files,
            processes: waiting.processes,
            directory: Path::new("/"),
            tmp: Path::new("/tmp"),
            readable: &plan.ground.readable(),
            output,
            assignment: Some(&its_socket),
        })?;
        drop(its_socket);
        let waiting = Self { pid, socket };
        waiting.until_ready()?;
        Ok(waiting)
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    fn until_ready(&self) -> Result<(), Failure> {
        let mut ready = [PollFd::new(&self.socket, PollFlags::IN)];
        loop {
            match poll(&mut ready, Some(&READY_WITHIN)) {
                Ok(0) => return Err(Failure::Setup("the waiting program does not get ready".to_owned())),
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).step("wait for the waiting program"),
            }
        }
        let mut byte = [0];
        if rustix::io::read(&self.socket, &mut byte) == Ok(1) {
            return Ok(());
        }
        self.let_it_end();
        Err(Failure::Setup("the waiting program ended before it was ready".to_owned()))
    }

    /// Gives it a moment to say why, before it is killed with the sandbox.
    fn let_it_end(&self) {
        for _ in 0..200 {
            if !matches!(waitpid(Some(self.pid), WaitOptions::NOHANG), Ok(None)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Gives it its function.
    pub(super) fn assign(self, assignment: &Assignment, mounts: Vec<OwnedFd>) -> Result<Pid, Failure> {
        contents::attach_code(assignment, mounts)?;
        contents::resize_tmp(assignment.ephemeral_storage_mb)?;
        contents::set_host_name(&assignment.hostname)?;
        let mut block = Vec::with_capacity(4096);
        for (name, value) in &assignment.environment {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(Failure::Invalid(format!("'{name}' cannot be set as a variable")));
            }
            for part in [name.as_bytes(), b"=", value.as_bytes(), b"\0"] {
                block.extend_from_slice(part);
            }
        }
        // Closed afterwards: the end of the file is the end of the assignment.
        File::from(self.socket).write_all(&block).step("hand over the function")?;
        Ok(self.pid)
    }
}
