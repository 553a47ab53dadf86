//! Directories of the developer's own machine that stand in for packages: LocalStack's convention, by which code in the
//! bucket `hot-reload` is the directory that its key names, as it is at each moment.

use std::io;
use std::path::{Component, Path, PathBuf};

/// The bucket that stands for this machine's directories.
pub const HOT_RELOAD_BUCKET: &str = "hot-reload";

/// What `CodeSha256` says of code that changes all the time; LocalStack says the same.
pub const HOT_RELOAD_SHA256: &str = "hot-reloading-hash-not-available";

/// Which directories functions may lie in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HotReload {
    /// These, and whatever is below them.
    pub directories: Vec<PathBuf>,
    /// Whose directories may be used too, but for hidden ones: keys and credentials lie there.
    pub home: Option<PathBuf>,
}

/// Why a directory cannot be used. The texts are for who asked for it.
#[derive(Debug, thiserror::Error)]
pub enum HotReloadError {
    /// It is not to be used at all.
    #[error(
        "Hot reload is off: worker.hot_reload names no directories (--strict, and listening for other machines, take \
         the home directory away)."
    )]
    Off,
    /// The key is none.
    #[error("Hot reload needs the absolute path of a directory as S3Key, not '{0}'.")]
    Relative(String),
    /// Nothing is there, or it cannot be reached.
    #[error("Hot reload: {path} cannot be used: {source}")]
    Unreachable {
        /// What was asked for.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file.
    #[error("Hot reload: {0} is not a directory.")]
    NoDirectory(String),
    /// Not below what is allowed.
    #[error(
        "Hot reload: {0} is not below one of the directories that worker.hot_reload allows (of '~', hidden directories and \
         the home itself are not)."
    )]
    Outside(String),
}

impl HotReload {
    /// The directory that `key` names, with all symbolic links resolved. Asks the file system.
    ///
    /// # Errors
    ///
    /// When there is no such directory, or it is not allowed.
    pub fn resolve(&self, key: &str) -> Result<PathBuf, HotReloadError> {
        if self.directories.is_empty() && self.home.is_none() {
            return Err(HotReloadError::Off);
        }
        if !Path::new(key).is_absolute() {
            return Err(HotReloadError::Relative(key.to_owned()));
        }
        let unreachable = |source| HotReloadError::Unreachable { path: key.to_owned(), source };
        let found = Path::new(key).canonicalize();
        // Before it is said what is there, or where links lead: who may not use it does not learn that either.
        if !self.allows(found.as_deref().unwrap_or(&without_dots(Path::new(key)))) {
            return Err(HotReloadError::Outside(key.to_owned()));
        }
        let path = found.map_err(unreachable)?;
        if path.metadata().map_err(unreachable)?.is_dir() {
            Ok(path)
        } else {
            Err(HotReloadError::NoDirectory(key.to_owned()))
        }
    }

    fn allows(&self, path: &Path) -> bool {
        let below = |directory: &PathBuf| {
            let resolved = directory.canonicalize().ok()?;
            path.strip_prefix(resolved).or_else(|_| path.strip_prefix(directory)).ok().map(Path::to_owned)
        };
        self.directories.iter().any(|directory| below(directory).is_some())
            || self.home.as_ref().and_then(below).is_some_and(|rest| {
                !rest.as_os_str().is_empty() && rest.components().all(|component| !is_hidden(component))
            })
    }
}

/// The path without `.` and `..`, for what cannot be asked of the file system.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

fn is_hidden(component: Component<'_>) -> bool {
    component.as_os_str().as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_an_allowed_directory_is_allowed_whatever_links_say() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for name in ["work/one", "home/project", "home/.ssh", "other"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        std::fs::write(at("work/file"), "").unwrap();
        std::os::unix::fs::symlink(at("other"), at("work/out")).unwrap();
        std::os::unix::fs::symlink(at("work/one"), at("other/in")).unwrap();
        let rules = HotReload { directories: vec![at("work")], home: Some(at("home")) };
        let outcome = |name: &str| match rules.resolve(at(name).to_str().unwrap()) {
            Ok(_) => "yes",
            Err(HotReloadError::Outside(_)) => "outside",
            Err(HotReloadError::NoDirectory(_)) => "file",
            Err(HotReloadError::Unreachable { .. }) => "unreachable",
            Err(HotReloadError::Off | HotReloadError::Relative(_)) => "off",
        };
        for (name, expected) in [
            ("work", "yes"),
            ("work/one", "yes"),
            ("other/in", "yes"),
            ("home/project", "yes"),
            ("home", "outside"),
            ("home/.ssh", "outside"),
            ("other", "outside"),
            ("work/out", "outside"),
            ("work/../other", "outside"),
            ("work/file", "file"),
            ("work/nothing", "unreachable"),
            ("home/nothing", "unreachable"),
            ("home/.ssh/nothing", "outside"),
            ("other/nothing", "outside"),
            ("work/../other/nothing", "outside"),
        ] {
            assert_eq!(outcome(name), expected, "{name}");
        }
        assert!(matches!(rules.resolve("work/one"), Err(HotReloadError::Relative(_))));
        assert!(matches!(HotReload::default().resolve("/"), Err(HotReloadError::Off)));
    }
}
