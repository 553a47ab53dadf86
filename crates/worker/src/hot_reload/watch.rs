//! The system's word that something happens in a directory. Only a hint: it may come late, or not at all.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
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
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Errors and overflows count, too: something may have happened.
            let matters = event
                .map_or(true, |event| event.need_rescan() || !matches!(event.kind, EventKind::Access(_)));
            if matters {
                counter.send_modify(|count| *count += 1);
            }
        })?;
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
