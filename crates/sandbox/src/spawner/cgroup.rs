//! Limits and accounting by control groups, version 1, version 2, or a mix of both, written file by file.
//!
//! All groups of one spawner are below one parent group (per hierarchy), so that a sum can be bounded and leftovers of
//! a crash be found: the parents' paths are kept in a file of the state directory.

mod hierarchy;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use self::hierarchy::{Mount, Version, delegate};
use super::step::Step;
use crate::protocol::{Failure, FreezeFile};

const CPU_PERIOD_US: u32 = 20_000; // Firecracker, and so AWS, throttles in slices of about 20 ms.
const RECORD: &str = "cgroups";
const PARENT_PREFIX: &str = "lambfold-";

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
    /// A version 2 hierarchy, with or without controllers, or else that of version 1's freezer.
    freezer: Option<Controller>,
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
        let prefix = format!("{PARENT_PREFIX}{}-", pid_namespace());
        let name = format!("{prefix}{}", std::process::id());
        let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
        for mount in mounts.iter().filter(|mount| mount.version == Version::V2) {
            found.use_v2(mount, &own, &prefix, &name);
        }
        for mount in mounts.iter().filter(|mount| mount.version == Version::V1) {
            found.use_v1(mount, &own, &prefix, &name);
        }
        let record: Vec<String> = found.parents.iter().map(|path| path.display().to_string()).collect();
        if fs::write(state_dir.join(RECORD), record.join("\n")).is_err() {
            warn("cannot record the control groups; a crash would leave them behind");
        }
        found
    }

    fn use_v1(&mut self, mount: &Mount, own: &str, prefix: &str, name: &str) {
        let wanted: Vec<&str> = mount
            .controllers
            .iter()
            .map(String::as_str)
            // Of the freezers version 2's is faster, and needs no hierarchy of its own.
            .filter(|c| ["memory", "pids", "cpu"].contains(c) || (*c == "freezer" && self.freezer.is_none()))
            .collect();
        if wanted.is_empty() {
            return;
        }
        let Some(group) = mount.own_group(own) else { return };
        sweep_orphans(&group, prefix);
        let parent = group.join(name);
        if fs::create_dir(&parent).is_err() {
            return;
        }
        for controller in wanted {
            self.set(controller, Controller { parent: parent.clone(), version: Version::V1 });
        }
        self.parents.push(parent);
    }

    fn use_v2(&mut self, mount: &Mount, own: &str, prefix: &str, name: &str) {
        let Some(group) = mount.own_group(own) else { return };
        let Some((parent, delegated)) = [group, mount.at.clone()].into_iter().find_map(|group| {
            sweep_orphans(&group, prefix);
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
        self.freezer = Some(Controller { parent: parent.clone(), version: Version::V2 });
        self.parents.push(parent);
    }

    fn set(&mut self, controller: &str, value: Controller) {
        match controller {
            "memory" => self.memory = Some(value),
            "pids" => self.pids = Some(value),
            "freezer" => self.freezer = Some(value),
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

    /// Makes the groups of one sandbox.
    pub(super) fn make(&self, name: &str) -> Result<Group, Failure> {
        let group = Group { directories: self.parents.iter().map(|parent| parent.join(name)).collect() };
        for directory in &group.directories {
            if let Err(error) = fs::create_dir(directory) {
                group.remove();
                return Err(error).step(format_args!("make the control group {}", directory.display()));
            }
        }
        Ok(group)
    }

    /// Sets what an assignment asks for. `tmp_mb` is the size of a memory-backed `/tmp`: the kernel counts its pages
    /// to the group, AWS does not count them to the function's memory, so the hard limit is the sum of both, and the
    /// spawner watches what is not `/tmp`'s.
    pub(super) fn limit(
        &self,
        name: &str,
        memory_mb: u32,
        tmp_mb: u32,
        processes: u32,
    ) -> Result<(), Failure> {
        if let Some(memory) = &self.memory {
            let bytes = (u64::from(memory_mb) + u64::from(tmp_mb)) << 20;
            memory.limit_memory(&memory.parent.join(name), bytes).step("set the memory limit")?;
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

    /// The file that tells all that the kernel counts to the group, in bytes.
    pub(super) fn memory_now_file(&self, name: &str) -> Option<File> {
        let memory = self.memory.as_ref()?;
        let file = match memory.version {
            Version::V1 => "memory.usage_in_bytes",
            Version::V2 => "memory.current",
        };
        File::open(memory.parent.join(name).join(file)).ok()
    }

    /// What processes have allocated, and what is in memory-backed files and shared segments, in bytes. Not: cached
    /// files, which the kernel drops when it must.
    pub(super) fn memory_own(&self, name: &str) -> Option<(u64, u64)> {
        let memory = self.memory.as_ref()?;
        let anonymous = match memory.version {
            Version::V1 => "rss ",
            Version::V2 => "anon ",
        };
        let text = fs::read_to_string(memory.parent.join(name).join("memory.stat")).ok()?;
        let value = |name| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        Some((value(anonymous)?, value("shmem ").unwrap_or(0)))
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
    pub(super) fn freeze_file(&self, name: &str) -> Option<(FreezeFile, File)> {
        let freezer = self.freezer.as_ref()?;
        let kind = match freezer.version {
            Version::V1 => FreezeFile::V1,
            Version::V2 => FreezeFile::V2,
        };
        let file = File::options().write(true).open(freezer.parent.join(name).join(kind.name())).ok()?;
        Some((kind, file))
    }

    /// Lets what has been killed die, if it is frozen in a way that keeps it from that.
    pub(super) fn let_die(&self, name: &str) {
        if let Some(freezer) = &self.freezer
            && freezer.version == Version::V1
        {
            thaw_v1(&freezer.parent.join(name));
        }
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
    /// Moves the calling process there.
    pub(super) fn enter(&self) -> Result<(), Failure> {
        for directory in &self.directories {
            fs::write(directory.join("cgroup.procs"), "0")
                .step(format_args!("enter the control group {}", directory.display()))?;
        }
        Ok(())
    }

    /// Removes the groups; false if one is still busy, which passes shortly after its last process was reaped.
    pub(super) fn remove(&self) -> bool {
        self.directories.iter().all(|directory| match fs::remove_dir(directory) {
            Err(error) => error.kind() == io::ErrorKind::NotFound,
            Ok(()) => true,
        })
    }
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

/// Removes the parents of spawners that have ended without a record that would be read again: those of this pid
/// namespace whose process is no more. (A name of another namespace says nothing about who lives there.)
fn sweep_orphans(group: &Path, prefix: &str) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix(prefix)) else { continue };
        if !Path::new("/proc").join(pid).exists() {
            remove_tree(&entry.path());
        }
    }
}

/// The number of this process's pid namespace.
fn pid_namespace() -> String {
    let link = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.to_string_lossy().chars().filter(char::is_ascii_digit).collect()
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
    thaw_v1(group);
}

fn thaw_v1(group: &Path) {
    // Made by nobody if it is not there: only directories of that hierarchy have it.
    if let Ok(file) = File::options().write(true).open(group.join(FreezeFile::V1.name())) {
        let _ = io::Write::write_all(&mut &file, FreezeFile::V1.word(false));
    }
}

/// The spawner has no subscriber; what it has to say goes to standard error, which is the worker's.
fn warn(text: &str) {
    eprintln!("lambfold spawner: {text}");
}
