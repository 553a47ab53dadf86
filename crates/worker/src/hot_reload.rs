//! Code that is a directory of this machine, live: what an environment was given is compared with what is there before each
//! invocation, so that none runs code which has been replaced.
//!
//! The comparison is the truth; watching the directory only ends idle environments sooner and saves looking at large trees.

mod snapshot;
mod watch;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use lambfold_package::{HotReload, HotReloadError};
use lambfold_sandbox::IsolationLevel;
use lambfold_types::Clock;

use self::snapshot::{MAX_ENTRIES, Snapshot};
use self::watch::Watch;
use crate::error::LaunchError;
use crate::failure::Failure;
use crate::packages::Package;

/// Up to so many files and directories are looked at whatever the watch says, which takes a few milliseconds.
const ALWAYS_LOOKED_AT: usize = 4096;
/// How long nothing must happen before changes are looked at: an editor, a build, write many files.
const QUIET: Duration = Duration::from_millis(100);

/// What a worker knows of such directories.
pub(crate) struct HotReloads {
    rules: HotReload,
    level: IsolationLevel,
    /// Shared by the environments of a directory; gone with the last of them.
    watches: Mutex<HashMap<PathBuf, Weak<Watch>>>,
}

/// A directory as an environment was given it.
pub(crate) struct HotCode {
    /// As the function names it.
    key: String,
    rules: HotReload,
    given: Snapshot,
    /// `None` where the system refuses to watch it.
    watch: Option<Arc<Watch>>,
    /// What the watch had counted by then.
    count: u64,
}

impl HotReloads {
    pub(crate) fn new(rules: HotReload, level: IsolationLevel) -> Self {
        Self { rules, level, watches: Mutex::default() }
    }

    /// The directory that `key` names, as it is now.
    pub(crate) async fn open(self: &Arc<Self>, key: &str) -> Result<Package, LaunchError> {
        let (this, key) = (Arc::clone(self), key.to_owned());
        let opened = tokio::task::spawn_blocking(move || this.look(key)).await;
        let code =
            opened.unwrap_or_else(|_| Err("Hot reload: looking at the directory was cut off.".to_owned()));
        let code = code.map_err(|text| LaunchError::Function(Failure::hot_reload(text)))?;
        let path = Arc::new(code.given.root.clone());
        Ok(Package::live(path, Arc::new(code)))
    }

    fn look(&self, key: String) -> Result<HotCode, String> {
        let text = |error: HotReloadError| error.to_string();
        let root = self.rules.resolve(&key).map_err(text)?;
        self.check_readable(&root)?;
        let look = || {
            Snapshot::of(&root).ok_or_else(|| {
                let root = root.display();
                format!("Hot reload: {root} has more than {MAX_ENTRIES} files; name a smaller directory.")
            })
        };
        // Before it is watched, which costs per directory, and after: what happens between the two must not be missed.
        look()?;
        let watch = self.watch(&root);
        let count = watch.as_ref().map_or(0, |watch| watch.count());
        let given = look()?;
        Ok(HotCode { key, rules: self.rules.clone(), given, watch, count })
    }

    /// With a user of its own a function is one of the others.
    fn check_readable(&self, root: &Path) -> Result<(), String> {
        use std::os::unix::fs::PermissionsExt;
        let readable = if self.level == IsolationLevel::Full {
            root.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o005 == 0o005)
        } else {
            rustix::fs::access(root, rustix::fs::Access::READ_OK | rustix::fs::Access::EXEC_OK).is_ok()
        };
        if readable {
            return Ok(());
        }
        let root = root.display();
        Err(format!("Hot reload: functions may not read {root}: allow it with chmod -R o+rX."))
    }

    fn watch(&self, root: &Path) -> Option<Arc<Watch>> {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.retain(|_, watch| watch.strong_count() > 0);
        // One that is lost, or of a directory that has been replaced by another, sees nothing any more.
        let known = watches.get(root).and_then(Weak::upgrade).filter(|watch| watch.sees(root));
        if known.is_some() {
            return known;
        }
        match Watch::start(root) {
            Ok(watch) => {
                let watch = Arc::new(watch);
                watches.insert(root.to_owned(), Arc::downgrade(&watch));
                Some(watch)
            }
            Err(error) => {
                tracing::warn!(%error, path = %root.display(), "cannot watch a directory: it is looked at before each invocation");
                None
            }
        }
    }
}

impl HotCode {
    /// Whether what is there now is not what the environment was given.
    pub(crate) async fn has_changed(self: &Arc<Self>) -> bool {
        let this = Arc::clone(self);
        tokio::task::spawn_blocking(move || this.differs()).await.unwrap_or(true)
    }

    fn differs(&self) -> bool {
        if self.rules.resolve(&self.key).ok().as_ref() != Some(&self.given.root) {
            return true;
        }
        let quiet = self
            .watch
            .as_ref()
            .is_some_and(|watch| watch.sees(&self.given.root) && watch.count() == self.count);
        if quiet && self.given.entries > ALWAYS_LOOKED_AT {
            return false;
        }
        Snapshot::of(&self.given.root).as_ref() != Some(&self.given)
    }

    /// Returns when it has changed and nothing happened for a moment. Without a watch, never.
    pub(crate) async fn changed(self: Arc<Self>, clock: Arc<dyn Clock>) {
        let Some(watch) = &self.watch else { return std::future::pending().await };
        let mut events = watch.events();
        let mut seen = self.count;
        loop {
            let Ok(count) = events.wait_for(|count| *count != seen).await.map(|count| *count) else {
                return std::future::pending().await;
            };
            seen = count;
            clock.sleep_until(clock.now() + QUIET).await;
            if *events.borrow() == seen && self.has_changed().await {
                return;
            }
        }
    }
}
