//! Reads of the store, on a thread of their own, so that they do not hold up commits.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::store::{QueueStore, Result};

/// A call to the store that answers for itself.
pub(crate) type Job = Box<dyn FnOnce(&dyn QueueStore) + Send>;

/// Reads that wait; `None` ends the reader.
pub(crate) type ReaderQueue = mpsc::Receiver<Option<Job>>;

/// Reads that may wait; beyond that, those who want to read wait.
const QUEUE: usize = 1024;

/// The way to the reader.
#[derive(Clone, Debug)]
pub(crate) struct ReaderLink {
    jobs: mpsc::Sender<Option<Job>>,
}

impl ReaderLink {
    pub(crate) fn new() -> (Self, ReaderQueue) {
        let (jobs, queue) = mpsc::channel(QUEUE);
        (Self { jobs }, queue)
    }

    /// Queues a read whose result goes to `done`. If the reader has ended, nothing happens.
    pub(crate) async fn start<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn QueueStore) -> Result<T> + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        let job: Job = Box::new(move |store| done(read(store)));
        // The reader ends after all owners; a send that fails means that this one is being torn down, too.
        drop(self.jobs.send(Some(job)).await);
    }

    /// Ends the reader when what waits is done.
    pub(crate) async fn stop(&self) {
        drop(self.jobs.send(None).await);
    }

    /// Reads; `None` if the reader has ended.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn QueueStore) -> Result<T> + Send + 'static,
    ) -> Option<Result<T>> {
        let (reply, answer) = oneshot::channel();
        self.start(read, move |result| drop(reply.send(result))).await;
        answer.await.ok()
    }
}

/// Serves reads until it is told to end, on the calling thread.
#[expect(clippy::needless_pass_by_value, reason = "the thread owns its store")]
pub(crate) fn serve_blocking(store: Arc<dyn QueueStore>, mut queue: ReaderQueue) {
    while let Some(Some(job)) = queue.blocking_recv() {
        job(&*store);
    }
}

/// The same as a task, for stores that do not block.
pub(crate) async fn serve(store: Arc<dyn QueueStore>, mut queue: ReaderQueue) {
    while let Some(Some(job)) = queue.recv().await {
        job(&*store);
    }
}
