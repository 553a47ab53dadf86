//! Which cgroup hierarchies are mounted, where this process is in them, and what it may pass on to children.

use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// A mounted hierarchy.
pub(super) struct Mount {
    pub(super) at: PathBuf,
    /// The group that is seen at `at`.
    root: String,
    pub(super) version: Version,
    pub(super) controllers: Vec<String>,
}

impl Mount {
    /// From a line of /proc/self/mountinfo; `None` for everything else than writable cgroup mounts.
    pub(super) fn parse(line: &str) -> Option<Self> {
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
    pub(super) fn own_group(&self, own: &str) -> Option<PathBuf> {
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
pub(super) fn delegate(group: &Path) -> Vec<&'static str> {
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
