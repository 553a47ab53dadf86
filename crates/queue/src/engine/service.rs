//! The service: builds the parts, runs them, stops them in order.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use lambfold_types::{Clock, Entropy, RunFuture, Sealer};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::handle::QueueHandle;
use crate::mac::{MacKey, MacKeys};
use crate::metrics::QueueMetrics;
use crate::options::Options;
use crate::store::{DirectoryChange, QueueStore, Result, StoreError};

use super::cache::CacheTotal;
use super::directory::{Directory, Surroundings};
use super::link::{DirectoryLink, Names};
use super::moves::Moves;
use super::reader::{self, ReaderLink, ReaderQueue};
use super::tasks::{Spawn, Tasks, Tokio};
use super::upkeep;
use super::writer::{self, Request, WriterLink, WriterQueue};

/// Changes of the directory that may wait; beyond that they are refused.
const DIRECTORY_QUEUE: usize = 256;

/// The queue engine over one store.
pub struct QueueService {
    spawn: Arc<dyn Spawn>,
    store: Arc<dyn QueueStore>,
    handle: QueueHandle,
    directory: Directory,
    moves: Moves,
    surroundings: Surroundings,
    writes: WriterQueue,
    reads: ReaderQueue,
}

impl QueueService {
    /// Reads the directory of queues and puts the parts together; they move when [`QueueService::run`] is called.
    /// Blocks while it reads. At the first start it makes the key for receipt handles.
    pub fn build(
        options: Options,
        store: Arc<dyn QueueStore>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        sealer: Arc<dyn Sealer>,
    ) -> Result<Self> {
        Self::build_on(Arc::new(Tokio), options, store, clock, entropy, sealer)
    }

    /// As [`QueueService::build`], with the tasks somewhere else than on tokio's runtime.
    pub fn build_on(
        spawn: Arc<dyn Spawn>,
        options: Options,
        store: Arc<dyn QueueStore>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        sealer: Arc<dyn Sealer>,
    ) -> Result<Self> {
        let mut stored = store.load_directory()?;
        if stored.mac_keys.is_empty() {
            let key = MacKey::generate(1, &*entropy);
            store.change_directory(&DirectoryChange::AddMacKey(key.clone()))?;
            stored.mac_keys.push(key);
        }
        let mac_keys = MacKeys::new(stored.mac_keys).ok_or_else(|| StoreError::Inconsistent {
            table: "mac_keys",
            detail: "there is no key".to_owned(),
        })?;
        let options = Arc::new(options);
        let (writer, writes) = WriterLink::new(options.gather);
        let (reader, reads) = ReaderLink::new();
        let surroundings = Surroundings {
            options: Arc::clone(&options),
            clock,
            writer,
            reader,
            cache: CacheTotal::new(options.body_cache_bytes),
            names: Arc::default(),
            sealer: Arc::clone(&sealer),
            owners: Tasks::new(Arc::clone(&spawn)),
            stop: CancellationToken::new(),
        };
        let mut names: Names = BTreeMap::new();
        for row in stored.queues {
            let by_name = names.entry(row.scope.clone()).or_default();
            by_name.insert(row.name.clone(), surroundings.queue(row));
        }
        *surroundings.names.write().unwrap_or_else(PoisonError::into_inner) = names;
        let (commands, directory_commands) = mpsc::channel(DIRECTORY_QUEUE);
        let link = DirectoryLink::new(commands, Arc::clone(&surroundings.names));
        let moves = Moves::new(
            stored.move_tasks,
            surroundings.writer.clone(),
            Arc::clone(&surroundings.clock),
            Arc::clone(&entropy),
            Arc::clone(&sealer),
            Tasks::new(Arc::clone(&spawn)),
            surroundings.stop.clone(),
        );
        let bound = options.uncommitted_bytes;
        let handle = QueueHandle::new(link, moves.clone(), sealer, entropy, mac_keys, bound);
        let directory = Directory {
            surroundings: surroundings.clone(),
            deleted: stored.deleted.into_iter().map(|q| ((q.scope, q.name), q.deleted_at)).collect(),
            commands: directory_commands,
        };
        Ok(Self { spawn, store, handle, directory, moves, surroundings, writes, reads })
    }

    /// The way in; cheap to clone.
    pub fn handle(&self) -> QueueHandle {
        self.handle.clone()
    }

    /// What is counted, to be registered as a collector.
    pub fn metrics(&self) -> QueueMetrics {
        QueueMetrics {
            names: Arc::clone(&self.surroundings.names),
            clock: Arc::clone(&self.surroundings.clock),
        }
    }

    /// Runs until `shutdown`. Then takes nothing new, answers receives that wait with nothing, commits what was
    /// asked for, answers that, and returns.
    pub fn run(self, shutdown: CancellationToken) -> RunFuture {
        Box::pin(self.work(shutdown))
    }

    async fn work(self, shutdown: CancellationToken) {
        let Self { spawn, store, handle, directory, moves, surroundings, writes, reads } = self;
        let Surroundings { options, clock, writer, reader, owners, stop, .. } = surroundings;
        // Also if this future is dropped: the owners must not outlive it.
        let _stop = stop.clone().drop_guard();
        let writing =
            Worker::start(&*spawn, "queue-writer", &store, writes, writer::serve_blocking, writer::serve);
        let reading =
            Worker::start(&*spawn, "queue-reader", &store, reads, reader::serve_blocking, reader::serve);
        moves.resume(&handle);
        drop(handle);
        let upkeep = upkeep::run(writer.clone(), clock, options, shutdown.clone());
        let stopping = async {
            shutdown.cancelled().await;
            stop.cancel();
        };
        tokio::join!(upkeep, directory.run(), stopping);
        moves.stopped().await;
        owners.ended().await;
        // Callers may hold queues, and with them ways to writer and reader, for as long as they like.
        writer.send(Request::Stop).await;
        reader.stop().await;
        writing.ended().await;
        reading.ended().await;
    }
}

/// Writer or reader at work, on a thread if the store blocks.
struct Worker(oneshot::Receiver<()>);

impl Worker {
    fn start<Q, F>(
        spawn: &dyn Spawn,
        name: &'static str,
        store: &Arc<dyn QueueStore>,
        queue: Q,
        blocking: fn(Arc<dyn QueueStore>, Q),
        task: fn(Arc<dyn QueueStore>, Q) -> F,
    ) -> Self
    where
        Q: Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (done, ended) = oneshot::channel::<()>();
        let work = Arc::clone(store);
        if store.blocks() {
            let body = move || {
                let _done = done;
                blocking(work, queue);
            };
            // Without its thread the service would answer nothing; the queue's callers then see that it stops.
            if let Err(error) = std::thread::Builder::new().name(name.to_owned()).spawn(body) {
                tracing::error!(name, %error, "the thread cannot be started");
            }
        } else {
            let work = task(work, queue);
            let body = async move {
                let _done = done;
                work.await;
            };
            spawn.spawn(name, Box::pin(body));
        }
        Self(ended)
    }

    async fn ended(self) {
        // Closed without a word, whether it returned or panicked.
        drop(self.0.await);
    }
}
