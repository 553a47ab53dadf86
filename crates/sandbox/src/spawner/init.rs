//! The first process of a sandbox: builds it from inside, starts the function in it when told, reaps, and tells how
//! the function ended. When it ends, the kernel ends everything else in its pid namespace.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::mount::MountFlags;
use rustix::net::SendFlags;
use rustix::process::{Pid, Signal, WaitOptions, wait};
use serde::{Deserialize, Serialize};

use super::ground::{Ground, Identity, SHOWN_GID, SHOWN_UID, write_map};
use super::step::Step;
use super::{base_root, function, process_tree, sys};
use crate::protocol::Failure;
use crate::{Assignment, ExitStatus, packet};

/// Spawner to init.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Build the sandbox: the control groups are entered.
    Build,
    /// Start the function. With the write end of the output; where the root is the sandbox's own, also with the code
    /// and (if there are layers) the merged layers, as detached mounts.
    Start(Assignment),
}

/// Init to spawner.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// With the listening sockets.
    Built {
        addresses: Vec<SocketAddr>,
    },
    Started,
    Failed(Failure),
    Exited {
        status: ExitStatus,
        /// Resident set of its largest process, in bytes.
        largest: u64,
    },
}

/// What init knows from before the fork.
pub(super) struct Plan<'a> {
    pub(super) ground: &'a Ground,
    pub(super) sandbox: u64,
    pub(super) identity: Identity,
    pub(super) listen: &'a [SocketAddr],
    /// Seen as `/var/runtime` (a detached mount), where the root is the sandbox's own.
    pub(super) runtime: Option<&'a OwnedFd>,
    pub(super) runtime_dir: &'a Path,
}

/// Files in /proc that tell about the host or reach into the kernel.
const MASKED_FILES: &[&str] = &[
    "kcore",
    "keys",
    "key-users",
    "kallsyms",
    "latency_stats",
    "sched_debug",
    "sysrq-trigger",
    "timer_list",
];
const MASKED_DIRECTORIES: &[&str] = &["acpi", "asound", "bus", "driver", "firmware", "fs", "irq", "scsi"];

/// The whole life of init. Returns its exit code.
pub(super) fn run(plan: &Plan<'_>, socket: &OwnedFd) -> i32 {
    let keep: Vec<i32> = plan.runtime.iter().map(|fd| fd.as_raw_fd()).chain([socket.as_raw_fd()]).collect();
    sys::close_all_except(&keep);
    let _ = rustix::thread::set_name(c"lambfold-init");
    match live(plan, socket) {
        Ok(()) => 0,
        Err(failure) => {
            // If the spawner has gone there is nobody to tell.
            let _ = packet::send(socket, &Report::Failed(failure), &[], SendFlags::empty());
            1
        }
    }
}

fn live(plan: &Plan<'_>, socket: &OwnedFd) -> Result<(), Failure> {
    if plan.ground.separate() {
        // Together with the end of file on the socket this covers every way in which the spawner may die.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .step("tie init to the spawner")?;
    } else {
        // Orphans of the function come here, where they are found, and not to the host's init.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).step("become a subreaper")?;
    }
    let children_end = sys::child_signal().step("watch children")?;

    let Some((Order::Build, _)) = next(socket)? else { return Ok(()) };
    let listeners = build(plan)?;
    let addresses: Vec<SocketAddr> =
        listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>().step("name the listeners")?;
    let descriptors: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
    packet::send(socket, &Report::Built { addresses }, &descriptors, SendFlags::empty())
        .step("hand over the listeners")?;
    drop(listeners);

    let Some((Order::Start(assignment), descriptors)) = next(socket)? else { return Ok(()) };
    let function = start(plan, &assignment, descriptors)?;
    packet::send(socket, &Report::Started, &[], SendFlags::empty()).step("report the start")?;

    let status = reap(plan, socket, &children_end, function)?;
    if !plan.ground.separate() {
        process_tree::kill_descendants(rustix::process::getpid());
    }
    if let Some(status) = status {
        packet::send(
            socket,
            &Report::Exited { status, largest: sys::largest_child_bytes() },
            &[],
            SendFlags::empty(),
        )
        .step("report the exit")?;
    }
    Ok(())
}

fn next(socket: &OwnedFd) -> Result<Option<(Order, Vec<OwnedFd>)>, Failure> {
    packet::receive(socket).step("hear the spawner")
}

fn build(plan: &Plan<'_>) -> Result<Vec<TcpListener>, Failure> {
    if plan.ground.separate() {
        // Entered now, the namespace's root is the sandbox's own group. Without cgroups there is nothing to hide.
        let _ = sys::unshare(libc::CLONE_NEWCGROUP);
        sys::new_session_keyring();
        sys::bring_up_loopback().step("bring up the loopback interface")?;
        build_root(plan)?;
    } else {
        let directory = plan.ground.slot_dir(plan.sandbox);
        let tmp = directory.join("tmp");
        fs::create_dir_all(&tmp).step(format_args!("make {}", tmp.display()))?;
        if let Identity::Plain { uid, gid } = plan.identity {
            std::os::unix::fs::chown(&tmp, Some(uid), Some(gid))
                .step(format_args!("own {}", tmp.display()))?;
        }
    }
    plan.listen
        .iter()
        .map(|requested| {
            let mut address = *requested;
            if !plan.ground.separate() {
                address.set_port(0);
            }
            TcpListener::bind(address).step(format_args!("listen on {address}"))
        })
        .collect()
}

fn build_root(plan: &Plan<'_>) -> Result<(), Failure> {
    let root = &plan.ground.root;
    if let Some(runtime) = plan.runtime {
        base_root::attach(runtime, &root.join("var/runtime"))?;
    }
    let proc = root.join("proc");
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("proc", &proc, "proc", flags, c"hidepid=2").step("mount /proc")?;
    mask(root, &proc)?;
    sys::pivot_root(root).step("change the root")
}

fn mask(root: &Path, proc: &Path) -> Result<(), Failure> {
    let (nothing, empty) = (root.join("dev/null"), root.join("mnt"));
    let files = MASKED_FILES.iter().map(|name| (&nothing, name));
    let directories = MASKED_DIRECTORIES.iter().map(|name| (&empty, name));
    for (source, name) in files.chain(directories) {
        match rustix::mount::mount_bind(source, proc.join(name)) {
            // Not every kernel has all of them.
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error).step(format_args!("hide /proc/{name}")),
        }
    }
    Ok(())
}

/// Mounts the code, starts the function, and waits until it has been executed.
fn start(plan: &Plan<'_>, assignment: &Assignment, descriptors: Vec<OwnedFd>) -> Result<Pid, Failure> {
    let program =
        sys::Program::new(&assignment.command, assignment.environment.iter()).map_err(Failure::Invalid)?;
    let mut descriptors = descriptors.into_iter();
    let output = descriptors.next().ok_or_else(|| Failure::Setup("no output was handed over".to_owned()))?;

    let (task_root, tmp) = if plan.ground.separate() {
        mount_assignment(plan, assignment, descriptors)?;
        (PathBuf::from("/var/task"), PathBuf::from("/tmp"))
    } else {
        (assignment.code_dir.clone(), plan.ground.slot_dir(plan.sandbox).join("tmp"))
    };
    let mut readable = plan.ground.readable();
    if !plan.ground.separate() {
        let layers = plan.ground.slot_dir(plan.sandbox).join("opt");
        readable.extend([task_root.clone(), plan.runtime_dir.to_owned(), layers]);
        readable.extend(assignment.layers.iter().cloned());
    }

    let (may_go, go) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("make a pipe")?;
    let (failed, how) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("make a pipe")?;
    let namespace = if matches!(plan.identity, Identity::Mapped { .. }) { libc::CLONE_NEWUSER } else { 0 };
    let init = rustix::process::getpid();
    let child = sys::fork(namespace, || {
        // Above all not the other end of `may_go`, without which the wait for it would outlast init.
        sys::close_all_except(&[may_go.as_raw_fd(), how.as_raw_fd(), output.as_raw_fd()]);
        let failure = function::run(&function::Plan {
            ground: plan.ground,
            identity: plan.identity,
            assignment,
            program: &program,
            task_root: &task_root,
            tmp: &tmp,
            readable: &readable,
            output: &output,
            may_go: &may_go,
            init,
        });
        let text = serde_json::to_vec(&failure).unwrap_or_default();
        let _ = rustix::io::write(&how, &text);
        1
    })
    .step("start the function's process")?;
    drop((how, may_go, output));

    if let Identity::Mapped { uid, gid } = plan.identity {
        let file = |name| PathBuf::from(format!("/proc/{}/{name}", child.pid));
        write_map(&file("uid_map"), &format!("{SHOWN_UID} {uid} 1")).step("map the user id")?;
        write_map(&file("gid_map"), &format!("{SHOWN_GID} {gid} 1")).step("map the group id")?;
    }
    // When memory is short, the kernel should take functions before anything of Lambfold's.
    let _ = fs::write(format!("/proc/{}/oom_score_adj", child.pid), "1000");
    if plan.ground.separate() {
        // Hides init's memory and descriptors from the function even where both have the same uid. It must come after
        // the maps: what is hidden belongs to the host's root, whom this process may not be.
        let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    }
    rustix::io::write(&go, b"!").step("let the function go")?;

    // The end of file comes when exec has closed the other end; text before it is the reason why not.
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut fs::File::from(failed), &mut text).step("hear the function's process")?;
    if text.is_empty() {
        return Ok(child.pid);
    }
    Err(serde_json::from_slice(&text).unwrap_or_else(|error| Failure::Setup(error.to_string())))
}

fn mount_assignment(
    plan: &Plan<'_>,
    assignment: &Assignment,
    mut mounts: impl Iterator<Item = OwnedFd>,
) -> Result<(), Failure> {
    let code = mounts.next().ok_or_else(|| Failure::Setup("no code was handed over".to_owned()))?;
    base_root::attach(code, Path::new("/var/task"))?;
    if let Some(layers) = mounts.next() {
        base_root::attach(layers, Path::new("/opt"))?;
    }
    let (uid, gid) = match plan.identity {
        Identity::Mapped { uid, gid } | Identity::Plain { uid, gid } => (uid, gid),
        Identity::Inherited => (SHOWN_UID, SHOWN_GID),
    };
    let megabytes = assignment.ephemeral_storage_mb;
    // An inode costs about a kilobyte of kernel memory; a small file in every 16 KiB is more than packages have.
    let inodes = u64::from(megabytes) * 64;
    let options = format!("mode=0700,uid={uid},gid={gid},size={megabytes}m,nr_inodes={inodes}");
    let options = std::ffi::CString::new(options).step("name the options of /tmp")?;
    rustix::mount::mount("tmp", "/tmp", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())
        .step("mount /tmp")?;
    let name = std::ffi::CString::new(assignment.hostname.as_str()).step("read the host name")?;
    sys::set_host_name(&name).step("set the host name")
}

/// Waits for the function's end. `None` if the spawner went first.
fn reap(
    plan: &Plan<'_>,
    socket: &OwnedFd,
    children_end: &OwnedFd,
    function: Pid,
) -> Result<Option<ExitStatus>, Failure> {
    loop {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == function {
                let status = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => ExitStatus::Code(code),
                    (None, signal) => ExitStatus::Signal(signal.unwrap_or(9)),
                };
                return Ok(Some(status));
            }
        }
        let mut waiting = [PollFd::new(socket, PollFlags::IN), PollFd::new(children_end, PollFlags::IN)];
        match poll(&mut waiting, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).step("wait for the function"),
        }
        if !waiting[0].revents().is_empty() && next(socket)?.is_none() {
            if !plan.ground.separate() {
                process_tree::kill_descendants(rustix::process::getpid());
            }
            return Ok(None);
        }
        if !waiting[1].revents().is_empty() {
            // What it says is only that somebody ended; waitpid tells who.
            let mut bytes = [0; 1024];
            let _ = rustix::io::read(children_end, &mut bytes);
        }
    }
}
