//! Finds the strongest isolation level by making a sandbox of each, in a process that may be spoilt by it.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::{WaitOptions, geteuid, waitpid};

use super::cgroup::Cgroups;
use super::ground::Ground;
use super::init::Report;
use super::launch;
use super::step::{Step, describe};
use super::sys;
use crate::protocol::{Failure, Settings};
use crate::{Assignment, ExitStatus, IsolationLevel, LevelReport, Refusal, SandboxTemplate, packet};

const TRIAL_SECONDS: u32 = 10;

/// Goes down from the strongest permitted level to the first that works, and prepares this process for it.
pub(super) fn find_level(
    settings: &Settings,
    cgroups: &Cgroups,
    first_uid: u32,
) -> Result<(Ground, LevelReport), Failure> {
    let mut refused = Vec::new();
    for level in IsolationLevel::ALL {
        if level > settings.at_most || level < settings.at_least {
            continue;
        }
        let mut settings = settings.clone();
        let mut no_device = None;
        let mut attempt = try_in_child(level, &settings, cgroups, first_uid);
        if let Err(reason) = &attempt
            && settings.network_device
            && level >= IsolationLevel::Userns
        {
            // A sandbox without a network is a sandbox. Whether that will do is for the worker to say.
            no_device = Some(reason.clone());
            settings.network_device = false;
            attempt = try_in_child(level, &settings, cgroups, first_uid);
        }
        let attempt = attempt
            .and_then(|()| Ground::lay(level, &settings, first_uid).map_err(|failure| describe(&failure)));
        match attempt {
            Ok(ground) => {
                let mut notes = ground.notes(cgroups);
                notes.extend(no_device.map(|reason| format!("no network device: {reason}")));
                return Ok((ground, LevelReport { reached: level, refused, notes }));
            }
            Err(reason) => refused.push(Refusal { level, remedy: remedy(level).to_owned(), reason }),
        }
    }
    let reasons: Vec<String> = refused.iter().map(ToString::to_string).collect();
    Err(Failure::NoLevel(reasons.join("; ")))
}

fn try_in_child(
    level: IsolationLevel,
    settings: &Settings,
    cgroups: &Cgroups,
    first_uid: u32,
) -> Result<(), String> {
    let (result, teller) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|error| error.to_string())?;
    let child = sys::fork(0, || {
        // A trial takes milliseconds. If one hangs, that level does not work.
        sys::end_after(TRIAL_SECONDS);
        match Ground::lay(level, settings, first_uid).and_then(|ground| trial(&ground, cgroups)) {
            Ok(()) => 0,
            Err(failure) => {
                let _ = rustix::io::write(&teller, describe(&failure).as_bytes());
                1
            }
        }
    })
    .map_err(|error| error.to_string())?;
    drop(teller);
    let mut reason = String::new();
    let read = std::fs::File::from(result).read_to_string(&mut reason);
    let status = waitpid(Some(child.pid), WaitOptions::empty())
        .ok()
        .flatten()
        .and_then(|(_, status)| status.exit_status());
    match (status, read) {
        (Some(0), _) => Ok(()),
        (_, Ok(_)) if !reason.is_empty() => Err(reason),
        (status, _) => Err(format!("the trial ended with {status:?}")),
    }
}

/// A whole sandbox, with a command that does nothing.
fn trial(ground: &Ground, cgroups: &Cgroups) -> Result<(), Failure> {
    let empty = ground.state_dir.join("empty");
    let template = SandboxTemplate {
        listen: vec![([127, 0, 0, 1], 9001).into()],
        runtime_dir: empty.clone(),
        image_root: None,
        waiting: None,
    };
    // The name of its control group; sandboxes count from one.
    let sandbox = 0;
    let launched = launch::launch(ground, cgroups, &template, sandbox, 0)?;
    let result = trial_run(ground, cgroups, &launched.socket, sandbox, &empty);
    drop(launched.socket);
    let _ = rustix::process::pidfd_send_signal(&launched.init.pidfd, rustix::process::Signal::KILL);
    waitpid(Some(launched.init.pid), WaitOptions::empty()).step("reap the trial")?;
    for _ in 0..100 {
        if launched.group.remove() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let _ = std::fs::remove_dir_all(ground.slot_dir(sandbox));
    result
}

fn trial_run(
    ground: &Ground,
    cgroups: &Cgroups,
    socket: &OwnedFd,
    sandbox: u64,
    empty: &Path,
) -> Result<(), Failure> {
    let gone = || Failure::Setup("the first process of the trial ended without a word".to_owned());
    let hear = || packet::receive::<Report>(socket).step("hear init")?.ok_or_else(gone);

    match hear()?.0 {
        Report::Built { .. } => {}
        Report::Failed(failure) => return Err(failure),
        other => return Err(Failure::Setup(format!("unexpected report {other:?}"))),
    }
    let assignment = Assignment::new(empty.to_owned(), vec!["/bin/true".to_owned()]);
    cgroups.limit(&sandbox.to_string(), assignment.memory_mb, 0, assignment.processes)?;
    let (_reader, output) = launch::output_pipe()?;
    launch::start(ground, socket, sandbox, assignment, &[output], false)?;
    match hear()?.0 {
        Report::Started => {}
        // An image may have no such program; all that was to be tried has worked by then.
        Report::Failed(Failure::Exec { errno: libc::ENOENT, .. }) => return Ok(()),
        Report::Failed(failure) => return Err(failure),
        other => return Err(Failure::Setup(format!("unexpected report {other:?}"))),
    }
    match hear()?.0 {
        Report::Exited { status: ExitStatus::Code(0), .. } => Ok(()),
        Report::Failed(failure) => Err(failure),
        other => Err(Failure::Setup(format!("/bin/true ended with {other:?}"))),
    }
}

fn remedy(level: IsolationLevel) -> &'static str {
    let in_container = Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists();
    let sysctl = |name: &str| std::fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default();
    match level {
        IsolationLevel::Full if !geteuid().is_root() => "run Lambfold as root for this level",
        IsolationLevel::Full if in_container => "start the container with --privileged --cgroupns=private",
        IsolationLevel::Full => {
            "give it CAP_SYS_ADMIN, NET_ADMIN, SETUID, SETGID, SYS_CHROOT, KILL and DAC_OVERRIDE"
        }
        IsolationLevel::Userns if sysctl("kernel/apparmor_restrict_unprivileged_userns").trim() == "1" => {
            "allow it by: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or by an AppArmor profile"
        }
        IsolationLevel::Userns if sysctl("user/max_user_namespaces").trim() == "0" => {
            "allow it by: sysctl -w user.max_user_namespaces=10000"
        }
        IsolationLevel::Userns if sysctl("kernel/unprivileged_userns_clone").trim() == "0" => {
            "allow it by: sysctl -w kernel.unprivileged_userns_clone=1"
        }
        IsolationLevel::Userns if in_container => {
            "start the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
             --security-opt systempaths=unconfined"
        }
        IsolationLevel::Userns => "user namespaces of ordinary users must be permitted on this machine",
        IsolationLevel::Process | IsolationLevel::Unisolated => {
            "the state directory must be writable and reachable"
        }
    }
}
