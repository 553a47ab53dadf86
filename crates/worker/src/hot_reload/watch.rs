//! The system's word that something happens in a directory. Only a hint: it may come late, or not at all.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use notify::{Config, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;

/// Watches until it is dropped.
pub(super) struct Watch {
    /// Counts what happened.
    events: watch::Sender<u64>,
    /// Which directory: under its name there may be another one.
    directory: (u64, u64),
    _watcher: RecommendedWatcher,
}

impl Watch {
    pub(super) fn start(root: &Path) -> notify::Result<Self> {
        let directory = identity(&root.metadata()?);
        let events = watch::Sender::new(0);
        let counter = events.clone();
        let count = move |event: notify::Result<notify::Event>| {
            // Errors and overflows count, too: something may have happened.
            let matters = event
                .map_or(true, |event| event.need_rescan() || !matches!(event.kind, EventKind::Access(_)));
            if matters {
                counter.send_modify(|count| *count += 1);
            }
        };
        // A link is looked at as a link: what it leads to is not the function's, and may be the whole machine.
        let mut watcher = RecommendedWatcher::new(count, Config::default().with_follow_symlinks(false))?;
        watcher.watch(root, RecursiveMode::Recursive)?;
        Ok(Self { events, directory, _watcher: watcher })
    }

    /// Whether what is at `root` is what is watched.
    pub(super) fn sees(&self, root: &Path) -> bool {
        root.metadata().is_ok_and(|metadata| identity(&metadata) == self.directory)
    }

    pub(super) fn count(&self) -> u64 {
        *self.events.borrow()
    }

    pub(super) fn events(&self) -> watch::Receiver<u64> {
        self.events.subscribe()
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::Path;

    use super::Watch;

    /// Whether this process watches a directory, by what the kernel tells of its watches.
    fn is_watched(directory: &Path) -> bool {
        let inode = format!(" ino:{:x} ", directory.metadata().unwrap().ino());
        let files = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
        let watches = files.filter_map(|file| fs::read_to_string(file.path()).ok());
        watches
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .any(|line| line.starts_with("inotify wd:") && line.contains(&inode))
    }

    #[test]
    fn what_links_lead_to_is_not_watched() {
        let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (below, outside) = (root.path().join("below"), other.path().join("outside"));
        fs::create_dir(&below).unwrap();
        fs::create_dir(&outside).unwrap();
        symlink(other.path(), root.path().join("link")).unwrap();
        let _watch = Watch::start(root.path()).unwrap();
        assert!(is_watched(root.path()) && is_watched(&below));
        assert!(!is_watched(other.path()) && !is_watched(&outside));
    }
}
