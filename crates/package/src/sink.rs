//! Where entries go: nowhere, or into a fresh directory.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::error::{EntryProblem, PackageError};

/// Takes what the archive holds. Paths are relative, checked, and lead through directories only: nothing is ever told
/// that lies below a symbolic link, so nothing can be written through one.
pub(crate) trait Sink {
    /// Where a file's content goes.
    type File: Write;

    /// A directory, with all above it.
    fn directory(&mut self, path: &Path) -> io::Result<()>;
    /// A file, whose directory is there.
    fn file(&mut self, path: &Path) -> io::Result<Self::File>;
    /// All of a file's content is written.
    fn finish(&mut self, file: Self::File, executable_bits: u32) -> io::Result<()>;
    /// A symbolic link, whose directory is there.
    fn symlink(&mut self, path: &Path, target: &Path) -> io::Result<()>;
    /// Another name for a file that is there.
    fn hard_link(&mut self, path: &Path, existing: &Path) -> io::Result<()>;
    /// Takes away a file or a link that is there.
    fn remove(&mut self, path: &Path) -> io::Result<()>;
}

/// Takes everything and keeps nothing.
pub(crate) struct Discard;

impl Sink for Discard {
    type File = io::Sink;

    fn directory(&mut self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn file(&mut self, _: &Path) -> io::Result<Self::File> {
        Ok(io::sink())
    }

    fn finish(&mut self, _: Self::File, _: u32) -> io::Result<()> {
        Ok(())
    }

    fn symlink(&mut self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn hard_link(&mut self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&mut self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// A directory that nobody else writes to.
pub(crate) struct Destination {
    root: PathBuf,
    /// The directory made last: files of one directory usually follow each other.
    latest: PathBuf,
}

impl Destination {
    /// Makes `root`, lets `unpack` fill it, and removes it again if that fails.
    pub(crate) fn fill<T>(
        root: &Path,
        unpack: impl FnOnce(&mut Self) -> Result<T, PackageError>,
    ) -> Result<T, PackageError> {
        // Closed to others until it is whole.
        DirBuilder::new().mode(0o700).create(root).map_err(PackageError::Io)?;
        let mut destination = Self { root: root.to_owned(), latest: PathBuf::new() };
        let outcome = unpack(&mut destination)
            .and_then(|value| set_mode(root, 0o755).map(|()| value).map_err(PackageError::Io));
        if outcome.is_err() {
            // The first failure is the one to tell; what could not be removed is the caller's cache to clean.
            let _ = fs::remove_dir_all(root);
        }
        outcome
    }
}

impl Sink for Destination {
    type File = File;

    fn directory(&mut self, path: &Path) -> io::Result<()> {
        if path == self.latest {
            return Ok(());
        }
        let mut whole = self.root.clone();
        for component in path {
            whole.push(component);
            match DirBuilder::new().mode(0o755).create(&whole) {
                // Past the process's umask.
                Ok(()) => set_mode(&whole, 0o755)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        path.clone_into(&mut self.latest);
        Ok(())
    }

    fn file(&mut self, path: &Path) -> io::Result<File> {
        // `create_new` follows no link and takes no file that is there.
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.root.join(path))
    }

    fn finish(&mut self, file: File, executable_bits: u32) -> io::Result<()> {
        file.set_permissions(Permissions::from_mode(0o644 | (executable_bits & 0o111)))
    }

    fn symlink(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        symlink(target, self.root.join(path))
    }

    fn hard_link(&mut self, path: &Path, existing: &Path) -> io::Result<()> {
        // Links a symbolic link itself, if `existing` were one.
        fs::hard_link(self.root.join(existing), self.root.join(path))
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        fs::remove_file(self.root.join(path))
    }
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// What a failed write to the destination means: on a file system that ignores case, two names may be one.
pub(crate) fn write_error(entry: &str, error: io::Error) -> PackageError {
    match error.kind() {
        io::ErrorKind::AlreadyExists => PackageError::entry(entry.as_bytes(), EntryProblem::DuplicateName),
        _ => PackageError::Io(error),
    }
}
