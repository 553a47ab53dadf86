//! Init's side of starting a program in its sandbox: the fork, the id maps, and word of whether it was executed.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use super::ground::{Ground, Identity, SHOWN_GID, SHOWN_UID, write_map};
use super::step::Step;
use super::{function, sys};
use crate::protocol::Failure;

/// What to start, and in what.
#[derive(Clone, Copy)]
pub(super) struct Start<'a> {
    pub(super) ground: &'a Ground,
    pub(super) identity: Identity,
    pub(super) command: &'a [String],
    /// Whether its program is found as a shell would.
    pub(super) search: bool,
    pub(super) environment: &'a BTreeMap<String, String>,
    pub(super) open_files: u32,
    pub(super) processes: u32,
    /// Where it starts.
    pub(super) directory: &'a Path,
    pub(super) tmp: &'a Path,
    pub(super) readable: &'a [PathBuf],
    pub(super) output: &'a OwnedFd,
    /// The socket from which it will get its assignment.
    pub(super) assignment: Option<&'a OwnedFd>,
}

/// A process that is there, with its ids, and waits for leave to give everything up and become its program. It goes away
/// when this is dropped.
pub(super) struct Held {
    pid: Pid,
    go: OwnedFd,
    failed: OwnedFd,
}

/// Starts it, and waits until it has been executed.
pub(super) fn start(start: &Start<'_>) -> Result<Pid, Failure> {
    let held = hold(start)?;
    hide(start.ground);
    held.release()
}

/// Makes its process. All of those that are to run beside each other must be made before [`hide`] and the first release.
pub(super) fn hold(start: &Start<'_>) -> Result<Held, Failure> {
    let program =
        sys::Program::new(start.command, start.environment, start.search).map_err(Failure::Invalid)?;
    let (may_go, go) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("make a pipe")?;
    let (failed, how) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("make a pipe")?;
    let namespace = if matches!(start.identity, Identity::Mapped { .. }) { libc::CLONE_NEWUSER } else { 0 };
    let init = rustix::process::getpid();
    let child = sys::fork(namespace, || {
        // Above all not the other end of `may_go`, without which the wait for it would outlast init.
        let keep: Vec<i32> = [&may_go, &how, start.output]
            .into_iter()
            .chain(start.assignment)
            .map(AsRawFd::as_raw_fd)
            .collect();
        sys::close_all_except(&keep);
        // Out of the way of what will be at a number of its own.
        let Ok(how) = rustix::io::fcntl_dupfd_cloexec(&how, 16) else { return 1 };
        let failure = function::run(&function::Plan { start, program: &program, may_go: &may_go, init });
        let text = serde_json::to_vec(&failure).unwrap_or_default();
        let _ = rustix::io::write(&how, &text);
        1
    })
    .step("start the function's process")?;
    drop((how, may_go));

    if let Identity::Mapped { uid, gid } = start.identity {
        let file = |name| PathBuf::from(format!("/proc/{}/{name}", child.pid));
        write_map(&file("uid_map"), &format!("{SHOWN_UID} {uid} 1")).step("map the user id")?;
        write_map(&file("gid_map"), &format!("{SHOWN_GID} {gid} 1")).step("map the group id")?;
    }
    // When memory is short, the kernel should take functions before anything of Lambfold's.
    let _ = fs::write(format!("/proc/{}/oom_score_adj", child.pid), "1000");
    Ok(Held { pid: child.pid, go, failed })
}

/// Hides this process from what it starts.
pub(super) fn hide(ground: &Ground) {
    if ground.separate() {
        // Hides init's memory and descriptors from the function even where both have the same uid. It must come after
        // the maps: what is hidden belongs to the host's root, whom this process may not be.
        let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    }
}

impl Held {
    /// Lets it go, and waits until its program has been executed.
    pub(super) fn release(self) -> Result<Pid, Failure> {
        rustix::io::write(&self.go, b"!").step("let the function go")?;
        // The end of file comes when exec has closed the other end; text before it is the reason why not.
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut fs::File::from(self.failed), &mut text)
            .step("hear the function's process")?;
        if text.is_empty() {
            return Ok(self.pid);
        }
        Err(serde_json::from_slice(&text).unwrap_or_else(|error| Failure::Setup(error.to_string())))
    }
}
