//! What the kernel tells of processes, and of itself.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Context;

/// What some processes take together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// How many there are.
    pub(crate) processes: usize,
    /// Resident memory, in MiB, of which what several share is counted by halves, thirds, ….
    pub(crate) proportional_mib: f64,
    /// Threads.
    pub(crate) threads: usize,
    /// Open descriptors.
    pub(crate) descriptors: usize,
}

impl Usage {
    /// Of those that still run.
    pub(crate) fn of(processes: &[u32]) -> Self {
        let count = |pid, what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, Iterator::count);
        let mut all = Self::default();
        for pid in processes {
            let Ok(kib) = proportional_kib(*pid) else { continue };
            all.processes += 1;
            all.proportional_mib += f64::from(kib) / 1024.0;
            all.threads += count(*pid, "task");
            all.descriptors += count(*pid, "fd");
        }
        all
    }
}

/// The kernel's own objects, in MiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slab {
    /// What is in use for as long as somebody needs it: what a leak would grow.
    pub(crate) unreclaimable_mib: f64,
    /// Caches that are dropped when memory is wanted: names of files, above all.
    pub(crate) reclaimable_mib: f64,
}

impl Slab {
    /// At this moment, of the whole machine.
    pub(crate) fn now() -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/meminfo")?;
        Ok(Self {
            unreclaimable_mib: mib(&text, "SUnreclaim:")?,
            reclaimable_mib: mib(&text, "SReclaimable:")?,
        })
    }
}

/// Memory of a process that is resident, in MiB: all of it, and what is no file's.
pub(crate) fn resident_mib(pid: u32) -> anyhow::Result<(f64, f64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok((mib(&status, "VmRSS:")?, mib(&status, "RssAnon:")?))
}

/// A process's proportional memory, in KiB.
pub(crate) fn proportional_kib(pid: u32) -> anyhow::Result<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let value = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    Ok(value.and_then(|it| it.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0))
}

/// Mounts in all the mount namespaces in which some processes are.
pub(crate) fn mounts(processes: &[u32]) -> usize {
    let mut seen = BTreeSet::new();
    let mut all = 0;
    for pid in processes {
        let Ok(namespace) = fs::read_link(format!("/proc/{pid}/ns/mnt")) else { continue };
        if seen.insert(namespace) {
            all +=
                fs::read_to_string(format!("/proc/{pid}/mountinfo")).map_or(0, |text| text.lines().count());
        }
    }
    all
}

/// The processes whose parent this one is.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|it| it.parse::<u32>().ok()));
    }
    found
}

/// The size that `text` tells in a line of that name.
fn mib(text: &str, name: &str) -> anyhow::Result<f64> {
    let kib = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = kib.with_context(|| format!("the kernel tells no {name}"))?;
    Ok(kib.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}
