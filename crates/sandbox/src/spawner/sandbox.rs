//! One sandbox as the spawner knows it, and what watches its memory.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::cgroup::{Cgroups, Group};
use super::ground::Ground;
use super::process_tree;
use super::sys::Child;
use crate::protocol::Failure;
use crate::{Assignment, ExitStatus};

/// One sandbox as the spawner knows it.
pub(super) struct Sandbox {
    pub(super) slot: u32,
    pub(super) init: Child,
    pub(super) socket: OwnedFd,
    pub(super) group: Group,
    pub(super) phase: Phase,
    /// Its root is an image.
    pub(super) has_image: bool,
    /// The program that waits in it for its function.
    pub(super) waiting: Option<Waiting>,
    /// The call that waits for the command's start, where that is not the assignment.
    pub(super) starting: Option<u64>,
    /// The calls that wait for sockets, in the order in which init makes these.
    pub(super) sockets: VecDeque<u64>,
    /// What init said about the function's end.
    pub(super) status: Option<ExitStatus>,
    /// What init said when it gave up.
    pub(super) failure: Option<Failure>,
    /// The watchdog killed it.
    pub(super) over_memory: bool,
    pub(super) watched_peak: u64,
    /// The most that the control group was seen to hold apart from `/tmp`.
    pub(super) own_peak: u64,
    /// The most that `/tmp` was seen to hold.
    pub(super) tmp_peak: u64,
    /// The control group's file that tells the memory in use.
    pub(super) memory_now: Option<File>,
}

pub(super) enum Phase {
    /// The number of the call that waits for it.
    Preparing(u64),
    Prepared,
    /// The call, the read ends of the outputs, the limits.
    Assigning(u64, Outputs, Limits),
    Running(Limits),
}

/// Read ends.
pub(super) struct Outputs {
    pub(super) command: OwnedFd,
    /// Where there are any.
    pub(super) companions: Option<OwnedFd>,
}

/// What the spawner keeps of a program that waits.
pub(super) struct Waiting {
    /// The read end.
    pub(super) output: OwnedFd,
    pub(super) open_files: u32,
    pub(super) processes: u32,
}

impl Waiting {
    /// Whether an assignment asks for what it has been started with.
    pub(super) fn check(&self, assignment: &Assignment) -> Result<(), Failure> {
        let fits = assignment.command.is_empty()
            && assignment.companions.commands.is_empty()
            && (assignment.open_files, assignment.processes) == (self.open_files, self.processes);
        if fits {
            return Ok(());
        }
        Err(Failure::Invalid(
            "a program that waits has its command and limits already, and no companions".to_owned(),
        ))
    }

    /// What it has printed so far, the last of it.
    pub(super) fn last_words(&self) -> String {
        let mut bytes = [0; 4096];
        // Its only writers have ended, or a byte waits: this does not block.
        let mut ready = [PollFd::new(&self.output, PollFlags::IN)];
        let readable =
            poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0);
        let length = if readable { rustix::io::read(&self.output, &mut bytes).unwrap_or(0) } else { 0 };
        let text = String::from_utf8_lossy(&bytes[..length]);
        let last: Vec<&str> = text.lines().rev().take(3).collect();
        last.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) memory_bytes: u64,
    pub(super) tasks: u32,
}

impl Sandbox {
    /// Whether what the control group holds, apart from `/tmp`, is within the limit. What may be above it, because
    /// the kernel's own limit has room for `/tmp`, is over.
    pub(super) fn look_at_group(
        &mut self,
        ground: &Ground,
        cgroups: &Cgroups,
        sandbox: u64,
        limits: Limits,
    ) -> bool {
        // The total is cheap to read, and mostly answers it.
        let now = self.memory_now();
        if let Some(now) = now {
            self.note_peaks(ground, now);
        }
        if now.is_some_and(|now| now <= limits.memory_bytes) {
            return true;
        }
        let Some((anonymous, shared)) = cgroups.memory_own(&sandbox.to_string()) else { return true };
        let in_tmp = self.in_tmp(ground).unwrap_or(0);
        let within = anonymous + shared.saturating_sub(in_tmp) <= limits.memory_bytes;
        self.over_memory |= !within;
        within
    }

    /// All that the kernel counts to the control group.
    fn memory_now(&self) -> Option<u64> {
        let mut text = [0; 32];
        let length = self.memory_now.as_ref()?.read_at(&mut text, 0).ok()?;
        std::str::from_utf8(&text[..length]).ok()?.trim().parse().ok()
    }

    /// What `/tmp` holds, as far as the control group is charged for it. `None` when the sandbox is on its way out.
    fn in_tmp(&self, ground: &Ground) -> Option<u64> {
        if ground.separate() { used_bytes(&format!("/proc/{}/root/tmp", self.init.pid)) } else { Some(0) }
    }

    /// Remembers what a control group that holds `now` adds to the peaks.
    fn note_peaks(&mut self, ground: &Ground, now: u64) {
        // However little of it is `/tmp`'s, the rest is no peak, nor is all of it the kernel's.
        if now <= self.own_peak {
            return;
        }
        let Some(in_tmp) = self.in_tmp(ground) else { return };
        self.tmp_peak = self.tmp_peak.max(in_tmp);
        self.own_peak = self.own_peak.max(now.saturating_sub(in_tmp));
    }

    /// Whether what all processes have together is within the limits.
    pub(super) fn look_at_processes(&mut self, cgroups: &Cgroups, limits: Limits) -> bool {
        let usage = process_tree::usage(self.init.pid);
        self.watched_peak = self.watched_peak.max(usage.peak_bytes);
        self.over_memory |= usage.own_bytes > limits.memory_bytes;
        !self.over_memory && (usage.tasks <= limits.tasks || cgroups.limits_pids())
    }

    /// [`memory_peak`](Self::memory_peak) of a sandbox that lives: with a look at this moment.
    pub(super) fn memory_peak_now(
        &mut self,
        ground: &Ground,
        cgroups: &Cgroups,
        sandbox: u64,
    ) -> Option<u64> {
        if let Some(now) = self.memory_now() {
            self.note_peaks(ground, now);
        }
        self.memory_peak(cgroups, sandbox)
    }

    /// The most memory used so far, apart from what was in `/tmp`. The kernel's own figure has that in it: what is left
    /// without it may be too little, where the two had their peaks at different times, and what was seen is not.
    pub(super) fn memory_peak(&mut self, cgroups: &Cgroups, sandbox: u64) -> Option<u64> {
        if cgroups.limits_memory() {
            let kernel = cgroups.memory_peak(&sandbox.to_string())?;
            return Some(kernel.saturating_sub(self.tmp_peak).max(self.own_peak).min(kernel));
        }
        self.watched_peak = self.watched_peak.max(process_tree::usage(self.init.pid).peak_bytes);
        (self.watched_peak > 0).then_some(self.watched_peak)
    }
}

/// What the files of a file system take.
pub(super) fn used_bytes(path: &str) -> Option<u64> {
    let system = rustix::fs::statvfs(path).ok()?;
    Some((system.f_blocks - system.f_bfree).saturating_mul(system.f_frsize))
}
