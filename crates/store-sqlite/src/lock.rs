//! One process per database file.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Holds `<database>.lock` locked for as long as it lives; the operating system lets go of it with the process.
#[derive(Debug)]
pub(crate) struct DatabaseLock {
    _file: File,
}

/// The lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl DatabaseLock {
    pub(crate) fn take(database: &Path) -> Result<Self, LockError> {
        let mut name: OsString = database.as_os_str().to_owned();
        name.push(".lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&name)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::InUse(database.to_owned())),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }
}
