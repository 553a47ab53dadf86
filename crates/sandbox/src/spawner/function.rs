//! The last steps before a function's program runs: the process gives up everything and executes it.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::Mode;
use rustix::process::{Pid, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::ground::{Identity, SHOWN_GID, SHOWN_UID};
use super::program::Start;
use super::step::Step;
use super::{fence, sys};
use crate::protocol::Failure;
use crate::{ASSIGNMENT_FD, IsolationLevel, OUTPUT_FD};

pub(super) struct Plan<'a> {
    pub(super) start: &'a Start<'a>,
    pub(super) program: &'a sys::Program,
    /// Has a byte when the id maps have been written.
    pub(super) may_go: &'a OwnedFd,
    pub(super) init: Pid,
}

/// Runs the program. Returns only what went wrong.
pub(super) fn run(plan: &Plan<'_>) -> Failure {
    if let Err(failure) = give_up_everything(plan) {
        return failure;
    }
    let error = plan.program.execute();
    Failure::Exec {
        program: plan.start.command.first().cloned().unwrap_or_default(),
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    }
}

fn give_up_everything(plan: &Plan<'_>) -> Result<(), Failure> {
    let start = plan.start;
    rustix::process::setsid().step("start a session")?;
    if !start.ground.separate() {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .step("tie the function to init")?;
        if rustix::process::getppid() != Some(plan.init) {
            return Err(Failure::Gone); // It died before the tie held.
        }
    }
    let mut byte = [0];
    if rustix::io::read(plan.may_go, &mut byte).step("wait for the id maps")? == 0 {
        return Err(Failure::Gone);
    }

    let null = File::open("/dev/null").step("open /dev/null")?;
    rustix::stdio::dup2_stdin(null.as_fd()).step("set standard input")?;
    // Its number is needed below.
    drop(null);
    rustix::stdio::dup2_stdout(start.output.as_fd()).step("set standard output")?;
    rustix::stdio::dup2_stderr(start.output.as_fd()).step("set standard error")?;
    set_limits(start)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));

    take_identity(start)?;
    rustix::process::chdir(start.directory).map_err(|error| Failure::WorkingDirectory {
        path: start.directory.display().to_string(),
        errno: error.raw_os_error(),
    })?;

    rustix::thread::set_no_new_privs(true).step("renounce new privileges")?;
    if start.ground.landlock {
        fence::enclose(start.readable, start.tmp)?;
    }
    sys::reset_signals();
    sys::close_on_exec_from_3().step("close descriptors")?;
    if let Some(socket) = start.assignment {
        sys::keep_at(socket.as_fd(), ASSIGNMENT_FD).step("place the assignment's socket")?;
    }
    // From where it is already: its own number may be the one above.
    sys::keep_at(rustix::stdio::stdout(), OUTPUT_FD).step("place the output")?;
    if start.ground.level > IsolationLevel::Unisolated {
        sys::install_filter(&start.ground.filter).step("install the seccomp filter")?;
    }
    Ok(())
}

fn set_limits(start: &Start<'_>) -> Result<(), Failure> {
    let both = |limit: u32| Rlimit { current: Some(limit.into()), maximum: Some(limit.into()) };
    rustix::process::setrlimit(Resource::Core, both(0)).step("forbid core dumps")?;
    rustix::process::setrlimit(Resource::Nofile, both(start.open_files)).step(format_args!(
        "limit open files to {} (the hard limit, `ulimit -Hn`, has to be that at least)",
        start.open_files
    ))?;
    if start.identity != Identity::Inherited {
        // Counted per user and user namespace; where the user is shared it would count the user's own programs.
        rustix::process::setrlimit(Resource::Nproc, both(start.processes)).step("limit processes")?;
    }
    Ok(())
}

fn take_identity(start: &Start<'_>) -> Result<(), Failure> {
    let (uid, gid) = match start.identity {
        Identity::Mapped { .. } => (SHOWN_UID, SHOWN_GID),
        Identity::Plain { uid, gid } => (uid, gid),
        Identity::Inherited => return drop_capabilities(),
    };
    // Before the uid changes: a plain change from root takes the right to do it away.
    sys::drop_bounding_set().step("empty the bounding set")?;
    match rustix::thread::set_thread_groups(&[]) {
        // A user namespace of an ordinary user must not drop groups; files that they open are not in its root.
        Ok(()) | Err(rustix::io::Errno::PERM) => {}
        Err(error) => return Err(error).step("drop supplementary groups"),
    }
    let (uid, gid) = (rustix::process::Uid::from_raw(uid), rustix::process::Gid::from_raw(gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid).step("change the group")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).step("change the user")?;
    drop_capabilities()
}

fn drop_capabilities() -> Result<(), Failure> {
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).step("drop capabilities")?;
    rustix::thread::clear_ambient_capability_set().step("drop ambient capabilities")
}
