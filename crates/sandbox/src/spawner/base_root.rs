//! The root that all sandboxes of a spawner share: read-only views of the host's system directories on a small tmpfs,
//! with nothing of the host's data. Each sandbox mounts what is its own over the empty directories in it.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags};

use super::step::Step;
use super::sys;
use crate::RESOLVER_IPV4;
use crate::driver::SECOND_PLACES;
use crate::protocol::Failure;

/// System directories; where `/usr` is merged all but the first are symbolic links into it.
const SYSTEM: &[&str] = &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// What programs need of `/etc` and what tells nothing about the host.
const CONFIGURATION: &[&str] = &[
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "fonts",
    "gai.conf",
    "ld.so.cache",
    "localtime",
    "mime.types",
    "pki",
    "protocols",
    "services",
    "ssl",
    "timezone",
];

const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom"];

/// Where a sandbox mounts what is its own, and where tools expect a directory. The two `lib` are for programs that wait
/// for their function: the dynamic linker remembers of a directory in `LD_LIBRARY_PATH` that it was not there.
const EMPTY: &[&str] =
    &["proc", "dev", "tmp", "opt/lib", "etc", "var/task/lib", "var/runtime", "mnt", "root", "home"];

const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin\n\
                      sbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin\n\
                      nobody:x:65534:65534:nobody:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nsbx_user1051:x:990:\nnogroup:x:65534:\n";
/// The second is where telemetry is sent.
const HOSTS: &str = "127.0.0.1 localhost\n127.0.0.1 sandbox.localdomain sandbox\n::1 localhost\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n";
const NO_RESOLVER: &str = "# There is no name server in this environment.\n";

/// A copy of a directory of this mount namespace, with all that is mounted below it, attached nowhere yet: read only,
/// no set-uid, no devices.
pub(super) fn detached_copy(path: &Path) -> Result<OwnedFd, Failure> {
    copy(path, false)
}

/// The devices of the shared root, as [`detached_copy`] but for that they are devices.
pub(super) fn devices_copy(root: &Path) -> Result<OwnedFd, Failure> {
    copy(&root.join("dev"), true)
}

fn copy(path: &Path, devices: bool) -> Result<OwnedFd, Failure> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(CWD, path, flags).step(format_args!("open {}", path.display()))?;
    sys::restrict_mount(tree.as_fd(), devices).step(format_args!("make {} read only", path.display()))?;
    Ok(tree)
}

/// Attaches what [`detached_copy`] made.
pub(super) fn attach(tree: impl AsFd, target: &Path) -> Result<(), Failure> {
    rustix::mount::move_mount(tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .step(format_args!("mount {}", target.display()))
}

/// Shows `directory` of this root at `place`, too; not if it is not there. Its names may be the function's, so no link is
/// followed: one in `/proc` would lead out of the root.
pub(super) fn show_again(directory: &Path, place: &Path) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat2(CWD, directory, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
    let opened = match opened {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        opened => opened.step(format_args!("open {}", directory.display()))?,
    };
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(opened, "", flags)
        .step(format_args!("show {} again", directory.display()))?;
    attach(tree, place)
}

/// Builds the root at `at` in this process's mount namespace, which must be a private one. With a `resolver`, programs are
/// told of the one at [`RESOLVER_IPV4`].
pub(super) fn build(at: &Path, extra_readonly: &[PathBuf], resolver: bool) -> Result<(), Failure> {
    // What is mounted here must not appear on the host, and (as a slave would) what the host mounts not here.
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .step("make mounts private")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("lambfold", at, "tmpfs", flags, c"mode=0755,size=4m,nr_inodes=4096")
        .step("mount a tmpfs for the root")?;

    for name in EMPTY {
        make_directory(&at.join(name))?;
    }
    for place in SECOND_PLACES {
        make_directory(&inside(at, Path::new(place)))?;
    }
    for source in SYSTEM {
        show(at, Path::new(source))?;
    }
    fill_etc(at, resolver)?;
    for source in extra_readonly {
        show_extra(at, source)?;
    }
    fill_dev(at)?;
    // ES modules do not look into `NODE_PATH`, but into every directory above theirs: here, and before that in
    // `/var/node_modules`.
    symlink("/opt/nodejs/node_modules", at.join("node_modules")).step("link the modules of layers")?;

    // Only this one mount: what is mounted below it is read only already, device files with reason not `nodev`.
    rustix::mount::mount_remount(at, MountFlags::BIND | MountFlags::RDONLY | flags, c"")
        .step("make the root read only")?;
    Ok(())
}

/// Shows a path of the host under the same name; a symbolic link as a link, what is absent not at all.
fn show(at: &Path, source: &Path) -> Result<(), Failure> {
    let Ok(metadata) = fs::symlink_metadata(source) else { return Ok(()) };
    let target = inside(at, source);
    if let Some(parent) = target.parent() {
        make_directory(parent)?;
    }
    if metadata.is_symlink() {
        let link = fs::read_link(source).step(format_args!("read link {}", source.display()))?;
        return match symlink(link, &target) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(error).step(format_args!("link {}", target.display()))
            }
            _ => Ok(()),
        };
    }
    if metadata.is_dir() {
        make_directory(&target)?;
    } else {
        fs::write(&target, "").step(format_args!("make {}", target.display()))?;
    }
    attach(copy(source, false)?, &target)
}

/// An extra directory may be given by a path with links in it; both that and the real path work inside.
fn show_extra(at: &Path, source: &Path) -> Result<(), Failure> {
    let real = fs::canonicalize(source).step(format_args!("find {}", source.display()))?;
    // What a system directory or an earlier one shows needs no mount of its own.
    if !inside(at, &real).exists() {
        show(at, &real)?;
    }
    if real != source && source.is_absolute() && fs::symlink_metadata(inside(at, source)).is_err() {
        if let Some(parent) = inside(at, source).parent() {
            make_directory(parent)?;
        }
        symlink(&real, inside(at, source)).step(format_args!("link {}", source.display()))?;
    }
    Ok(())
}

fn fill_etc(at: &Path, resolver: bool) -> Result<(), Failure> {
    let etc = at.join("etc");
    let resolv_conf = if resolver { format!("nameserver {RESOLVER_IPV4}\n") } else { NO_RESOLVER.to_owned() };
    for (name, text) in [
        ("passwd", PASSWD),
        ("group", GROUP),
        ("hosts", HOSTS),
        ("nsswitch.conf", NSSWITCH),
        ("resolv.conf", &resolv_conf),
    ] {
        fs::write(etc.join(name), text).step(format_args!("write /etc/{name}"))?;
    }
    for name in CONFIGURATION {
        show(at, &Path::new("/etc").join(name))?;
    }
    // Debian keeps parts of each Java there that its own directory links to.
    for entry in fs::read_dir("/etc").into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("java-") {
            show(at, &entry.path())?;
        }
    }
    Ok(())
}

fn fill_dev(at: &Path) -> Result<(), Failure> {
    let dev = at.join("dev");
    for name in DEVICES {
        let target = dev.join(name);
        fs::write(&target, "").step(format_args!("make {}", target.display()))?;
        attach(copy(&Path::new("/dev").join(name), true)?, &target)?;
    }
    for (name, link) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(link, dev.join(name)).step(format_args!("link /dev/{name}"))?;
    }
    Ok(())
}

fn make_directory(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path).step(format_args!("make {}", path.display()))
}

/// The place of an absolute path of the host in the new root.
fn inside(at: &Path, path: &Path) -> PathBuf {
    at.join(path.strip_prefix("/").unwrap_or(path))
}

/// A directory that this process and others may pass through, made if absent.
pub(super) fn make_passable(path: &Path) -> Result<(), Failure> {
    make_directory(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .step(format_args!("set permissions of {}", path.display()))
}
