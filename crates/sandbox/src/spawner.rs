//! The spawner process: small, single threaded, the only one that needs privileges.

mod base_root;
mod cgroup;
mod contents;
mod fence;
mod function;
mod ground;
mod image_root;
mod init;
mod launch;
mod netlink;
mod network;
mod probe;
mod process_tree;
mod program;
mod programs;
mod sandbox;
mod seccomp;
mod serve;
mod step;
mod sys;
mod waiting;

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use self::cgroup::Cgroups;
use self::serve::Server;
use self::step::{Step, describe};
use crate::packet;
use crate::protocol::{Call, Failure, Message, Reply, Request, Settings};

/// How long to wait for a spawner that is ending: on a machine that has far too much to do it takes seconds.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// The spawner's whole life: what the executable named in [`SpawnerCommand`](crate::SpawnerCommand) must call first in
/// `main`, before it has made a thread. Standard input is the socket to the worker.
pub fn spawner_main() -> ExitCode {
    match live() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("lambfold spawner: {}", describe(&failure));
            ExitCode::FAILURE
        }
    }
}

fn live() -> Result<(), Failure> {
    let threads = fs::read_dir("/proc/self/task").step("count threads")?.count();
    if threads != 1 {
        // A fork has only the forking thread; locks that others hold would stay locked in it.
        return Err(Failure::Setup(format!("it must have one thread and has {threads}")));
    }
    sys::ignore_terminal_signals();
    // Away from the terminal's process group; it fails only where the process leads a group already.
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"lambfold-spawn");
    let worker = sys::take_stdin().step("take the worker's socket")?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).step("become a subreaper")?;

    let Some((Call { number, request }, _)) = packet::receive::<Call>(&worker).step("hear the worker")?
    else {
        return Ok(());
    };
    let Request::Start(settings) = request else {
        return Err(Failure::Invalid("the first request must be Start".to_owned()));
    };
    let answer = |worker: &OwnedFd, result| {
        packet::send(worker, &Message::Reply { number, result }, &[], SendFlags::empty())
            .step("answer the worker")
    };
    match start(&settings) {
        Err(failure) => {
            answer(&worker, Err(failure))?;
            // The worker has been told; nothing is left to say on standard error.
            Ok(())
        }
        Ok(Started { ground, cgroups, report, locks: _locks }) => {
            let reply = Reply::Started { report, capabilities: ground.capabilities(&cgroups) };
            answer(&worker, Ok(reply))?;
            Server::new(worker, ground, cgroups, settings.slots)?.run()
        }
    }
}

struct Started {
    ground: ground::Ground,
    cgroups: Cgroups,
    report: crate::LevelReport,
    /// The state directory's and the range's, held while the process lives.
    locks: (fs::File, OwnedFd),
}

fn start(settings: &Settings) -> Result<Started, Failure> {
    let state_dir = &settings.state_dir;
    if settings.slots == 0 || settings.uid_base == 0 {
        return Err(Failure::Invalid("slots and uid_base must not be zero".to_owned()));
    }
    for directory in
        [state_dir.clone(), state_dir.join("root"), state_dir.join("empty"), state_dir.join("slots")]
    {
        base_root::make_passable(&directory)?;
    }
    let lock = take_lock(state_dir)?;

    cgroup::sweep(state_dir);
    for entry in fs::read_dir(state_dir.join("slots")).into_iter().flatten().flatten() {
        fs::remove_dir_all(entry.path()).step("sweep what an earlier run left")?;
    }

    let (range_lock, first_uid) = take_uid_range(settings)?;
    let cgroups = Cgroups::detect(state_dir);
    if let Some(megabytes) = settings.total_memory_mb {
        cgroups.limit_total_memory(megabytes)?;
    }
    match probe::find_level(settings, &cgroups, first_uid) {
        Ok((ground, report)) => Ok(Started { ground, cgroups, report, locks: (lock, range_lock) }),
        Err(failure) => {
            cgroups.remove();
            Err(failure)
        }
    }
}

/// The state directory's lock. The spawner of a worker that was killed a moment ago may still be cleaning up, so it is
/// waited for, within reason.
fn take_lock(state_dir: &Path) -> Result<fs::File, Failure> {
    let lock = fs::File::create(state_dir.join("lock")).step("make the lock")?;
    let start = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(fs::TryLockError::WouldBlock) if start.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => {
                return Err(error).step(format_args!("another spawner uses {}", state_dir.display()));
            }
        }
    }
}

/// The first block of ids from `uid_base` that no other spawner on this host holds: two sandboxes of one uid could
/// signal each other if a namespace failed, and are counted together by the kernel.
fn take_uid_range(settings: &Settings) -> Result<(OwnedFd, u32), Failure> {
    for block in 0..1000 {
        let Some(first) =
            settings.slots.checked_mul(block).and_then(|offset| settings.uid_base.checked_add(offset))
        else {
            break;
        };
        if first.checked_add(settings.slots).is_none() {
            break;
        }
        // A name in the abstract namespace is a lock that goes away with its holder.
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
                .step("make a socket")?;
        let name = format!("lambfold-uids-{first}");
        let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).step("name the range")?;
        match rustix::net::bind(&socket, &address) {
            Ok(()) => return Ok((socket, first)),
            Err(rustix::io::Errno::ADDRINUSE) => {}
            Err(error) => return Err(error).step("take a range of user ids"),
        }
    }
    Err(Failure::Setup("no range of user ids is free".to_owned()))
}
