//! What the disk charges for durability at this moment: every figure of a durable send rests on it.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Appends that are timed; enough for a median, few enough to fit between two runs.
const APPENDS: usize = 64;
/// A page of SQLite's log.
const PAGE_BYTES: usize = 4096;

/// The median time of an append of 4 KiB with its fdatasync, in a file of its own in `directory`.
pub fn fdatasync_p50(directory: &Path) -> std::io::Result<Duration> {
    let path = directory.join("fdatasync.probe");
    let mut file = File::create(&path)?;
    let mut times = Vec::with_capacity(APPENDS);
    for _ in 0..APPENDS {
        let began = Instant::now();
        file.write_all(&[0x5a; PAGE_BYTES])?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    std::fs::remove_file(&path)?;
    times.sort_unstable();
    Ok(times.get(APPENDS / 2).copied().unwrap_or_default())
}
