//! Checkpoints beside the commits: what was committed is moved from the WAL into the database by a thread and a
//! connection of their own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use lambfold_queue::store::{Result, StoreError};
use rusqlite::Connection;
use rusqlite::wal::CheckpointMode;

use super::driver;

/// After this many pages of WAL (4 KiB each) a checkpoint is made even if there is no pause: 16 MiB. A commit of a few
/// messages writes a page for each place that it touches, so bytes of messages would say nothing.
const BUSY_PAGES: usize = 4096;

/// In a pause, after this many: 1 MiB. The WAL is then written from its start again, and a commit into a file that does
/// not grow is the cheaper one.
const IDLE_PAGES: usize = 256;

/// After this many a commit makes a checkpoint itself: 64 MiB. The checkpointer comes first unless it is starved, but
/// while commits follow each other closely only this one has the WAL begin anew.
const MOST_PAGES: usize = 16_384;

#[derive(Debug)]
pub(super) struct Checkpointer {
    wal: Arc<Wal>,
    /// `None` once it is being stopped.
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How long the WAL is.
#[derive(Debug, Default)]
struct Wal {
    /// In pages, as of the last commit.
    pages: AtomicUsize,
    /// The same when a checkpoint was last asked for.
    asked: Mutex<usize>,
}

impl Wal {
    /// Whether it has grown by at least `pages` since a checkpoint was asked for; then one is, by the caller.
    fn is_due(&self, pages: usize) -> bool {
        let now = self.pages.load(Ordering::Relaxed);
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        // It is shorter when it has begun anew.
        let before = if *asked > now { 0 } else { *asked };
        let due = now - before >= pages;
        *asked = if due { now } else { before };
        due
    }
}

impl Checkpointer {
    /// Makes checkpoints of what `writer` commits over `connection`, which is its own.
    pub(super) fn start(writer: &mut Connection, connection: Connection) -> Result<Self> {
        let wal = Arc::new(Wal::default());
        let told = wal.clone();
        // In the place of SQLite's own automatic checkpoint.
        let hook = move |log: &mut rusqlite::hooks::Wal, pages: std::ffi::c_int| {
            let pages = usize::try_from(pages).unwrap_or_default();
            told.pages.store(pages, Ordering::Relaxed);
            if pages >= MOST_PAGES
                && let Err(error) = log.checkpoint_v2(CheckpointMode::PASSIVE)
            {
                // Mostly since the checkpointer is at it. The commit is done whatever becomes of this.
                tracing::debug!(%error, "a checkpoint was left to the next commit");
            }
            Ok(())
        };
        writer.wal_hook(Some(hook)).map_err(driver)?;
        let (wake, woken) = sync_channel(1);
        let body = move || {
            while woken.recv().is_ok() {
                // PASSIVE: as much as readers and the writer allow, without making them wait.
                let done = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
                if let Err(error) = done {
                    tracing::warn!(%error, "a checkpoint failed");
                }
            }
        };
        let thread = std::thread::Builder::new().name("queue-checkpoint".to_owned()).spawn(body);
        let thread = thread.map_err(|error| StoreError::Driver(error.into()))?;
        Ok(Self { wal, wake: Some(wake), thread: Some(thread) })
    }

    /// Something was committed.
    pub(super) fn written(&self) {
        if self.wal.is_due(BUSY_PAGES) {
            self.wake();
        }
    }

    /// There is a pause.
    pub(super) fn idle(&self) {
        if self.wal.is_due(IDLE_PAGES) {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::Wal;

    #[test]
    fn a_checkpoint_is_due_by_what_was_written_since_the_last() {
        let wal = Wal::default();
        let mut due_at = |pages: usize| {
            wal.pages.store(pages, Ordering::Relaxed);
            wal.is_due(100)
        };
        assert_eq!([99, 100, 101, 199, 200].map(&mut due_at), [false, true, false, false, true]);
        // It has begun anew.
        assert_eq!([1, 99, 100, 150].map(&mut due_at), [false, false, true, false]);
    }
}
