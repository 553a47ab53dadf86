//! Checkpoints beside the commits: what was committed is moved from the WAL into the database by a thread and a
//! connection of their own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use lambfold_queue::store::{Result, StoreError};
use rusqlite::Connection;

/// After this many bytes a checkpoint is made even if there is no pause.
const BUSY_BYTES: usize = 16 << 20;

/// In a pause, after this many.
const IDLE_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Checkpointer {
    /// Bytes committed since the last checkpoint was asked for, roughly.
    bytes: AtomicUsize,
    /// `None` once it is being stopped.
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub(super) fn start(connection: Connection) -> Result<Self> {
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
        Ok(Self { bytes: AtomicUsize::new(0), wake: Some(wake), thread: Some(thread) })
    }

    /// So much was committed.
    pub(super) fn written(&self, bytes: usize) {
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes >= BUSY_BYTES {
            self.wake();
        }
    }

    /// There is a pause.
    pub(super) fn idle(&self) {
        if self.bytes.load(Ordering::Relaxed) >= IDLE_BYTES {
            self.wake();
        }
    }

    fn wake(&self) {
        self.bytes.store(0, Ordering::Relaxed);
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
