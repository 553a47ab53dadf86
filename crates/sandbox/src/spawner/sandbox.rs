//! One sandbox as the spawner knows it, and what watches its memory.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use super::cgroup::{Cgroups, Group};
use super::ground::Ground;
use super::process_tree;
use super::sys::Child;
use crate::ExitStatus;
use crate::protocol::Failure;

/// One sandbox as the spawner knows it.
pub(super) struct Sandbox {
    pub(super) slot: u32,
    pub(super) init: Child,
    pub(super) socket: OwnedFd,
    pub(super) group: Group,
    pub(super) phase: Phase,
    /// What init said about the function's end.
    pub(super) status: Option<ExitStatus>,
    /// What init said when it gave up.
    pub(super) failure: Option<Failure>,
    /// The watchdog killed it.
    pub(super) over_memory: bool,
    pub(super) watched_peak: u64,
    /// The control group's file that tells the memory in use.
    pub(super) memory_now: Option<File>,
}

pub(super) enum Phase {
    /// The number of the call that waits for it.
    Preparing(u64),
    Prepared,
    /// The call, the read end of the output, the limits.
    Assigning(u64, OwnedFd, Limits),
    Running(Limits),
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
        let mut text = [0; 32];
        let now = self.memory_now.as_ref().and_then(|file| {
            let length = file.read_at(&mut text, 0).ok()?;
            std::str::from_utf8(&text[..length]).ok()?.trim().parse::<u64>().ok()
        });
        if now.is_some_and(|now| now <= limits.memory_bytes) {
            return true;
        }
        let Some((anonymous, shared)) = cgroups.memory_own(&sandbox.to_string()) else { return true };
        let in_tmp =
            if ground.separate() { used_bytes(&format!("/proc/{}/root/tmp", self.init.pid)) } else { 0 };
        let within = anonymous + shared.saturating_sub(in_tmp) <= limits.memory_bytes;
        self.over_memory |= !within;
        within
    }

    /// Whether what all processes have together is within the limits.
    pub(super) fn look_at_processes(&mut self, cgroups: &Cgroups, limits: Limits) -> bool {
        let usage = process_tree::usage(self.init.pid);
        self.watched_peak = self.watched_peak.max(usage.peak_bytes);
        self.over_memory |= usage.own_bytes > limits.memory_bytes;
        !self.over_memory && (usage.tasks <= limits.tasks || cgroups.limits_pids())
    }

    pub(super) fn memory_peak(&mut self, cgroups: &Cgroups, sandbox: u64) -> Option<u64> {
        if cgroups.limits_memory() {
            return cgroups.memory_peak(&sandbox.to_string());
        }
        self.watched_peak = self.watched_peak.max(process_tree::usage(self.init.pid).peak_bytes);
        (self.watched_peak > 0).then_some(self.watched_peak)
    }
}

/// What the files of a file system take.
fn used_bytes(path: &str) -> u64 {
    rustix::fs::statvfs(path)
        .map_or(0, |system| (system.f_blocks - system.f_bfree).saturating_mul(system.f_frsize))
}
