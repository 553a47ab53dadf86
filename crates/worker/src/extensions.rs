//! Which external extensions a function's layers bring: every file directly in `/opt/extensions`, by its name (facts:
//! execution environment §2). Looked up on the host, in the unpacked layers.

use std::fs;
use std::io;
use std::path::Path;

/// A layer with this file turns all extensions off, as AWS's own tools do.
const DISABLING_FILE: &str = "disable-extensions-jwigqn8j";

/// What the layers say about extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extensions {
    /// Whether the Extensions API is served.
    pub(crate) enabled: bool,
    /// The external ones, in the order of their names.
    pub(crate) external: Vec<String>,
}

impl Extensions {
    /// Those of a function whose `/opt` is `layers` on this machine.
    pub(crate) fn of(layers: Option<&Path>) -> io::Result<Self> {
        let mut found = Self { enabled: true, external: Vec::new() };
        let Some(layers) = layers else { return Ok(found) };
        if fs::symlink_metadata(layers.join(DISABLING_FILE)).is_ok() {
            found.enabled = false;
            return Ok(found);
        }
        // Not through a link: it would be followed on the host.
        let directory = layers.join("extensions");
        if !fs::symlink_metadata(&directory).is_ok_and(|it| it.is_dir()) {
            return Ok(found);
        }
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            // A link is one, too, and is followed inside. What cannot be executed fails there, as on AWS.
            if !entry.file_type()?.is_dir() {
                // A name that is no text could not be registered.
                found.external.extend(entry.file_name().into_string());
            }
        }
        found.external.sort_unstable();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_of_one_directory_are_extensions() {
        let layers = tempfile::tempdir().unwrap();
        let at = |name: &str| layers.path().join(name);
        let of = || Extensions::of(Some(layers.path())).unwrap();
        assert_eq!(of(), Extensions { enabled: true, external: vec![] });
        fs::create_dir_all(at("extensions/lib")).unwrap();
        for name in ["b", "a", "lib/c"] {
            fs::write(at("extensions").join(name), "").unwrap();
        }
        symlink("lib/c", at("extensions/link")).unwrap();
        assert_eq!(of().external, ["a", "b", "link"]);
        fs::write(at(DISABLING_FILE), "").unwrap();
        assert_eq!(of(), Extensions { enabled: false, external: vec![] });
        assert!(Extensions::of(None).unwrap().enabled);
    }

    #[test]
    fn a_link_in_the_directorys_place_is_not_followed() {
        let layers = tempfile::tempdir().unwrap();
        symlink("/usr/bin", layers.path().join("extensions")).unwrap();
        assert!(Extensions::of(Some(layers.path())).unwrap().external.is_empty());
    }
}
