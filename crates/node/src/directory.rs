//! The data directory: one process at a time, and only its own user looks in.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A data directory that this process has to itself until the value is dropped, or the process ends however it ends.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process uses it.
    #[error(
        "{path} is in use by another Lambfold (process {holder}): stop that one, or choose another --data-dir"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process id that the other one left in the lock file.
        holder: String,
    },
    /// It cannot be made, read or written.
    #[error("cannot use {path} as the data directory")]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// How often a lock that is taken is tried for, and the pauses in between: two seconds, which a process that was killed with
/// gigabytes and hundreds of children may take to be gone.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

impl DataDirectory {
    /// Makes the directory if it is not there, and locks it. One that was killed a moment ago has it still: that is waited for.
    pub fn lock(path: &Path) -> Result<Self, DirectoryError> {
        let io = |source| DirectoryError::Io { path: path.to_path_buf(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
        let path = path.canonicalize().map_err(io)?;
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(io)?;
        let mut attempts = 0;
        let locked = loop {
            attempts += 1;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) if attempts < ATTEMPTS => std::thread::sleep(PAUSE),
                outcome => break outcome,
            }
        };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only for the message: an unreadable file still tells that the directory is taken.
                let _ = file.read_to_string(&mut holder);
                return Err(DirectoryError::InUse { path, holder: holder.trim().to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { path, _lock: file })
    }

    /// Where it is, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_until_the_first_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let first = DataDirectory::lock(&path).unwrap();
        let refused = DataDirectory::lock(&path).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(first);
        DataDirectory::lock(&path).unwrap();
    }
}
