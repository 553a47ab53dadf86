//! Room in the write-ahead log before it is needed. A commit into a file that grows has to make the file's new length and
//! blocks durable, too, which takes half as long again as one that writes over what is there (`docs/performance.md`).

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::space::Space;

/// Frames (a page of 4 KiB and a header each) that the log has room for: 16 MiB. Checkpoints see to it that it is long
/// enough.
pub(super) const ROOM_FRAMES: usize = 4096;

/// The same in bytes: a header, and frames with a header each.
pub(super) const ROOM_BYTES: u64 = 32 + (4096 + 24) * ROOM_FRAMES as u64;

/// On a disk that has less than this many times the room nothing is taken in advance.
const SMALL_DISK: u64 = 64;

/// Lets the log of `writer`'s database at `path` have its room, unless it has it already (after a kill) or the disk is
/// small. Where that fails the log grows as it is used.
///
/// # Errors
/// If `writer` is no longer as it was before.
pub(super) fn make(writer: &Connection, path: &Path, space: &Space) -> rusqlite::Result<()> {
    let length = std::fs::metadata(log_of(path)).map_or(0, |log| log.len());
    if length >= ROOM_BYTES || space.free().is_some_and(|free| free < SMALL_DISK * ROOM_BYTES) {
        return Ok(());
    }
    let cache: i64 = writer.pragma_query_value(None, "cache_size", |row| row.get(0))?;
    let written = write(writer);
    if !writer.is_autocommit() {
        writer.execute_batch("ROLLBACK")?;
    }
    writer.pragma_update(None, "cache_size", cache)?;
    if let Err(error) = written.and_then(|()| begin_anew(writer)) {
        tracing::debug!(%error, "the write-ahead log got no room in advance");
    }
    Ok(())
}

/// A transaction that writes into the log and is left open: rolled back, its frames are free.
fn write(writer: &Connection) -> rusqlite::Result<()> {
    // Pages that the cache has no place for go into the log at once.
    writer.pragma_update(None, "cache_size", 10)?;
    writer.execute_batch("BEGIN IMMEDIATE; CREATE TABLE room (frames)")?;
    writer.execute("INSERT INTO room VALUES (zeroblob(4096 * ?1))", [ROOM_FRAMES.cast_signed()])?;
    Ok(())
}

/// A commit of nothing new, so that the first of a message does not have all that to make durable.
fn begin_anew(writer: &Connection) -> rusqlite::Result<()> {
    let version: i64 = writer.pragma_query_value(None, "user_version", |row| row.get(0))?;
    writer.pragma_update(None, "user_version", version)
}

/// Where SQLite keeps the log of the database at `path`.
fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}
