//! What all sandboxes of one spawner stand on: the level, the shared root, the filter, whose ids they run under.

use std::fs;
use std::path::{Path, PathBuf};

use super::cgroup::Cgroups;
use super::step::Step;
use super::{base_root, fence, seccomp, sys};
use crate::protocol::{Failure, Settings};
use crate::{Capabilities, IsolationLevel};

/// The ids that AWS shows to functions (`sbx_user1051`).
pub(super) const SHOWN_UID: u32 = 993;
pub(super) const SHOWN_GID: u32 = 990;

/// Under whose id a function runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// In a user namespace of its own, where this id of the surrounding one is shown as [`SHOWN_UID`].
    Mapped { uid: u32, gid: u32 },
    /// This id, plainly.
    Plain { uid: u32, gid: u32 },
    /// That of the spawner.
    Inherited,
}

/// See the module.
#[expect(clippy::struct_excessive_bools, reason = "each is a capability of its own")]
pub(super) struct Ground {
    pub(super) level: IsolationLevel,
    /// Mount point of the shared root, at levels that have one.
    pub(super) root: PathBuf,
    pub(super) state_dir: PathBuf,
    pub(super) extra_readonly: Vec<PathBuf>,
    pub(super) filter: Vec<sys::Instruction>,
    pub(super) landlock: bool,
    /// Whether sandboxes get a network device; then it has been seen to work.
    pub(super) network_device: bool,
    /// Whether each function gets a user namespace of its own.
    map_ids: bool,
    first_uid: u32,
    privileged: bool,
}

impl Ground {
    /// Prepares this process for sandboxes of a level. It cannot be undone: try it in a child first.
    pub(super) fn lay(level: IsolationLevel, settings: &Settings, first_uid: u32) -> Result<Self, Failure> {
        let network_device = settings.network_device && level >= IsolationLevel::Userns;
        let root = settings.state_dir.join("root");
        let privileged = rustix::process::geteuid().is_root();
        match level {
            IsolationLevel::Full => {
                if !privileged {
                    return Err(Failure::Setup("not root".to_owned()));
                }
                sys::unshare(libc::CLONE_NEWNS).step("make a mount namespace")?;
                base_root::build(&root, &settings.extra_readonly, network_device)?;
            }
            IsolationLevel::Userns => {
                enter_user_namespace()?;
                base_root::build(&root, &settings.extra_readonly, network_device)?;
            }
            IsolationLevel::Process | IsolationLevel::Unisolated => {}
        }
        Ok(Self {
            level,
            root,
            state_dir: settings.state_dir.clone(),
            extra_readonly: settings.extra_readonly.clone(),
            filter: seccomp::filter(level < IsolationLevel::Userns),
            landlock: level > IsolationLevel::Unisolated && fence::available(),
            network_device,
            map_ids: level == IsolationLevel::Userns
                || (level == IsolationLevel::Full && user_namespaces_work()),
            first_uid,
            privileged,
        })
    }

    /// Whether sandboxes have namespaces and a root of their own.
    pub(super) fn separate(&self) -> bool {
        self.level >= IsolationLevel::Userns
    }

    /// Whose id the function of a slot runs under.
    pub(super) fn identity(&self, slot: u32) -> Identity {
        let own = self.first_uid + slot;
        match self.level {
            IsolationLevel::Userns => Identity::Mapped { uid: SHOWN_UID, gid: SHOWN_GID },
            IsolationLevel::Full if self.map_ids => Identity::Mapped { uid: own, gid: own },
            IsolationLevel::Full => Identity::Plain { uid: own, gid: own },
            IsolationLevel::Process if self.privileged => Identity::Plain { uid: own, gid: own },
            IsolationLevel::Process | IsolationLevel::Unisolated => Identity::Inherited,
        }
    }

    /// What the worker may rely on.
    pub(super) fn capabilities(&self, cgroups: &Cgroups) -> Capabilities {
        Capabilities {
            own_network: self.separate(),
            network_device: self.network_device,
            own_root: self.separate(),
            memory_limit: cgroups.limits_memory(),
            pids_limit: cgroups.limits_pids() || self.separate(),
            cpu_quota: cgroups.limits_cpu(),
            freeze: cgroups.freezes(),
            landlock: self.landlock,
        }
    }

    /// What is weaker here than the level promises.
    pub(super) fn notes(&self, cgroups: &Cgroups) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.landlock && self.level > IsolationLevel::Unisolated {
            notes.push("this kernel does not enforce Landlock: the second fence is missing".to_owned());
        }
        if self.landlock && self.level == IsolationLevel::Process && !fence::scopes() {
            notes.push(
                "Landlock of this kernel (before 6.12) fences off no signals and abstract sockets: functions can end \
                 each other and Lambfold"
                    .to_owned(),
            );
        }
        if self.level == IsolationLevel::Full && !self.map_ids {
            notes.push("functions see their real uid: user namespaces are refused".to_owned());
        }
        if !cgroups.limits_memory() {
            notes.push("no writable memory control group: a watchdog bounds memory".to_owned());
        }
        if !cgroups.limits_cpu() {
            notes.push("no writable cpu control group: CPU is not shared by memory size".to_owned());
        }
        notes
    }

    /// A sandbox's directory on the host, at levels without an own root.
    pub(super) fn slot_dir(&self, sandbox: u64) -> PathBuf {
        self.state_dir.join("slots").join(sandbox.to_string())
    }

    /// What Landlock lets a function read besides its code.
    pub(super) fn readable(&self) -> Vec<PathBuf> {
        if self.separate() {
            return vec!["/".into()];
        }
        let system = [
            "/usr",
            "/bin",
            "/sbin",
            "/lib",
            "/lib32",
            "/lib64",
            "/etc",
            "/opt",
            "/nix",
            "/proc",
            "/sys/devices",
        ];
        system.iter().map(PathBuf::from).chain(self.extra_readonly.iter().cloned()).collect()
    }
}

/// Makes this process all-powerful in a user namespace that contains only its own id, shown as the function's.
fn enter_user_namespace() -> Result<(), Failure> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    sys::unshare(libc::CLONE_NEWUSER).step("make a user namespace")?;
    write_map(Path::new("/proc/self/setgroups"), "deny").step("give up supplementary groups")?;
    write_map(Path::new("/proc/self/uid_map"), &format!("{SHOWN_UID} {uid} 1")).step("map the user id")?;
    write_map(Path::new("/proc/self/gid_map"), &format!("{SHOWN_GID} {gid} 1")).step("map the group id")?;
    sys::unshare(libc::CLONE_NEWNS).step("make a mount namespace in a user namespace")
}

/// A map file takes one write of the whole, and no truncation.
pub(super) fn write_map(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    fs::File::options().write(true).open(path)?.write_all(text.as_bytes())
}

fn user_namespaces_work() -> bool {
    sys::fork(libc::CLONE_NEWUSER, || 0).is_ok_and(|child| {
        let ended = rustix::process::waitpid(Some(child.pid), rustix::process::WaitOptions::empty());
        ended.is_ok()
    })
}
