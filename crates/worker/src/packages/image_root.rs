//! The root directory of a container image: its layers laid over each other, and what a sandbox mounts over.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use lambfold_package::{OPAQUE, WHITEOUT};
use lambfold_sandbox::{ROOT_DIRECTORIES, ROOT_FILES};

use super::merge::{Take, directory, lay};

/// Lays the unpacked `layers` over each other in `destination`, which must not exist, as [`super::merge`] does, but that
/// what a layer marks as gone is taken away from those below it. The count of entries made.
pub(super) fn make<'a>(layers: impl Iterator<Item = &'a Path>, destination: &Path) -> io::Result<usize> {
    let mut entries = 0;
    directory(destination)?;
    for layer in layers {
        entries += lay(layer, destination, &take_away)?;
    }
    for name in ROOT_DIRECTORIES {
        let path = destination.join(name);
        if !fs::symlink_metadata(&path).is_ok_and(|it| it.is_dir()) {
            remove(&path)?;
            directory(&path)?;
            entries += 1;
        }
    }
    for name in ROOT_FILES {
        // New ones: what is there is a layer's, too.
        let path = destination.join(name);
        remove(&path)?;
        fs::File::create_new(&path)?;
        entries += 1;
    }
    Ok(entries)
}

/// Does what a whiteout says, which is not taken itself. It is asked before anything of its own layer is there.
fn take_away(target: &Path) -> io::Result<Take> {
    let Some(name) = target.file_name().map(OsStrExt::as_bytes) else { return Ok(Take::No) };
    let Some(directory) = target.parent() else { return Ok(Take::No) };
    if name == OPAQUE.as_bytes() {
        for entry in fs::read_dir(directory)? {
            remove(&entry?.path())?;
        }
        return Ok(Take::No);
    }
    match name.strip_prefix(WHITEOUT.as_bytes()) {
        None => Ok(Take::Yes),
        // Refused when the layer was unpacked.
        Some(b"" | b"." | b"..") => Ok(Take::No),
        Some(gone) => {
            remove(&directory.join(std::ffi::OsStr::from_bytes(gone)))?;
            Ok(Take::No)
        }
    }
}

/// Takes away what is there, without following a link.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn layer(root: &Path, files: &[&str], links: &[(&str, &str)]) {
        fs::create_dir_all(root).unwrap();
        for name in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, root.file_name().unwrap().as_bytes()).unwrap();
        }
        for (name, target) in links {
            symlink(target, root.join(name)).unwrap();
        }
    }

    #[test]
    fn whiteouts_take_away_what_is_below_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        layer(
            &at("one"),
            &["a/x", "a/y", "b/x", "b/deep/y", "c/x", "outside"],
            &[("link", "../outside"), ("etc", "a"), ("tmp", "/tmp")],
        );
        layer(
            &at("two"),
            &[
                "a/.wh.x",
                "a/z",
                "b/.wh..wh..opq",
                "b/new",
                ".wh.c",
                ".wh.link",
                ".wh.missing",
                "d/.wh..wh..opq",
            ],
            &[],
        );
        layer(&at("three"), &["c/again", "proc"], &[]);
        fs::write(at("outside"), "stays").unwrap();
        let layers = [at("one"), at("two"), at("three")];
        make(layers.iter().map(|it| &**it), &at("root")).unwrap();
        let there = |name: &str| fs::symlink_metadata(at("root").join(name)).is_ok();
        for name in ["a/y", "a/z", "b/new", "c/again", "outside", "d"] {
            assert!(there(name), "{name}");
        }
        for name in ["a/x", "b/x", "b/deep", "c/x", "link", "a/.wh.x", "b/.wh..wh..opq", ".wh.c"] {
            assert!(!there(name), "{name}");
        }
        assert_eq!(fs::read_to_string(at("outside")).unwrap(), "stays");
        for name in ROOT_DIRECTORIES {
            assert!(fs::symlink_metadata(at("root").join(name)).unwrap().is_dir(), "{name}");
        }
        for name in ROOT_FILES {
            assert_eq!(fs::read_to_string(at("root").join(name)).unwrap(), "", "{name}");
        }
        assert!(!at("one/a/hosts").exists() && at("one/b/x").exists(), "layers stay what they are");
    }
}
