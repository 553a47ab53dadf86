//! One directory out of several layers, laid over each other as AWS unpacks them into `/opt`: a later one wins.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Lays the unpacked `layers` over each other in `destination`, which must not exist. Files are hard links where the
/// file system allows it: nobody may write to them. Directories are merged; anything else replaces what it meets.
/// The count of entries made.
pub(super) fn merge<'a>(layers: impl Iterator<Item = &'a Path>, destination: &Path) -> io::Result<usize> {
    let mut entries = 0;
    directory(destination)?;
    for layer in layers {
        entries += lay(layer, destination, &|_| Ok(Take::Yes))?;
    }
    Ok(entries)
}

/// Whether an entry of a layer is taken.
pub(super) enum Take {
    Yes,
    No,
}

/// No link is ever followed: both trees are looked at entry by entry, and what is no directory is replaced.
/// `take` is asked about every entry, by where it would be, before any of its directory is taken.
pub(super) fn lay(from: &Path, to: &Path, take: &dyn Fn(&Path) -> io::Result<Take>) -> io::Result<usize> {
    let mut entries = 0;
    let mut taken = Vec::new();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if matches!(take(&to.join(entry.file_name()))?, Take::Yes) {
            taken.push(entry);
        }
    }
    for entry in taken {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let (kind, there) = (entry.file_type()?, fs::symlink_metadata(&target).ok());
        let merges = kind.is_dir() && there.as_ref().is_some_and(fs::Metadata::is_dir);
        match &there {
            Some(old) if old.is_dir() && !merges => fs::remove_dir_all(&target)?,
            Some(_) if !merges => fs::remove_file(&target)?,
            _ => {}
        }
        entries += 1;
        if kind.is_dir() {
            if !merges {
                directory(&target)?;
            }
            entries += lay(&source, &target, take)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
        } else if fs::hard_link(&source, &target).is_err() {
            // Too many links, or a file system without them. The copy has the mode, too.
            fs::copy(&source, &target)?;
        }
    }
    Ok(entries)
}

/// Past the process's umask.
pub(super) fn directory(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(root: &Path, files: &[(&str, &str)], links: &[(&str, &str)]) {
        for (name, content) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
        }
        for (name, target) in links {
            symlink(target, root.join(name)).unwrap();
        }
    }

    #[test]
    fn the_later_layer_wins_and_links_are_never_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        layer(
            &at("one"),
            &[("bin/tool", "1"), ("bin/only", "1"), ("was/dir/file", "1"), ("outside", "1")],
            &[("link", "bin")],
        );
        fs::set_permissions(at("one/bin/only"), Permissions::from_mode(0o755)).unwrap();
        layer(
            &at("two"),
            &[("bin/tool", "2"), ("was/dir", "2"), ("link/tool", "2")],
            &[("relative", "bin/tool")],
        );
        merge([at("one"), at("two")].iter().map(|it| &**it), &at("opt")).unwrap();
        let read = |name: &str| fs::read_to_string(at("opt").join(name)).unwrap();
        assert_eq!(
            (read("bin/tool"), read("bin/only"), read("was/dir")),
            ("2".into(), "1".into(), "2".into())
        );
        assert_eq!((read("relative"), read("outside")), ("2".into(), "1".into()));
        assert_eq!(fs::metadata(at("opt/bin/only")).unwrap().permissions().mode() & 0o777, 0o755);
        // The directory of the second layer took the link's place; nothing came into `bin` through it.
        assert!(!fs::symlink_metadata(at("opt/link")).unwrap().is_symlink());
        assert_eq!(read("link/tool"), "2");
        assert_eq!(fs::read_to_string(at("one/bin/tool")).unwrap(), "1", "a layer itself stays what it is");
    }
}
