//! The spawner's side of making a sandbox: forks init, and turns requests into what init is handed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use rustix::net::SendFlags;

use super::base_root::detached_copy;
use super::cgroup::{Cgroups, Group};
use super::ground::Ground;
use super::init::{self, Order};
use super::step::Step;
use super::sys::{self, Child};
use crate::packet;
use crate::protocol::Failure;
use crate::{Assignment, SandboxTemplate};

/// A forked init that has been told to build its sandbox.
pub(super) struct Launched {
    pub(super) init: Child,
    pub(super) socket: OwnedFd,
    pub(super) group: Group,
}

/// Forks the init of a sandbox into its namespaces and control groups, and has it build.
pub(super) fn launch(
    ground: &Ground,
    cgroups: &Cgroups,
    template: &SandboxTemplate,
    sandbox: u64,
    slot: u32,
) -> Result<Launched, Failure> {
    require_absolute(&template.runtime_dir)?;
    let runtime = if ground.separate() { Some(detached_copy(&template.runtime_dir)?) } else { None };
    let (socket, its_socket) = packet::pair().step("make a socket pair")?;
    let plan = init::Plan {
        ground,
        sandbox,
        identity: ground.identity(slot),
        listen: &template.listen,
        runtime: runtime.as_ref(),
        runtime_dir: &template.runtime_dir,
    };
    let namespaces = if ground.separate() {
        libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS
    } else {
        0
    };
    let init = sys::fork(namespaces, || init::run(&plan, &its_socket)).step("make namespaces")?;
    drop(its_socket);
    let entered = cgroups.enter(&sandbox.to_string(), init.pid.as_raw_nonzero().get());
    // If this fails init sees the end of the socket and ends; its caller must reap it all the same.
    let group = match entered {
        Ok(group) => group,
        Err(failure) => {
            drop(socket);
            reap(&init);
            return Err(failure);
        }
    };
    if let Err(failure) = order(&socket, &Order::Build, &[]) {
        drop(socket);
        reap(&init);
        group.remove();
        return Err(failure);
    }
    Ok(Launched { init, socket, group })
}

fn reap(init: &Child) {
    let _ = rustix::process::pidfd_send_signal(&init.pidfd, rustix::process::Signal::KILL);
    let _ = rustix::process::waitpid(Some(init.pid), rustix::process::WaitOptions::empty());
}

/// Has a built sandbox start its function, which [`check`] found to make sense.
pub(super) fn start(
    ground: &Ground,
    socket: &OwnedFd,
    sandbox: u64,
    assignment: Assignment,
    output: &OwnedFd,
) -> Result<(), Failure> {
    let mut mounts = Vec::new();
    if ground.separate() {
        mounts.push(detached_copy(&assignment.code_dir)?);
        mounts.extend(merged_layers(&assignment.layers)?);
    } else {
        link_layers(ground, sandbox, &assignment.layers)?;
    }
    let descriptors: Vec<BorrowedFd<'_>> = [output].into_iter().chain(&mounts).map(AsFd::as_fd).collect();
    order(socket, &Order::Start(assignment), &descriptors)
}

fn order(socket: &OwnedFd, order: &Order, descriptors: &[BorrowedFd<'_>]) -> Result<(), Failure> {
    packet::send(socket, order, descriptors, SendFlags::empty()).step("tell init")
}

/// Refuses what cannot work, before anything is changed.
pub(super) fn check(assignment: &Assignment) -> Result<(), Failure> {
    for directory in [&assignment.code_dir].into_iter().chain(&assignment.layers) {
        require_absolute(directory)?;
    }
    // The command and the environment are checked where they become C strings, in init.
    if assignment.memory_mb == 0 || assignment.ephemeral_storage_mb == 0 {
        return Err(Failure::Invalid("memory and ephemeral storage must not be zero".to_owned()));
    }
    if assignment.open_files < 16 || assignment.processes == 0 {
        return Err(Failure::Invalid("a function needs at least 16 files and one process".to_owned()));
    }
    if assignment.hostname.len() > 63 {
        return Err(Failure::Invalid("the host name is longer than 63 bytes".to_owned()));
    }
    Ok(())
}

fn require_absolute(path: &Path) -> Result<(), Failure> {
    if path.is_absolute() {
        Ok(())
    } else {
        Err(Failure::Invalid(format!("'{}' is not an absolute path", path.display())))
    }
}

/// The mount for `/opt`: nothing, the one layer, or an overlay of several in which later ones win.
fn merged_layers(layers: &[PathBuf]) -> Result<Option<OwnedFd>, Failure> {
    match layers {
        [] => Ok(None),
        [one] => detached_copy(one).map(Some),
        several => {
            let overlay =
                rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).step("open overlayfs")?;
            // The first is the uppermost. (A colon separates directories; a backslash protects one in a name.)
            let lower: Vec<String> = several
                .iter()
                .rev()
                .map(|layer| layer.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:"))
                .collect();
            rustix::mount::fsconfig_set_string(overlay.as_fd(), "lowerdir", lower.join(":"))
                .step("name the layers")?;
            rustix::mount::fsconfig_create(overlay.as_fd()).step("merge the layers")?;
            let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
                | MountAttrFlags::MOUNT_ATTR_NOSUID
                | MountAttrFlags::MOUNT_ATTR_NODEV;
            rustix::mount::fsmount(overlay.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
                .step("mount the layers")
                .map(Some)
        }
    }
}

/// Without an own root `/opt` is a link to the layer in the sandbox's directory.
fn link_layers(ground: &Ground, sandbox: u64, layers: &[PathBuf]) -> Result<(), Failure> {
    let opt = ground.slot_dir(sandbox).join("opt");
    match layers {
        [] => std::fs::create_dir(&opt).step("make an empty directory for layers"),
        [one] => std::os::unix::fs::symlink(one, &opt).step("link the layer"),
        several => Err(Failure::Invalid(format!(
            "{} layers need a root of their own to be merged in, which isolation level {} has not",
            several.len(),
            ground.level
        ))),
    }
}
