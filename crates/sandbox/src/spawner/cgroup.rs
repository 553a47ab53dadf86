//! Limits and accounting by control groups, version 1, version 2, or a mix of both, written file by file.
//!
//! All groups of one spawner are below one parent group (per hierarchy), so that a sum can be bounded and leftovers of
//! a crash be found: the parents' paths are kept in a file of the state directory.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::step::Step;
use crate::protocol::Failure;

const CPU_PERIOD_US: u32 = 20_000; // Firecracker, and so AWS, throttles in slices of about 20 ms.
const RECORD: &str = "cgroups";
const PARENT_PREFIX: &str = "lambfold-";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// A controller that can be used: the parent group in the hierarchy that has it.
#[derive(Debug, Clone)]
struct Controller {
    parent: PathBuf,
    version: Version,
}

/// The hierarchies in which groups can be made here.
#[derive(Debug, Default)]
pub(super) struct Cgroups {
    memory: Option<Controller>,
    pids: Option<Controller>,
    cpu: Option<Controller>,
    /// A version 2 hierarchy, with or without controllers: it can freeze.
    freezer: Option<PathBuf>,
    parents: Vec<PathBuf>,
}

impl Cgroups {
    /// Makes the parent groups where this process may. `state_dir` remembers them for [`sweep`].
    pub(super) fn detect(state_dir: &Path) -> Self {
        let mut found = Self::default();
        let (Ok(mounts), Ok(own)) =
            (fs::read_to_string("/proc/self/mountinfo"), fs::read_to_string("/proc/self/cgroup"))
        else {
            return found;
        };
        let name = format!("{PARENT_PREFIX}{}", std::process::id());
        for mount in mounts.lines().filter_map(Mount::parse) {
            match mount.version {
                Version::V1 => found.use_v1(&mount, &own, &name),
                Version::V2 => found.use_v2(&mount, &own, &name),
            }
        }
        let record: Vec<String> = found.parents.iter().map(|path| path.display().to_string()).collect();
        if fs::write(state_dir.join(RECORD), record.join("\n")).is_err() {
            warn("cannot record the control groups; a crash would leave them behind");
        }
        found
    }

    fn use_v1(&mut self, mount: &Mount, own: &str, name: &str) {
        let wanted: Vec<&str> = mount
            .controllers
            .iter()
            .map(String::as_str)
            .filter(|c| ["memory", "pids", "cpu"].contains(c))
            .collect();
        if wanted.is_empty() {
            return;
        }
        let Some(parent) = mount.own_group(own).map(|group| group.join(name)) else { return };
        if fs::create_dir(&parent).is_err() {
            return;
        }
        for controller in wanted {
            self.set(controller, Controller { parent: parent.clone(), version: Version::V1 });
        }
        self.parents.push(parent);
    }

    fn use_v2(&mut self, mount: &Mount, own: &str, name: &str) {
        let Some(group) = mount.own_group(own) else { return };
        let Some((parent, delegated)) = [group, mount.at.clone()].into_iter().find_map(|group| {
            let delegated = delegate(&group);
            let parent = group.join(name);
            fs::create_dir(&parent).ok().map(|()| (parent, delegated))
        }) else {
            return;
        };
        for controller in delegated {
            if fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}")).is_ok() {
                self.set(controller, Controller { parent: parent.clone(), version: Version::V2 });
            }
        }
        self.freezer = Some(parent.clone());
        self.parents.push(parent);
    }

    fn set(&mut self, controller: &str, value: Controller) {
        match controller {
            "memory" => self.memory = Some(value),
            "pids" => self.pids = Some(value),
            _ => self.cpu = Some(value),
        }
    }

    pub(super) fn limits_memory(&self) -> bool {
        self.memory.is_some()
    }

    pub(super) fn limits_pids(&self) -> bool {
        self.pids.is_some()
    }

    pub(super) fn limits_cpu(&self) -> bool {
        self.cpu.is_some()
    }

    pub(super) fn freezes(&self) -> bool {
        self.freezer.is_some()
    }

    /// Bounds the memory of all sandboxes together.
    pub(super) fn limit_total_memory(&self, megabytes: u64) -> Result<(), Failure> {
        let Some(memory) = &self.memory else { return Ok(()) };
        memory.limit_memory(&memory.parent, megabytes << 20).step("limit the memory of all sandboxes")
    }

    /// Makes the groups of one sandbox and moves a process there.
    pub(super) fn enter(&self, name: &str, pid: i32) -> Result<Group, Failure> {
        let group = Group { directories: self.parents.iter().map(|parent| parent.join(name)).collect() };
        for directory in &group.directories {
            let entered = fs::create_dir(directory)
                .and_then(|()| fs::write(directory.join("cgroup.procs"), pid.to_string()))
                .step(format_args!("enter the control group {}", directory.display()));
            if entered.is_err() {
                group.remove();
                return Err(entered.err().unwrap_or(Failure::Gone));
            }
        }
        Ok(group)
    }

    /// Sets what an assignment asks for.
    pub(super) fn limit(&self, name: &str, memory_mb: u32, processes: u32) -> Result<(), Failure> {
        if let Some(memory) = &self.memory {
            memory
                .limit_memory(&memory.parent.join(name), u64::from(memory_mb) << 20)
                .step("set the memory limit")?;
        }
        if let Some(pids) = &self.pids {
            // One for the sandbox's own first process.
            let file = pids.parent.join(name).join("pids.max");
            fs::write(file, processes.saturating_add(1).to_string()).step("set the limit of processes")?;
        }
        Ok(())
    }

    /// Sets the share of CPU time: thousandths of one CPU, or no limit.
    pub(super) fn set_cpu(&self, name: &str, millis: Option<u32>) -> Result<(), Failure> {
        let Some(cpu) = &self.cpu else { return Ok(()) };
        let directory = cpu.parent.join(name);
        // The kernel refuses quotas under a millisecond.
        let quota = millis.map(|millis| (u64::from(millis) * u64::from(CPU_PERIOD_US) / 1000).max(1000));
        let written = match cpu.version {
            Version::V1 => fs::write(directory.join("cpu.cfs_period_us"), CPU_PERIOD_US.to_string())
                .and_then(|()| {
                    let quota = quota.map_or_else(|| "-1".to_owned(), |quota| quota.to_string());
                    fs::write(directory.join("cpu.cfs_quota_us"), quota)
                }),
            Version::V2 => {
                let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
                fs::write(directory.join("cpu.max"), format!("{quota} {CPU_PERIOD_US}"))
            }
        };
        written.step("set the share of CPU time")
    }

    /// The file that tells the most memory used so far.
    pub(super) fn memory_peak_file(&self, name: &str) -> Option<File> {
        let memory = self.memory.as_ref()?;
        let file = match memory.version {
            Version::V1 => "memory.max_usage_in_bytes",
            Version::V2 => "memory.peak",
        };
        File::open(memory.parent.join(name).join(file)).ok()
    }

    /// The most memory used so far, in bytes.
    pub(super) fn memory_peak(&self, name: &str) -> Option<u64> {
        io::read_to_string(self.memory_peak_file(name)?).ok()?.trim().parse().ok()
    }

    /// Whether the kernel killed a process of the sandbox for want of memory.
    pub(super) fn killed_for_memory(&self, name: &str) -> bool {
        let Some(memory) = &self.memory else { return false };
        let file = match memory.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let text = fs::read_to_string(memory.parent.join(name).join(file)).unwrap_or_default();
        text.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|count| count.trim() != "0")
    }

    /// The file that stops and continues all processes of the sandbox.
    pub(super) fn freeze_file(&self, name: &str) -> Option<File> {
        File::options().write(true).open(self.freezer.as_ref()?.join(name).join("cgroup.freeze")).ok()
    }

    /// Removes the parents. All groups in them must be gone.
    pub(super) fn remove(&self) {
        for parent in &self.parents {
            remove_tree(parent);
        }
    }
}

impl Controller {
    fn limit_memory(&self, group: &Path, bytes: u64) -> io::Result<()> {
        match self.version {
            Version::V1 => {
                fs::write(group.join("memory.limit_in_bytes"), bytes.to_string())?;
                // Memory and swap together, so that nothing is swapped out to get round the limit. Without swap
                // accounting there is no such file; then the group at least does not want to swap.
                if fs::write(group.join("memory.memsw.limit_in_bytes"), bytes.to_string()).is_err() {
                    let _ = fs::write(group.join("memory.swappiness"), "0");
                }
                Ok(())
            }
            Version::V2 => {
                fs::write(group.join("memory.max"), bytes.to_string())?;
                let _ = fs::write(group.join("memory.swap.max"), "0");
                Ok(())
            }
        }
    }
}

/// The groups of one sandbox.
#[derive(Debug)]
pub(super) struct Group {
    directories: Vec<PathBuf>,
}

impl Group {
    /// Removes the groups; false if one is still busy, which passes shortly after its last process was reaped.
    pub(super) fn remove(&self) -> bool {
        self.directories.iter().all(|directory| match fs::remove_dir(directory) {
            Err(error) => error.kind() == io::ErrorKind::NotFound,
            Ok(()) => true,
        })
    }
}

/// A mounted hierarchy.
struct Mount {
    at: PathBuf,
    /// The group that is seen at `at`.
    root: String,
    version: Version,
    controllers: Vec<String>,
}

impl Mount {
    /// From a line of /proc/self/mountinfo; `None` for everything else than writable cgroup mounts.
    fn parse(line: &str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, at, options) = (mount.next()?, mount.next()?, mount.next()?);
        let mut file_system = file_system.split(' ');
        let version = match file_system.next()? {
            "cgroup" => Version::V1,
            "cgroup2" => Version::V2,
            _ => return None,
        };
        if options.split(',').any(|option| option == "ro") {
            return None;
        }
        let controllers = file_system.nth(1).unwrap_or_default().split(',').map(str::to_owned).collect();
        Some(Self { at: at.into(), root: root.to_owned(), version, controllers })
    }

    /// Where this process is in the hierarchy, from the text of /proc/self/cgroup.
    fn own_group(&self, own: &str) -> Option<PathBuf> {
        let path = own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let here = match self.version {
                Version::V2 => controllers.is_empty(),
                Version::V1 => {
                    !controllers.is_empty()
                        && controllers.split(',').all(|c| self.controllers.iter().any(|own| own == c))
                }
            };
            here.then_some(path)
        })?;
        let below =
            path.strip_prefix(self.root.trim_end_matches('/')).unwrap_or(path).trim_start_matches('/');
        let group = self.at.join(below);
        // A group outside of what is mounted here (another cgroup namespace) cannot be named; use what can.
        Some(if group.is_dir() { group } else { self.at.clone() })
    }
}

/// Passes the controllers that are available in a version 2 group on to its children; returns those it has passed on.
fn delegate(group: &Path) -> Vec<&'static str> {
    let available = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    let control = group.join("cgroup.subtree_control");
    let enable = |controller: &str| fs::write(&control, format!("+{controller}"));
    let wanted = ["memory", "pids", "cpu"]
        .into_iter()
        .filter(|wanted| available.split_whitespace().any(|c| c == *wanted));
    let mut passed = Vec::new();
    for controller in wanted {
        let mut result = enable(controller);
        // A group with processes of its own passes nothing on. If they are only Lambfold's, they can sit in a child.
        if result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY)) && move_aside(group)
        {
            result = enable(controller);
        }
        if result.is_ok() {
            passed.push(controller);
        }
    }
    passed
}

/// Moves the processes of a group into a child of it, if they all are this one and its parent.
fn move_aside(group: &Path) -> bool {
    let ours = [std::process::id(), std::os::unix::process::parent_id()];
    let Ok(processes) = fs::read_to_string(group.join("cgroup.procs")) else { return false };
    if !processes.lines().all(|pid| pid.parse().is_ok_and(|pid: u32| ours.contains(&pid))) {
        return false;
    }
    let aside = group.join("lambfold");
    if !aside.is_dir() && fs::create_dir(&aside).is_err() {
        return false;
    }
    processes.lines().all(|pid| fs::write(aside.join("cgroup.procs"), pid).is_ok())
}

/// Kills and removes what a spawner that was killed has left, as recorded in its state directory.
pub(super) fn sweep(state_dir: &Path) {
    let record = fs::read_to_string(state_dir.join(RECORD)).unwrap_or_default();
    for parent in record.lines().map(Path::new) {
        let ours = parent.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PARENT_PREFIX));
        // Only a directory of a cgroup file system has this file.
        if ours && parent.join("cgroup.procs").exists() {
            remove_tree(parent);
        }
    }
}

/// Kills all processes in a group and below it, and removes the groups, as far as that goes within a second.
fn remove_tree(group: &Path) {
    for _ in 0..100 {
        for entry in fs::read_dir(group).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                kill_members(&entry.path());
                let _ = fs::remove_dir(entry.path());
            }
        }
        match fs::remove_dir(group) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {}
            _ => return,
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    warn(&format!("could not remove the control group {}", group.display()));
}

fn kill_members(group: &Path) {
    for pid in fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
        if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// The spawner has no subscriber; what it has to say goes to standard error, which is the worker's.
fn warn(text: &str) {
    eprintln!("lambfold spawner: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_and_groups_found() {
        let v1 =
            Mount::parse("35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory").unwrap();
        assert_eq!((v1.version, v1.root.as_str()), (Version::V1, "/"));
        assert!(v1.controllers.contains(&"memory".to_owned()));
        let v2 = Mount::parse("41 31 0:38 /docker/a1 /nowhere rw shared:4 - cgroup2 cgroup2 rw").unwrap();
        assert_eq!(v2.version, Version::V2);
        // Outside of what is mounted: the mount itself.
        assert_eq!(v2.own_group("4:memory:/x\n0::/other\n"), Some(PathBuf::from("/nowhere")));
        assert_eq!(v2.own_group("4:memory:/x\n"), None);
        assert!(Mount::parse("41 31 0:38 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw").is_none());
        assert!(Mount::parse("22 27 0:21 / /proc rw,relatime - proc proc rw").is_none());
        assert!(Mount::parse("nonsense").is_none());
    }
}
