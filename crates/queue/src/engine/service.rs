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
use crate::peers::{Carrier, Cluster};
use crate::store::{DirectoryChange, Durability, QueueStore, Result, StoreError};

use super::cache::CacheTotal;
use super::directory::{Directory, Surroundings};
use super::lease::{self, Lease};
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
    durability: Durability,
    writes: WriterQueue,
    reads: ReaderQueue,
    /// Where nodes share the store.
    member: Option<Member>,
}

/// What a node has to know that is one of several.
pub struct Member {
    /// Where the others reach it.
    pub address: String,
    /// The way to the others.
    pub carrier: Arc<dyn Carrier>,
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
        Self::build_on(Arc::new(Tokio), options, store, clock, entropy, sealer, None)
    }

    /// The same as one of several nodes that share `store` ([`crate::store::SharedStore`]).
    pub fn join(
        options: Options,
        store: Arc<dyn QueueStore>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        sealer: Arc<dyn Sealer>,
        cluster: Cluster,
    ) -> Result<Self> {
        let member = Member { address: cluster.address.clone(), carrier: Arc::new(cluster) };
        Self::build_on(Arc::new(Tokio), options, store, clock, entropy, sealer, Some(member))
    }

    /// As [`QueueService::build`], and with a `member` as [`QueueService::join`], with the tasks somewhere else than on
    /// tokio's runtime.
    pub fn build_on(
        spawn: Arc<dyn Spawn>,
        options: Options,
        store: Arc<dyn QueueStore>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        sealer: Arc<dyn Sealer>,
        member: Option<Member>,
    ) -> Result<Self> {
        let lease = Lease::new(Arc::clone(&clock));
        if let Some(member) = &member {
            lease.join(&*store, &member.address)?;
        }
        let mut stored = store.load_directory()?;
        if stored.mac_keys.is_empty() {
            let key = MacKey::generate(1, &*entropy);
            match store.change_directory(&DirectoryChange::AddMacKey(key.clone())) {
                Ok(()) => stored.mac_keys.push(key),
                // Another node may have been first.
                Err(error) => {
                    stored = store.load_directory()?;
                    if stored.mac_keys.is_empty() {
                        return Err(error);
                    }
                }
            }
        }
        let mac_keys = MacKeys::new(stored.mac_keys).ok_or_else(|| StoreError::Inconsistent {
            table: "mac_keys",
            detail: "there is no key".to_owned(),
        })?;
        let options = Arc::new(options);
        let (writer, writes) = WriterLink::new();
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
            lease,
            carrier: member.as_ref().map(|member| Arc::clone(&member.carrier)),
        };
        let mut names: Names = BTreeMap::new();
        for row in stored.queues {
            let by_name = names.entry(row.scope.clone()).or_default();
            by_name.insert(row.name.clone(), surroundings.queue(row));
        }
        *surroundings.names.write().unwrap_or_else(PoisonError::into_inner) = names;
        let (commands, directory_commands) = mpsc::channel(DIRECTORY_QUEUE);
        let link = DirectoryLink::new(commands, Arc::clone(&surroundings.names));
        let running = Tasks::new(Arc::clone(&spawn));
        let moves = Moves::new(stored.move_tasks, &surroundings, Arc::clone(&entropy), running);
        let bound = options.uncommitted_bytes;
        let handle = QueueHandle::new(link, moves.clone(), sealer, entropy, mac_keys, bound);
        let directory = Directory {
            surroundings: surroundings.clone(),
            deleted: stored.deleted.into_iter().map(|q| ((q.scope, q.name), q.deleted_at)).collect(),
            revision: stored.revision,
            commands: directory_commands,
        };
        let durability = store.durability()?;
        Ok(Self { spawn, store, handle, directory, moves, surroundings, durability, writes, reads, member })
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
            commits: self.writes.commits(),
            durability: self.durability.clone(),
        }
    }

    /// Runs until `shutdown`. Then takes nothing new, answers receives that wait with nothing, commits what was
    /// asked for, answers that, and returns.
    pub fn run(self, shutdown: CancellationToken) -> RunFuture {
        Box::pin(self.work(shutdown))
    }

    async fn work(self, shutdown: CancellationToken) {
        let Self { spawn, store, handle, directory, moves, surroundings, writes, reads, member, .. } = self;
        let Surroundings { options, clock, writer, reader, owners, stop, lease, .. } = surroundings;
        // Also if this future is dropped: the owners must not outlive it.
        let _stop = stop.clone().drop_guard();
        let writing =
            Worker::start(&*spawn, "queue-writer", &store, writes, writer::serve_blocking, writer::serve);
        let reading =
            Worker::start(&*spawn, "queue-reader", &store, reads, reader::serve_blocking, reader::serve);
        moves.resume(&handle);
        let is_shared = member.is_some();
        let keeping = CancellationToken::new();
        let keeper = Tasks::new(Arc::clone(&spawn));
        if let Some(member) = member {
            keeper.spawn("lease", lease.keep(Arc::clone(&store), member.address, keeping.clone()));
        }
        let news = follow(handle, moves.clone(), Arc::clone(&clock), shutdown.clone(), is_shared);
        let upkeep = upkeep::run(writer.clone(), clock, options, shutdown.clone());
        let stopping = async {
            shutdown.cancelled().await;
            stop.cancel();
        };
        tokio::join!(upkeep, directory.run(), news, stopping);
        moves.stopped().await;
        owners.ended().await;
        // Callers may hold queues, and with them ways to writer and reader, for as long as they like.
        writer.send(Request::Stop).await;
        reader.stop().await;
        writing.ended().await;
        reading.ended().await;
        keeping.cancel();
        keeper.ended().await;
        if is_shared {
            lease::leave(store).await;
        }
    }
}

/// Follows what other nodes do, and goes on with what they left, until `stop`.
async fn follow(
    handle: QueueHandle,
    moves: Moves,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    is_shared: bool,
) {
    if !is_shared {
        return;
    }
    loop {
        let next = clock.now() + lease::NEWS_EVERY;
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = clock.sleep_until(next) => {}
        }
        let followed = async {
            handle.catch_up().await?;
            moves.take_over(&handle).await
        };
        if let Err(error) = followed.await {
            tracing::warn!(%error, "what other nodes do cannot be followed at the moment");
        }
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
