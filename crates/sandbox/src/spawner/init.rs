//! The first process of a sandbox: builds it from inside, starts the function in it when told (or hands it to the program
//! that waits), reaps, and tells how the function ended. When it ends, the kernel ends everything else in its pid namespace.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::mount::MountFlags;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
use rustix::process::{Signal, WaitOptions, wait};
use serde::{Deserialize, Serialize};

use super::cgroup::Group;
use super::ground::{Ground, Identity};
use super::program::Start;
use super::programs::Programs;
use super::sandbox::used_bytes;
use super::step::Step;
use super::waiting::Waiting;
use super::{base_root, contents, image_root, network, process_tree, sys};
use crate::protocol::Failure;
use crate::{Assignment, ExitStatus, NetworkLink, ProgramSignal, SandboxProgram, WaitingProgram, packet};

/// Spawner to init.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Start the function. With the write end of the output and that of its companions if it has any, unless a program waits, which has it; where the root is the
    /// sandbox's own, also with the code and (if there are layers) the merged layers, as detached mounts.
    Start(Box<Assignment>),
    /// Start the command that waits for its companions.
    StartCommand,
    Signal {
        program: SandboxProgram,
        signal: ProgramSignal,
    },
    /// Stop everything, or let it go on.
    Stop(bool),
    /// Make a TCP socket.
    Socket,
}

/// Init to spawner.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// With the listening sockets, and the network device if there is one. If a program is to wait, it does.
    Built {
        addresses: Vec<SocketAddr>,
        network: Option<NetworkLink>,
    },
    /// The command; or its companions, for which it waits.
    Started,
    /// The command that waited.
    CommandStarted(Result<(), Failure>),
    /// With it, if it could be made.
    Socket(Result<(), Failure>),
    /// One of several programs, and the sandbox lives on.
    ProgramEnded {
        program: SandboxProgram,
        status: ExitStatus,
    },
    Failed(Failure),
    Exited {
        status: ExitStatus,
        /// Resident set of its largest process, in bytes.
        largest: u64,
        /// Bytes of `/tmp`, where it is a file system of the sandbox's own: it goes with init.
        in_tmp: u64,
    },
}

/// What init knows from before the fork.
pub(super) struct Plan<'a> {
    pub(super) ground: &'a Ground,
    pub(super) sandbox: u64,
    pub(super) identity: Identity,
    /// Which init enters first of all. Not the spawner's work: version 1 lets the writer wait for a grace period.
    pub(super) group: &'a Group,
    /// With the write end of its output.
    pub(super) waiting: Option<(&'a WaitingProgram, OwnedFd)>,
    pub(super) listen: &'a [SocketAddr],
    /// Seen as `/var/runtime` (a detached mount), where the root is the sandbox's own.
    pub(super) runtime: Option<&'a OwnedFd>,
    /// The root, where it is an image (a detached mount).
    pub(super) image: Option<&'a OwnedFd>,
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
pub(super) fn run(plan: Plan<'_>, socket: &OwnedFd) -> i32 {
    let output = plan.waiting.as_ref().map(|(_, output)| output);
    let keep: Vec<i32> = [plan.runtime, plan.image, output]
        .into_iter()
        .flatten()
        .chain([socket])
        .map(AsRawFd::as_raw_fd)
        .collect();
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

fn live(mut plan: Plan<'_>, socket: &OwnedFd) -> Result<(), Failure> {
    if plan.ground.separate() {
        // Together with the end of file on the socket this covers every way in which the spawner may die.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .step("tie init to the spawner")?;
    } else {
        // Orphans of the function come here, where they are found, and not to the host's init.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).step("become a subreaper")?;
    }
    let children_end = sys::child_signal().step("watch children")?;

    plan.group.enter()?;
    let (network, listeners) = build(&plan)?;
    let waiting = match plan.waiting.take() {
        Some((program, output)) => Some(Waiting::start(&plan, program, &output)?),
        None => None,
    };
    let addresses: Vec<SocketAddr> =
        listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>().step("name the listeners")?;
    let device = network.as_ref().map(|(device, _)| device.as_fd());
    let descriptors: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).chain(device).collect();
    let built = Report::Built { addresses, network: network.as_ref().map(|(_, link)| *link) };
    packet::send(socket, &built, &descriptors, SendFlags::empty()).step("hand over the listeners")?;
    drop((listeners, network));

    let mut programs = match waiting {
        None => {
            let Some((Order::Start(assignment), descriptors)) = next(socket)? else { return Ok(()) };
            start(&plan, &assignment, descriptors)?
        }
        Some(waiting) => match event(socket, &children_end, &mut Programs::alone(waiting.pid()))? {
            Event::Order(Order::Start(assignment), descriptors) => {
                Programs::alone(waiting.assign(&assignment, descriptors)?)
            }
            Event::Exited(_, status) => return report_exit(&plan, socket, status),
            Event::Order(..) | Event::Gone => return Ok(()),
        },
    };
    packet::send(socket, &Report::Started, &[], SendFlags::empty()).step("report the start")?;

    let status = loop {
        match event(socket, &children_end, &mut programs)? {
            // It has its function.
            Event::Order(Order::Start(_), _) => {}
            Event::Order(Order::StartCommand, _) => {
                let report = Report::CommandStarted(programs.start_command());
                packet::send(socket, &report, &[], SendFlags::empty()).step("report the command's start")?;
            }
            Event::Order(Order::Signal { program, signal }, _) => programs.signal(program, signal),
            Event::Order(Order::Stop(stop), _) => halt(&plan, stop),
            Event::Order(Order::Socket, _) => hand_over_socket(socket)?,
            Event::Exited(_, status) if programs.is_alone() => break Some(status),
            Event::Exited(program, status) => {
                let report = Report::ProgramEnded { program, status };
                packet::send(socket, &report, &[], SendFlags::empty()).step("report a program's end")?;
            }
            Event::Gone => break None,
        }
    };
    if !plan.ground.separate() {
        process_tree::kill_descendants(rustix::process::getpid());
    }
    status.map_or(Ok(()), |status| report_exit(&plan, socket, status))
}

/// Stops everything but this process, or lets it go on.
fn halt(plan: &Plan<'_>, stop: bool) {
    let signal = if stop { Signal::STOP } else { Signal::CONT };
    if plan.ground.separate() {
        sys::signal_namespace(signal);
    } else {
        process_tree::signal_descendants(rustix::process::getpid(), signal);
    }
}

/// One of this network, for a connection that the worker makes.
fn hand_over_socket(socket: &OwnedFd) -> Result<(), Failure> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let made =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).step("make a socket");
    let descriptors: Vec<BorrowedFd<'_>> = made.iter().map(AsFd::as_fd).collect();
    let report = Report::Socket(made.as_ref().map(|_| ()).map_err(Clone::clone));
    packet::send(socket, &report, &descriptors, SendFlags::empty()).step("hand over a socket")
}

fn report_exit(plan: &Plan<'_>, socket: &OwnedFd, status: ExitStatus) -> Result<(), Failure> {
    let in_tmp = if plan.ground.separate() { used_bytes("/tmp").unwrap_or(0) } else { 0 };
    let report = Report::Exited { status, largest: sys::largest_child_bytes(), in_tmp };
    packet::send(socket, &report, &[], SendFlags::empty()).step("report the exit")
}

fn next(socket: &OwnedFd) -> Result<Option<(Order, Vec<OwnedFd>)>, Failure> {
    packet::receive(socket).step("hear the spawner")
}

/// The worker's end of a network device, and what precedes each packet there.
type Network = (OwnedFd, NetworkLink);

fn build(plan: &Plan<'_>) -> Result<(Option<Network>, Vec<TcpListener>), Failure> {
    let mut network = None;
    if plan.ground.separate() {
        // Entered now, the namespace's root is the sandbox's own group. Without cgroups there is nothing to hide.
        let _ = sys::unshare(libc::CLONE_NEWCGROUP);
        sys::new_session_keyring();
        sys::bring_up_loopback().step("bring up the loopback interface")?;
        if plan.ground.network_device {
            network = Some(network::make()?);
        }
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
    let listeners = plan
        .listen
        .iter()
        .map(|requested| {
            let mut address = *requested;
            if !plan.ground.separate() {
                address.set_port(0);
            }
            TcpListener::bind(address).step(format_args!("listen on {address}"))
        })
        .collect::<Result<_, _>>()?;
    Ok((network, listeners))
}

fn build_root(plan: &Plan<'_>) -> Result<(), Failure> {
    if let Some(image) = plan.image {
        return image_root::build(&plan.ground.root, image);
    }
    let root = &plan.ground.root;
    if let Some(runtime) = plan.runtime {
        base_root::attach(runtime, &root.join("var/runtime"))?;
    }
    mount_proc(root, &root.join("proc"))?;
    sys::pivot_root(root).step("change the root")
}

/// Mounts `/proc` at `proc`, with what `root` has to hide parts of it.
pub(super) fn mount_proc(root: &Path, proc: &Path) -> Result<(), Failure> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("proc", proc, "proc", flags, c"hidepid=2").step("mount /proc")?;
    mask(root, proc)
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

/// Mounts the code, starts the function (or what is to start before it), and waits until it has been executed.
fn start(plan: &Plan<'_>, assignment: &Assignment, descriptors: Vec<OwnedFd>) -> Result<Programs, Failure> {
    let mut descriptors = descriptors.into_iter();
    let mut output =
        || descriptors.next().ok_or_else(|| Failure::Setup("no output was handed over".to_owned()));
    let command_output = output()?;
    let companions = &assignment.companions;
    let companions_output = if companions.commands.is_empty() { None } else { Some(output()?) };
    let (task_root, tmp) = if plan.image.is_some() {
        contents::mount_tmp(plan.identity, assignment.ephemeral_storage_mb)?;
        contents::set_host_name(&assignment.hostname)?;
        (assignment.working_directory.clone(), PathBuf::from("/tmp"))
    } else if plan.ground.separate() {
        contents::mount_tmp(plan.identity, assignment.ephemeral_storage_mb)?;
        contents::attach_code(assignment, descriptors)?;
        contents::set_host_name(&assignment.hostname)?;
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
    let command = Start {
        ground: plan.ground,
        identity: plan.identity,
        command: &assignment.command,
        search: plan.image.is_some(),
        environment: &assignment.environment,
        open_files: assignment.open_files,
        processes: assignment.processes,
        directory: &task_root,
        tmp: &tmp,
        readable: &readable,
        output: &command_output,
        assignment: None,
    };
    let companions: Vec<Start<'_>> = companions
        .commands
        .iter()
        .zip(companions_output.iter().cycle())
        .map(|(its, output)| Start {
            command: its,
            search: false,
            environment: &companions.environment,
            directory: Path::new("/"),
            output,
            ..command
        })
        .collect();
    Programs::start(&command, &companions)
}

/// What wakes init.
enum Event {
    /// The spawner wants something.
    Order(Order, Vec<OwnedFd>),
    /// One of the programs, or the one that waits, has ended.
    Exited(SandboxProgram, ExitStatus),
    /// The spawner has gone.
    Gone,
}

/// Waits for the next thing to happen, reaping what ends meanwhile.
fn event(socket: &OwnedFd, children_end: &OwnedFd, programs: &mut Programs) -> Result<Event, Failure> {
    loop {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if let Some(program) = programs.ended(pid) {
                let status = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => ExitStatus::Code(code),
                    (None, signal) => ExitStatus::Signal(signal.unwrap_or(9)),
                };
                return Ok(Event::Exited(program, status));
            }
        }
        let mut waiting = [PollFd::new(socket, PollFlags::IN), PollFd::new(children_end, PollFlags::IN)];
        match poll(&mut waiting, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).step("wait for the function"),
        }
        if !waiting[0].revents().is_empty() {
            return Ok(match next(socket)? {
                Some((order, descriptors)) => Event::Order(order, descriptors),
                None => Event::Gone,
            });
        }
        if !waiting[1].revents().is_empty() {
            // What it says is only that somebody ended; waitpid tells who.
            let mut bytes = [0; 1024];
            let _ = rustix::io::read(children_end, &mut bytes);
        }
    }
}
