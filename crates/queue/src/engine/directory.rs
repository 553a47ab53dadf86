//! The queues by name, and the one task that changes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use lambfold_types::{Clock, QueueName, Scope, Sealer, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::metrics::QueueStatistics;
use crate::options::Options;
use crate::peers::Carrier;
use crate::queue::{CreateOutcome, NewQueue, Queue, QueueProperties, SharedState};
use crate::store::{DirectoryChange, QueueRow, QueueStore, ShardKey, StoreError};

use super::cache::{CacheShare, CacheTotal};
use super::lease::Lease;
use super::link::{Change, Command, DirectoryCommand, Names, OwnerLink, SharedWhereabouts};
use super::owner::{Owner, Place};
use super::reader::ReaderLink;
use super::tasks::Tasks;
use super::writer::WriterLink;

/// What it takes to start an owner.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) options: Arc<Options>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) writer: WriterLink,
    pub(crate) reader: ReaderLink,
    pub(crate) cache: Arc<CacheTotal>,
    pub(crate) names: Arc<RwLock<Names>>,
    pub(crate) sealer: Arc<dyn Sealer>,
    pub(crate) owners: Tasks,
    pub(crate) stop: CancellationToken,
    pub(crate) lease: Lease,
    /// Where nodes share the store.
    pub(crate) carrier: Option<Arc<dyn Carrier>>,
}

impl Surroundings {
    /// A queue whose owner starts when it is first needed.
    pub(crate) fn queue(&self, row: QueueRow) -> Queue {
        let (commands, queue) = mpsc::channel(self.options.command_queue.max(1));
        let this = self.clone();
        let (key, kind) = (ShardKey { incarnation: row.incarnation, shard: 0 }, row.kind);
        let state = SharedState::new(row.properties.clone(), row.modified_at);
        let own = state.clone();
        let statistics = Arc::<QueueStatistics>::default();
        let counted = Arc::clone(&statistics);
        let (scope, name) = (row.scope.clone(), row.name.clone());
        let whereabouts = SharedWhereabouts::default();
        let told = whereabouts.clone();
        let start = Box::new(move || {
            // As of now: no change from now on is missed, since who makes one sees that the owner was started.
            let settings = own.properties().settings.clone();
            let owner = Owner {
                key,
                kind,
                place: Place {
                    scope,
                    name,
                    names: this.names,
                    sealer: this.sealer,
                    tasks: this.owners.clone(),
                    carrier: this.carrier,
                },
                settings,
                statistics: counted,
                options: this.options,
                clock: this.clock,
                writer: this.writer,
                reader: this.reader,
                cache: CacheShare::new(this.cache),
                lease: this.lease,
                whereabouts: told,
                commands: queue,
                stop: this.stop,
            };
            this.owners.spawn("owner", owner.run());
        });
        Queue::new(row, state, OwnerLink::new(commands, whereabouts, start), statistics)
    }
}

/// The task that changes the directory.
pub(crate) struct Directory {
    pub(crate) surroundings: Surroundings,
    /// When a name was last given up, for as long as that matters.
    pub(crate) deleted: BTreeMap<(Scope, QueueName), Timestamp>,
    /// What is known of other nodes' changes.
    pub(crate) revision: u64,
    pub(crate) commands: mpsc::Receiver<DirectoryCommand>,
}

impl Directory {
    /// Serves until the service stops.
    pub(crate) async fn run(mut self) {
        let stop = self.surroundings.stop.clone();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled(), if !self.commands.is_closed() => self.commands.close(),
                command = self.commands.recv() => match command {
                    Some(command) => self.handle(command).await,
                    None => return,
                },
            }
        }
    }

    // Whoever asked may have gone; what was asked is done all the same.
    async fn handle(&mut self, command: DirectoryCommand) {
        match command {
            DirectoryCommand::Create { scope, name, new, reply } => {
                drop(reply.send(self.create(scope, name, new).await));
            }
            DirectoryCommand::Update { queue, change, reply } => {
                drop(reply.send(self.update(&queue, change).await));
            }
            DirectoryCommand::Delete { queue, reply } => drop(reply.send(self.delete(&queue).await)),
            DirectoryCommand::CatchUp { reply } => drop(reply.send(self.catch_up().await)),
        }
    }

    async fn create(&mut self, scope: Scope, name: QueueName, new: NewQueue) -> Result<CreateOutcome, Error> {
        if let Some(queue) = self.find(&scope, &name) {
            return Ok(CreateOutcome::Exists(queue));
        }
        let now = self.surroundings.clock.now();
        if let Some(cooldown) = self.surroundings.options.recreate_cooldown {
            self.deleted.retain(|_, deleted_at| *deleted_at + cooldown > now);
            if self.deleted.contains_key(&(scope.clone(), name.clone())) {
                return Err(Error::QueueDeletedRecently);
            }
        }
        let row = QueueRow {
            scope: scope.clone(),
            name: name.clone(),
            incarnation: 0,
            kind: new.kind,
            created_at: now,
            modified_at: now,
            properties: new.properties,
        };
        let created = self.surroundings.writer.call(move |store| store.create_queue(&row)).await;
        match created.ok_or(Error::Stopping)? {
            Ok(row) => Ok(CreateOutcome::Created(self.add(row))),
            // By another node, or by an earlier attempt of which nobody knew what came of it.
            Err(StoreError::NameTaken) => {
                self.catch_up().await?;
                let queue = match self.find(&scope, &name) {
                    Some(queue) => queue,
                    None => self.add(self.stored(&scope, &name).await?),
                };
                Ok(CreateOutcome::Exists(queue))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The queue as the store has it.
    async fn stored(&self, scope: &Scope, name: &QueueName) -> Result<QueueRow, Error> {
        let directory = self.surroundings.writer.call(QueueStore::load_directory).await;
        let queues = directory.ok_or(Error::Stopping)??.queues;
        let found = queues.into_iter().find(|row| row.scope == *scope && row.name == *name);
        found.ok_or_else(|| StoreError::NameTaken.into())
    }

    async fn update(&mut self, queue: &Queue, change: Change) -> Result<bool, Error> {
        self.catch_up().await?;
        if self.find(queue.scope(), queue.name()).as_ref() != Some(queue) {
            return Err(Error::NoSuchQueue);
        }
        let before = queue.properties();
        let mut properties = (*before).clone();
        if !change(&mut properties) {
            return Ok(false);
        }
        if properties == *before {
            return Ok(true);
        }
        let modified_at = self.surroundings.clock.now();
        let incarnation = queue.incarnation();
        self.write(DirectoryChange::SetProperties {
            incarnation,
            properties: properties.clone(),
            modified_at,
        })
        .await?;
        set(queue, properties, modified_at).await?;
        Ok(true)
    }

    async fn delete(&mut self, queue: &Queue) -> Result<(), Error> {
        self.catch_up().await?;
        if self.find(queue.scope(), queue.name()).as_ref() != Some(queue) {
            return Err(Error::NoSuchQueue);
        }
        let deleted_at = self.surroundings.clock.now();
        match self.write(DirectoryChange::Delete { incarnation: queue.incarnation(), deleted_at }).await {
            // An earlier attempt, of which nobody knew what came of it, has succeeded.
            Ok(()) | Err(Error::NoSuchQueue) => {}
            Err(error) => return Err(error),
        }
        self.remove(queue, deleted_at).await;
        Ok(())
    }

    /// Learns what other nodes that share the store have changed.
    async fn catch_up(&mut self) -> Result<(), Error> {
        if !self.surroundings.lease.is_shared() {
            return Ok(());
        }
        let since = self.revision;
        let read = move |store: &dyn QueueStore| store.shared().map(|shared| shared.news(since)).transpose();
        let news = self.surroundings.reader.read(read).await.ok_or(Error::Stopping)??;
        let Some(news) = news else { return Ok(()) };
        self.revision = news.revision;
        let gone: BTreeSet<u64> = news.deleted.into_iter().collect();
        let there: BTreeSet<u64> = news.queues.iter().map(|row| row.incarnation).collect();
        if news.complete || !gone.is_empty() {
            let is_gone = |queue: &&Queue| {
                let incarnation = queue.incarnation();
                gone.contains(&incarnation) || news.complete && !there.contains(&incarnation)
            };
            let gone: Vec<Queue> = {
                let names = self.surroundings.names.read().unwrap_or_else(PoisonError::into_inner);
                names.values().flat_map(BTreeMap::values).filter(is_gone).cloned().collect()
            };
            let now = self.surroundings.clock.now();
            for queue in gone {
                self.remove(&queue, now).await;
            }
        }
        for row in news.queues {
            match self.find(&row.scope, &row.name) {
                Some(queue) if queue.incarnation() == row.incarnation => {
                    // An owner that has ended learns it when it begins anew.
                    drop(set(&queue, row.properties, row.modified_at).await);
                }
                _ => _ = self.add(row),
            }
        }
        Ok(())
    }

    fn add(&self, row: QueueRow) -> Queue {
        let (scope, name) = (row.scope.clone(), row.name.clone());
        let queue = self.surroundings.queue(row);
        let mut names = self.surroundings.names.write().unwrap_or_else(PoisonError::into_inner);
        names.entry(scope).or_default().insert(name, queue.clone());
        queue
    }

    /// The queue is deleted: nobody finds it any more, and its owner ends.
    async fn remove(&mut self, queue: &Queue, deleted_at: Timestamp) {
        {
            let mut names = self.surroundings.names.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(queues) = names.get_mut(queue.scope()) {
                queues.remove(queue.name());
                if queues.is_empty() {
                    names.remove(queue.scope());
                }
            }
        }
        if self.surroundings.options.recreate_cooldown.is_some() {
            self.deleted.insert((queue.scope().clone(), queue.name().clone()), deleted_at);
        }
        queue.link().mark_deleted();
        // The owner may have found out by itself; and one that never ran has to tell those who still hold the queue.
        drop(queue.link().send_waiting(Command::Deleted).await);
    }

    fn find(&self, scope: &Scope, name: &QueueName) -> Option<Queue> {
        self.surroundings.names.read().unwrap_or_else(PoisonError::into_inner).get(scope)?.get(name).cloned()
    }

    async fn write(&self, change: DirectoryChange) -> Result<(), Error> {
        let done = self.surroundings.writer.call(move |store| store.change_directory(&change)).await;
        Ok(done.ok_or(Error::Stopping)??)
    }
}

/// Gives a queue its new properties, and its owner, if it has one, its settings.
async fn set(queue: &Queue, properties: QueueProperties, modified_at: Timestamp) -> Result<(), Error> {
    let settings = properties.settings.clone();
    let settings_changed = settings != queue.properties().settings;
    queue.set_properties(properties, modified_at);
    if settings_changed && queue.link().is_started() {
        let (reply, done) = oneshot::channel();
        queue.link().send_waiting(Command::Settings { settings, reply }).await?;
        done.await.map_err(|_| queue.link().closed_reason())??;
    }
    Ok(())
}
