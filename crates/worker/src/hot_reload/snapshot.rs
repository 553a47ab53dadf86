//! What a directory looked like: enough to tell that something in it was changed, and nothing of what files contain.

use std::fs::Metadata;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files and directories that code may have: what it costs to look at them is bounded.
pub(super) const MAX_ENTRIES: usize = 65_536;

/// Two are equal if nothing in the directory has changed between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) root: PathBuf,
    pub(super) entries: usize,
    /// Of all entries, in no order.
    sum: u64,
}

impl Snapshot {
    /// Of the directory as it is now. `None` if there is too much in it.
    pub(super) fn of(root: &Path) -> Option<Self> {
        let mut snapshot = Self { root: root.to_owned(), entries: 0, sum: 0 };
        // The directory itself may be another one under the same name, after a build.
        snapshot.add(root, root.symlink_metadata().ok().as_ref());
        let mut directories = vec![root.to_owned()];
        while let Some(directory) = directories.pop() {
            // One that cannot be read is known by itself.
            let Ok(entries) = directory.read_dir() else { continue };
            for entry in entries.flatten() {
                if snapshot.entries == MAX_ENTRIES {
                    return None;
                }
                let (path, metadata) = (entry.path(), entry.metadata().ok());
                snapshot.add(&path, metadata.as_ref());
                if metadata.is_some_and(|metadata| metadata.is_dir()) {
                    directories.push(path);
                }
            }
        }
        Some(snapshot)
    }

    fn add(&mut self, path: &Path, metadata: Option<&Metadata>) {
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        if let Some(it) = metadata {
            // The time of the last change of any kind tells also of files whose other times were set back.
            let times = (it.mtime(), it.mtime_nsec(), it.ctime(), it.ctime_nsec());
            (it.dev(), it.ino(), it.mode(), it.len(), times).hash(&mut hasher);
        }
        self.entries += 1;
        self.sum = self.sum.wrapping_add(hasher.finish());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_change_shows() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("code");
        fs::create_dir_all(root.join("deep/er")).unwrap();
        fs::write(root.join("deep/er/file"), "one").unwrap();
        let mut before = Snapshot::of(&root).unwrap();
        assert_eq!(Snapshot::of(&root), Some(before.clone()));
        let changes: [(&str, &dyn Fn()); 5] = [
            ("content", &|| fs::write(root.join("deep/er/file"), "two").unwrap()),
            ("name", &|| fs::rename(root.join("deep/er/file"), root.join("deep/er/other")).unwrap()),
            ("link", &|| std::os::unix::fs::symlink("nowhere", root.join("link")).unwrap()),
            ("removal", &|| fs::remove_dir_all(root.join("deep")).unwrap()),
            ("another directory", &|| {
                fs::rename(&root, place.path().join("old")).unwrap();
                fs::create_dir(&root).unwrap();
                std::os::unix::fs::symlink("nowhere", root.join("link")).unwrap();
            }),
        ];
        for (what, change) in changes {
            // Times of files are as coarse as the kernel's tick.
            std::thread::sleep(std::time::Duration::from_millis(20));
            change();
            let after = Snapshot::of(&root).unwrap();
            assert_ne!(before, after, "{what}");
            before = after;
        }
    }
}
