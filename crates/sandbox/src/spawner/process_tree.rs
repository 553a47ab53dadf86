//! The processes below one process, read from /proc: for killing them where no pid namespace does, and for watching
//! their memory where no cgroup does.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process, kill_process_group};

/// All descendants of a process, parents before children. Without the process itself.
pub(super) fn descendants(of: Pid) -> Vec<Pid> {
    let mut found = children(of);
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        found.extend(children(pid));
        next += 1;
    }
    found
}

/// The children of all threads of a process.
pub(super) fn children(of: Pid) -> Vec<Pid> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{of}/task")).into_iter().flatten().flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(text) => found.extend(text.split_whitespace().filter_map(parse_pid)),
            // A kernel without CONFIG_PROC_CHILDREN, or the thread has just ended.
            Err(_) if thread.path().exists() => return children_by_scan(of),
            Err(_) => {}
        }
    }
    found
}

fn children_by_scan(of: Pid) -> Vec<Pid> {
    let parent = of.to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| {
            let pid = parse_pid(entry.file_name().to_str()?)?;
            (*stat(pid)?.get(PARENT)? == parent).then_some(pid)
        })
        .collect()
}

/// Places in [`stat`].
const STATE: usize = 0;
const PARENT: usize = 1;
const GROUP: usize = 2;

/// What the kernel says of a process, from its state on: the name before that, in parentheses, may contain anything.
fn stat(pid: Pid) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn parse_pid(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}

/// Kills all descendants. Orphans must stay below `of`: it is their pid namespace's first process or a subreaper.
pub(super) fn kill_descendants(of: Pid) {
    // What forks while it is killed is found in the next round; a round kills every process it sees, so that only a
    // fork bomb needs many.
    for round in 0..200 {
        let all = descendants(of);
        if all.iter().all(|pid| is_dead(*pid)) {
            return;
        }
        // A group at one blow: nobody in it can fork on. A bomb mostly is one.
        for group in groups(&all) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        for pid in all {
            let _ = kill_process(pid, Signal::KILL);
        }
        if round > 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The process groups of `processes`, but for the one of this process: a function has a session of its own, and no group that
/// is in another.
fn groups(processes: &[Pid]) -> HashSet<Pid> {
    let group = |pid: Pid| parse_pid(stat(pid)?.get(GROUP)?);
    let mut groups: HashSet<Pid> = processes.iter().filter_map(|pid| group(*pid)).collect();
    if let Some(mine) = group(getpid()) {
        groups.remove(&mine);
    }
    groups
}

/// Signals all descendants; with SIGSTOP also those that are made meanwhile.
pub(super) fn signal_descendants(of: Pid, signal: Signal) {
    let mut before = Vec::new();
    for _ in 0..20 {
        let all = descendants(of);
        for pid in &all {
            let _ = kill_process(*pid, signal);
        }
        // What has been stopped makes no more.
        if signal != Signal::STOP || all == before {
            return;
        }
        before = all;
    }
}

fn is_dead(pid: Pid) -> bool {
    stat(pid).is_none_or(|stat| stat.get(STATE).is_none_or(|state| state.starts_with(['Z', 'X'])))
}

/// What the processes of a sandbox use together.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    /// Memory that is theirs alone or shared among them on purpose: heaps, stacks, shared segments.
    pub(super) own_bytes: u64,
    /// Resident memory with the shared libraries, as the kernel's own peak per process has it.
    pub(super) peak_bytes: u64,
    /// Processes and threads.
    pub(super) tasks: u32,
}

/// The usage of all descendants of a process.
pub(super) fn usage(of: Pid) -> Usage {
    let mut sum = Usage::default();
    for pid in descendants(of) {
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
        let one = parse_status(&status);
        sum.own_bytes += one.own_bytes;
        sum.peak_bytes += one.peak_bytes;
        sum.tasks += one.tasks;
    }
    sum
}

fn parse_status(status: &str) -> Usage {
    let mut usage = Usage::default();
    for line in status.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let Some(Ok(value)) = value.split_whitespace().next().map(str::parse::<u64>) else { continue };
        match name {
            "VmHWM" => usage.peak_bytes = value << 10,
            "RssAnon" | "RssShmem" => usage.own_bytes += value << 10,
            "Threads" => usage.tasks = u32::try_from(value).unwrap_or(u32::MAX),
            _ => {}
        }
    }
    usage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_found_both_ways_and_its_memory_counted() {
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let me = getpid();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(descendants(me).contains(&pid));
        assert!(children_by_scan(me).contains(&pid));
        assert!(!is_dead(pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_dead(pid));
    }

    #[test]
    fn groups_are_those_of_others() {
        use std::os::unix::process::CommandExt;
        let mut shell = std::process::Command::new("/bin/sh");
        let mut shell = shell.args(["-c", "sleep 60 & sleep 60 & wait"]).process_group(0).spawn().unwrap();
        let me = getpid();
        let pid = Pid::from_raw(i32::try_from(shell.id()).unwrap()).unwrap();
        assert!(groups(&descendants(me)).contains(&pid));
        assert!(groups(&[me]).is_empty());
        kill_process_group(pid, Signal::KILL).unwrap();
        shell.wait().unwrap();
    }

    #[test]
    fn status_is_read() {
        let text = "Name:\ta:b\nVmHWM:\t    2048 kB\nRssAnon:\t 100 kB\nRssFile:\t 900 kB\nRssShmem:\t  24 kB\nThreads:\t3\n";
        assert_eq!(parse_status(text), Usage { own_bytes: 124 << 10, peak_bytes: 2048 << 10, tasks: 3 });
        assert_eq!(parse_status("Threads:\tmany\n"), Usage::default());
    }
}
