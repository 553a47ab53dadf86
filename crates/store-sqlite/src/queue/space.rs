//! Whether the disk has room for new messages.

use std::path::{Path, PathBuf};

use lambfold_queue::store::{Result, StoreError};

/// Looks at the disk before new messages are written, so that some room is left for what makes room again.
#[derive(Debug)]
pub(super) struct Space {
    directory: PathBuf,
    reserve_bytes: u64,
}

impl Space {
    pub(super) fn new(database: &Path, reserve_bytes: u64) -> Self {
        let directory = database.parent().filter(|parent| !parent.as_os_str().is_empty());
        Self { directory: directory.unwrap_or(Path::new(".")).to_owned(), reserve_bytes }
    }

    /// [`StoreError::Full`] if less than the reserve is free. Where that cannot be told, SQLite will tell.
    pub(super) fn check(&self) -> Result<()> {
        if self.free().is_some_and(|free| free < self.reserve_bytes) { Err(StoreError::Full) } else { Ok(()) }
    }

    /// Bytes that are free on the disk, if that can be told.
    pub(super) fn free(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.directory).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}
