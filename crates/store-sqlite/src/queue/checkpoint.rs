//! Checkpoints: what was committed is moved from the write-ahead log into the database. Mostly a thread and a connection
//! of their own do it beside the commits. While commits follow each other closely it never catches up with the last
//! one, so now and then the writer itself moves the little that is left, after which the log is written from its start
//! again.

use std::ffi::c_int;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use lambfold_queue::store::{Result, StoreError};
use rusqlite::Connection;
use rusqlite::wal::CheckpointMode;

use super::driver;

/// Frames (a page of 4 KiB and a header each) that the write-ahead log has, about: 16 MiB. It is kept that long, as a write into
/// a file that grows has to make the file's new length and blocks durable, too.
const LOG_FRAMES: usize = 4096;

/// The same in bytes: a header, and frames with a header each.
pub(super) const LOG_BYTES: u64 = 32 + (4096 + 24) * LOG_FRAMES as u64;

/// After this many frames (a page of 4 KiB each) a checkpoint is made even if there is no pause. A commit of a few
/// messages writes a page for each place that it touches, so bytes of messages would say nothing.
const BUSY_FRAMES: usize = LOG_FRAMES / 4;

/// In a pause, after this many: 1 MiB.
const IDLE_FRAMES: usize = 256;

/// From this length on the writer has the log begin anew, before it has to grow...
const FINISH_FRAMES: usize = LOG_FRAMES * 3 / 4;

/// ... and tries again after as many if a reader or the other thread was in its way.
const FINISH_AGAIN_FRAMES: usize = 128;

#[derive(Debug)]
pub(super) struct Checkpointer {
    log: Arc<Log>,
    /// `None` once it is being stopped.
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How long the log is.
#[derive(Debug, Default)]
struct Log {
    /// In frames, as of the last commit.
    frames: AtomicUsize,
    /// The same when a checkpoint was last asked for.
    asked: Mutex<usize>,
}

impl Log {
    /// Whether it has grown by at least `frames` since a checkpoint was asked for; then one is, by the caller.
    fn is_due(&self, frames: usize) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        has_grown(&mut asked, self.frames.load(Ordering::Relaxed), frames)
    }
}

/// Whether `now` is at least `by` more than `mark`, which then is set to it. A log that is shorter has begun anew.
fn has_grown(mark: &mut usize, now: usize, by: usize) -> bool {
    if *mark > now {
        *mark = 0;
    }
    let grown = now - *mark >= by;
    if grown {
        *mark = now;
    }
    grown
}

impl Checkpointer {
    /// Makes checkpoints of what `writer` commits over `connection`, which is its own.
    pub(super) fn start(writer: &mut Connection, connection: Connection) -> Result<Self> {
        let log = Arc::new(Log::default());
        let told = log.clone();
        let mut tried = 0;
        // In the place of SQLite's own automatic checkpoint.
        let hook = move |log: &mut rusqlite::hooks::Wal, frames: c_int| {
            let frames = usize::try_from(frames).unwrap_or_default();
            told.frames.store(frames, Ordering::Relaxed);
            if frames < FINISH_FRAMES {
                tried = 0;
            } else if has_grown(&mut tried, frames, FINISH_AGAIN_FRAMES)
                && let Err(error) = log.checkpoint_v2(CheckpointMode::PASSIVE)
            {
                // Mostly since the other thread is at it. The commit is done whatever becomes of this.
                tracing::debug!(%error, "a checkpoint was left to a later commit");
            }
            Ok(())
        };
        writer.wal_hook(Some(hook)).map_err(driver)?;
        let (wake, woken) = sync_channel(1);
        let body = move || {
            while woken.recv().is_ok() {
                if let Err(error) = make(&connection) {
                    tracing::warn!(%error, "a checkpoint failed");
                }
            }
        };
        let thread = std::thread::Builder::new().name("queue-checkpoint".to_owned()).spawn(body);
        let thread = thread.map_err(|error| StoreError::Driver(error.into()))?;
        Ok(Self { log, wake: Some(wake), thread: Some(thread) })
    }

    /// Something was committed.
    pub(super) fn written(&self) {
        // After that the thread would be in the writer's way.
        if self.log.frames.load(Ordering::Relaxed) < FINISH_FRAMES && self.log.is_due(BUSY_FRAMES) {
            self.wake();
        }
    }

    /// There is a pause.
    pub(super) fn idle(&self) {
        if self.log.is_due(IDLE_FRAMES) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(wake) = &self.wake {
            match wake.try_send(()) {
                // One that waits to be made covers this one.
                Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
            }
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the checkpointer panicked");
        }
    }
}

/// Makes a checkpoint of as much as readers and the writer allow, without making them wait.
pub(super) fn make(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_due_by_what_was_written_since_the_last() {
        let log = Log::default();
        let mut due_at = |frames: usize| {
            log.frames.store(frames, Ordering::Relaxed);
            log.is_due(100)
        };
        assert_eq!([99, 100, 101, 199, 200].map(&mut due_at), [false, true, false, false, true]);
        // It has begun anew.
        assert_eq!([1, 99, 100, 150].map(&mut due_at), [false, false, true, false]);
    }
}
