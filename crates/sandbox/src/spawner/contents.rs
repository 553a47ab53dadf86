//! What a sandbox with a root of its own is given with its function: code, layers, `/tmp`, host name. All of it can be
//! given to one in which a program runs already.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::mount::MountFlags;

use super::ground::{Identity, SHOWN_GID, SHOWN_UID};
use super::step::Step;
use super::{base_root, sys};
use crate::driver::{Assignment, SECOND_PLACES};
use crate::protocol::Failure;

const TMP_FLAGS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// Attaches the detached mounts of the code and, if there are layers, of the layers, and shows again what is to be.
pub(super) fn attach_code(
    assignment: &Assignment,
    mounts: impl IntoIterator<Item = OwnedFd>,
) -> Result<(), Failure> {
    let mut mounts = mounts.into_iter();
    let code = mounts.next().ok_or_else(|| Failure::Setup("no code was handed over".to_owned()))?;
    base_root::attach(code, Path::new("/var/task"))?;
    match mounts.next() {
        Some(layers) => base_root::attach(layers, Path::new("/opt"))?,
        // What the root has there is for waiting programs only.
        None => rustix::mount::mount_bind("/mnt", "/opt").step("mount an empty /opt")?,
    }
    for (place, directory) in &assignment.seen_again {
        if !SECOND_PLACES.iter().any(|known| Path::new(known) == place) {
            return Err(Failure::Invalid(format!("nothing can be seen again at {}", place.display())));
        }
        base_root::show_again(directory, place)?;
    }
    Ok(())
}

/// Mounts `/tmp`, of `megabytes`.
pub(super) fn mount_tmp(identity: Identity, megabytes: u32) -> Result<(), Failure> {
    let (uid, gid) = match identity {
        Identity::Mapped { uid, gid } | Identity::Plain { uid, gid } => (uid, gid),
        Identity::Inherited => (SHOWN_UID, SHOWN_GID),
    };
    let options = format!("mode=0700,uid={uid},gid={gid},{}", size(megabytes));
    let options = CString::new(options).step("name the options of /tmp")?;
    rustix::mount::mount("tmp", "/tmp", "tmpfs", TMP_FLAGS, options.as_c_str()).step("mount /tmp")
}

/// Gives a `/tmp` that is mounted another size. (Another mount over it would be none that Landlock has permitted.)
pub(super) fn resize_tmp(megabytes: u32) -> Result<(), Failure> {
    let options = CString::new(size(megabytes)).step("name the options of /tmp")?;
    rustix::mount::mount_remount("/tmp", TMP_FLAGS, options.as_c_str()).step("set the size of /tmp")
}

fn size(megabytes: u32) -> String {
    // An inode costs about a kilobyte of kernel memory; a small file in every 16 KiB is more than packages have.
    let inodes = u64::from(megabytes) * 64;
    format!("size={megabytes}m,nr_inodes={inodes}")
}

/// Sets the host name as seen inside.
pub(super) fn set_host_name(name: &str) -> Result<(), Failure> {
    let name = CString::new(name).step("read the host name")?;
    sys::set_host_name(&name).step("set the host name")
}
