//! The spawner's side of making a sandbox: forks init, and turns requests into what init is handed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
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

/// Each costs a process from the start. AWS permits ten extensions.
const MAX_COMPANIONS: usize = 16;

/// A forked init that has been told to build its sandbox.
pub(super) struct Launched {
    pub(super) init: Child,
    pub(super) socket: OwnedFd,
    pub(super) group: Group,
    /// Of the program that waits, the read end of its output.
    pub(super) output: Option<OwnedFd>,
}

/// Forks the init of a sandbox into its namespaces, where it enters its control groups and builds.
pub(super) fn launch(
    ground: &Ground,
    cgroups: &Cgroups,
    template: &SandboxTemplate,
    sandbox: u64,
    slot: u32,
) -> Result<Launched, Failure> {
    require_absolute(&template.runtime_dir)?;
    let image = template.image_root.as_deref().map(|root| image_copy(ground, template, root)).transpose()?;
    let own_runtime = ground.separate() && image.is_none();
    let runtime = if own_runtime { Some(detached_copy(&template.runtime_dir)?) } else { None };
    let (mut output, mut waiting) = (None, None);
    if let Some(program) = &template.waiting {
        if !ground.separate() {
            return Err(Failure::Invalid("a program can wait only in a root of its own".to_owned()));
        }
        check_limits(program.open_files, program.processes)?;
        let (reader, writer) = output_pipe()?;
        (output, waiting) = (Some(reader), Some((program, writer)));
    }
    let (socket, its_socket) = packet::pair().step("make a socket pair")?;
    let group = cgroups.make(&sandbox.to_string())?;
    let plan = init::Plan {
        ground,
        sandbox,
        identity: ground.identity(slot),
        group: &group,
        waiting,
        listen: &template.listen,
        runtime: runtime.as_ref(),
        image: image.as_ref(),
        runtime_dir: &template.runtime_dir,
    };
    let namespaces = if ground.separate() {
        libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS
    } else {
        0
    };
    match sys::fork(namespaces, || init::run(plan, &its_socket)) {
        Ok(init) => Ok(Launched { init, socket, group, output }),
        Err(error) => {
            group.remove();
            Err(error).step("make namespaces")
        }
    }
}

fn image_copy(ground: &Ground, template: &SandboxTemplate, root: &Path) -> Result<OwnedFd, Failure> {
    require_absolute(root)?;
    if !ground.separate() {
        return Err(Failure::Invalid(format!(
            "an image needs a root of its own, which isolation level {} has not",
            ground.level
        )));
    }
    if template.waiting.is_some() {
        return Err(Failure::Invalid("no program can wait in an image".to_owned()));
    }
    detached_copy(root)
}

/// The pipe for what a function prints: the read end and the write end.
pub(super) fn output_pipe() -> Result<(OwnedFd, OwnedFd), Failure> {
    let (reader, writer) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("make the output pipe")?;
    // The function's user may open it by name (`/dev/stdout`), too; nobody else has a name for it.
    rustix::fs::fchmod(&writer, Mode::WUSR | Mode::WGRP | Mode::WOTH).step("open the output pipe to all")?;
    Ok((reader, writer))
}

/// Has a built sandbox start its function, which [`check`] found to make sense, or hand it to the program that waits, which
/// has its output. `outputs`: the command's, then the companions' if there are any.
pub(super) fn start(
    ground: &Ground,
    socket: &OwnedFd,
    sandbox: u64,
    assignment: Assignment,
    outputs: &[OwnedFd],
    has_image: bool,
) -> Result<(), Failure> {
    let mut mounts = Vec::new();
    if has_image {
        // Code and layers are the image's.
    } else if ground.separate() {
        mounts.push(detached_copy(&assignment.code_dir)?);
        mounts.extend(merged_layers(&assignment.layers)?);
    } else {
        link_layers(ground, sandbox, &assignment.layers)?;
    }
    let descriptors: Vec<BorrowedFd<'_>> = outputs.iter().chain(&mounts).map(AsFd::as_fd).collect();
    packet::send(socket, &Order::Start(Box::new(assignment)), &descriptors, SendFlags::empty())
        .step("tell init")
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
    check_limits(assignment.open_files, assignment.processes)?;
    if assignment.companions.commands.len() > MAX_COMPANIONS {
        return Err(Failure::Invalid(format!("a function has at most {MAX_COMPANIONS} companions")));
    }
    if assignment.hostname.len() > 63 {
        return Err(Failure::Invalid("the host name is longer than 63 bytes".to_owned()));
    }
    Ok(())
}

fn check_limits(open_files: u32, processes: u32) -> Result<(), Failure> {
    if open_files < 16 || processes == 0 {
        return Err(Failure::Invalid("a function needs at least 16 files and one process".to_owned()));
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
