//! Moving messages out of dead-letter queues (facts, SQS §8). A task receives messages from the source as anybody
//! would, and has the source's owner hand them to that of the destination, where they arrive in the transaction in which
//! they leave. What is known of a task is in the store; one that ran when the service stopped goes on at its start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lambfold_types::{Arn, Clock, Entropy, QueueName, Sealer, uuid_v4};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::Error;
use crate::handle::QueueHandle;
use crate::message::{NewMessage, ReceiveParams, Received, seal};
use crate::move_task::{MoveStatus, MoveTask};
use crate::queue::Queue;
use crate::shard::DeadLetter;
use crate::store::{self, DirectoryChange, QueueStore, SharedStore};

use super::directory::Surroundings;
use super::link::{Command, Whereabouts};
use super::reader::ReaderLink;
use super::tasks::Tasks;
use super::writer::WriterLink;

/// Messages that are moved together at most.
const AT_ONCE: usize = 100;

/// For how long the messages that are being moved stay invisible at the source if something comes between.
const IN_FLIGHT: Duration = Duration::from_mins(1);

/// How long a task waits before it tries again what the destination has no room for, or the store failed at.
const RETRY: Duration = Duration::from_secs(1);

/// Tasks that are remembered of each source: as many as AWS lists.
const REMEMBERED: usize = 10;

/// AWS's words for what can stop a task.
const NO_SUCH_QUEUE: &str = "AWS.SimpleQueueService.NonExistentQueue";
const NO_SOURCE: &str = "CouldNotDetermineMessageSource";

/// The tasks, and what it takes to run them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Moves {
    tasks: Arc<Mutex<BTreeMap<Uuid, MoveTask>>>,
    /// Those that this node runs.
    at_work: Arc<Mutex<BTreeSet<Uuid>>>,
    /// Whether other nodes run tasks of the same store: what is known here may be out of date then.
    is_shared: bool,
    writer: WriterLink,
    reader: ReaderLink,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    sealer: Arc<dyn Sealer>,
    running: Tasks,
    stop: CancellationToken,
}

/// What came of a step.
enum Step {
    /// So many messages were moved.
    Moved(u64),
    /// Nothing is left.
    Done,
    Failed(&'static str),
}

impl Moves {
    pub(crate) fn new(
        stored: Vec<MoveTask>,
        around: &Surroundings,
        entropy: Arc<dyn Entropy>,
        running: Tasks,
    ) -> Self {
        Self {
            tasks: Arc::new(Mutex::new(stored.into_iter().map(|task| (task.id, task)).collect())),
            at_work: Arc::default(),
            is_shared: around.lease.is_shared(),
            writer: around.writer.clone(),
            reader: around.reader.clone(),
            clock: Arc::clone(&around.clock),
            entropy,
            sealer: Arc::clone(&around.sealer),
            running,
            stop: around.stop.clone(),
        }
    }

    /// Goes on with what had not ended when the service stopped. Where nodes share the store, [`Moves::take_over`] does.
    pub(crate) fn resume(&self, handle: &QueueHandle) {
        if self.is_shared {
            return;
        }
        let active: Vec<Uuid> =
            self.tasks().values().filter(|task| task.status.is_active()).map(|task| task.id).collect();
        for id in active {
            self.spawn(id, handle.clone());
        }
    }

    /// Goes on with the tasks of queues that this node owns or that nobody does: their node may have died.
    pub(crate) async fn take_over(&self, handle: &QueueHandle) -> Result<(), Error> {
        for task in self.read(|shared| shared.active_move_tasks()).await? {
            if self.at_work().contains(&task.id) {
                continue;
            }
            let mine = match handle.queue(&task.scope, &task.source) {
                Ok(source) => source.link().locate().await? == Whereabouts::Here,
                // Whoever runs it finds that out, and ends it.
                Err(_) => true,
            };
            if mine {
                self.tasks().insert(task.id, task.clone());
                self.spawn(task.id, handle.clone());
            }
        }
        Ok(())
    }

    /// Learns what other nodes did with the tasks of `source`, which this node owns now.
    async fn refresh(&self, source: &Queue) -> Result<(), Error> {
        if !self.is_shared {
            return Ok(());
        }
        let (scope, name) = (source.scope().clone(), source.name().clone());
        let stored = self.read(move |shared| shared.move_tasks(&scope, &name)).await?;
        let at_work = self.at_work();
        let mut tasks = self.tasks();
        tasks.retain(|id, task| at_work.contains(id) || !is_of(task, source));
        tasks.extend(
            stored.into_iter().filter(|task| !at_work.contains(&task.id)).map(|task| (task.id, task)),
        );
        Ok(())
    }

    async fn read(
        &self,
        read: impl FnOnce(&dyn SharedStore) -> store::Result<Vec<MoveTask>> + Send + 'static,
    ) -> Result<Vec<MoveTask>, Error> {
        let read = move |store: &dyn QueueStore| store.shared().map_or(Ok(Vec::new()), read);
        Ok(self.reader.read(read).await.ok_or(Error::Stopping)??)
    }

    /// Returns when all tasks have paused for the stop.
    pub(crate) async fn stopped(&self) {
        self.running.ended().await;
    }

    /// The tasks of a source, the newest first.
    pub(crate) async fn list(&self, source: &Queue) -> Result<Vec<MoveTask>, Error> {
        self.refresh(source).await?;
        Ok(self.known(source))
    }

    /// The same by what this node knows.
    pub(crate) fn known(&self, source: &Queue) -> Vec<MoveTask> {
        let tasks = self.tasks();
        let mut of_source: Vec<MoveTask> =
            tasks.values().filter(|task| is_of(task, source)).cloned().collect();
        of_source.sort_by_key(|task| std::cmp::Reverse((task.started_at, task.id)));
        of_source
    }

    /// Starts a task; [`Error::MoveInProgress`] if one runs.
    pub(crate) async fn start(
        &self,
        handle: &QueueHandle,
        source: &Queue,
        destination: Option<QueueName>,
        per_second: Option<u32>,
    ) -> Result<MoveTask, Error> {
        self.refresh(source).await?;
        let to_move = handle.queue_info(source).await?.counts.visible;
        let task = MoveTask {
            id: uuid_v4(&*self.entropy),
            scope: source.scope().clone(),
            source: source.name().clone(),
            destination,
            per_second,
            status: MoveStatus::Running,
            failure_reason: None,
            moved: 0,
            to_move,
            started_at: self.clock.now(),
        };
        let outdated: Vec<Uuid> = {
            let mut tasks = self.tasks();
            if tasks.values().any(|task| task.status.is_active() && is_of(task, source)) {
                return Err(Error::MoveInProgress);
            }
            tasks.insert(task.id, task.clone());
            drop(tasks);
            self.outdated(handle, source)
        };
        if let Err(error) = self.write(DirectoryChange::PutMoveTask(task.clone())).await {
            self.tasks().remove(&task.id);
            return Err(error);
        }
        self.spawn(task.id, handle.clone());
        for id in outdated {
            self.tasks().remove(&id);
            // One that stays in the store is found again, and forgotten later.
            if let Err(error) = self.write(DirectoryChange::ForgetMoveTask(id)).await {
                tracing::warn!(task = %id, %error, "a task that has ended cannot be forgotten");
            }
        }
        Ok(task)
    }

    /// Tasks that need not be remembered: of `source` all but the last ones, and those of queues that are gone.
    fn outdated(&self, handle: &QueueHandle, source: &Queue) -> Vec<Uuid> {
        let gone: Vec<Uuid> = {
            let tasks = self.tasks();
            let ended = tasks.values().filter(|task| !task.status.is_active());
            ended
                .filter(|task| handle.queue(&task.scope, &task.source).is_err())
                .map(|task| task.id)
                .collect()
        };
        self.known(source).into_iter().skip(REMEMBERED).map(|task| task.id).chain(gone).collect()
    }

    /// Has a task end after what it is at; returns how many messages it has moved. `None` if it does not run.
    pub(crate) async fn cancel(&self, source: &Queue, id: Uuid) -> Result<Option<u64>, Error> {
        self.refresh(source).await?;
        let task = {
            let mut tasks = self.tasks();
            let task = tasks.get_mut(&id).filter(|task| is_of(task, source) && task.status.is_active());
            let Some(task) = task else { return Ok(None) };
            task.status = MoveStatus::Cancelling;
            task.clone()
        };
        let moved = task.moved;
        self.write(DirectoryChange::PutMoveTask(task)).await?;
        Ok(Some(moved))
    }

    fn spawn(&self, id: Uuid, handle: QueueHandle) {
        if !self.at_work().insert(id) {
            return;
        }
        let this = self.clone();
        self.running.spawn("move", async move {
            this.run(id, &handle).await;
            this.at_work().remove(&id);
        });
    }

    async fn run(&self, id: Uuid, handle: &QueueHandle) {
        loop {
            let Some(task) = self.tasks().get(&id).cloned() else { return };
            if task.status == MoveStatus::Cancelling {
                return self.end(id, MoveStatus::Cancelled, None).await;
            }
            let began = self.clock.now();
            let step = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                step = self.step(&task, handle) => step,
            };
            let pause = match step {
                Ok(Step::Done) => return self.end(id, MoveStatus::Completed, None).await,
                Ok(Step::Failed(reason)) => return self.end(id, MoveStatus::Failed, Some(reason)).await,
                Ok(Step::Moved(count)) => {
                    self.note(id, count).await;
                    task.per_second.map(|rate| Duration::from_secs(count) / rate.max(1))
                }
                Err(Error::NoSuchQueue) => {
                    return self.end(id, MoveStatus::Failed, Some(NO_SUCH_QUEUE)).await;
                }
                Err(Error::Stopping) if self.stop.is_cancelled() => return,
                // Its node goes on.
                Err(Error::OwnedElsewhere(_)) => return,
                // The messages are visible again by then, or soon.
                Err(error) => {
                    tracing::warn!(task = %id, %error, "messages cannot be moved at the moment");
                    Some(RETRY)
                }
            };
            if let Some(pause) = pause {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return,
                    () = self.clock.sleep_until(began + pause) => {}
                }
            }
        }
    }

    /// Moves some messages.
    async fn step(&self, task: &MoveTask, handle: &QueueHandle) -> Result<Step, Error> {
        let left = usize::try_from(task.to_move.saturating_sub(task.moved)).unwrap_or(usize::MAX);
        let rate = task.per_second.map_or(AT_ONCE, |rate| rate as usize);
        let max_messages = AT_ONCE.min(rate.max(1)).min(left);
        if max_messages == 0 {
            return Ok(Step::Done);
        }
        let source = handle.queue(&task.scope, &task.source)?;
        let params = ReceiveParams {
            max_messages,
            visibility_timeout: Some(IN_FLIGHT),
            wait_time: Some(Duration::ZERO),
            attempt_id: None,
        };
        let received = handle.receive(&source, params).await?;
        if received.is_empty() {
            return Ok(Step::Done);
        }
        let mut by_destination: BTreeMap<QueueName, Vec<Received>> = BTreeMap::new();
        let (mut moved, mut failed) = (0, None);
        let mut stays = Vec::new();
        for message in received {
            if let Some(name) = task.destination.clone().or_else(|| origin(&message)) {
                by_destination.entry(name).or_default().push(message);
            } else {
                failed = Some(NO_SOURCE);
                stays.push(message.handle);
            }
        }
        for (name, messages) in by_destination {
            let Ok(target) = handle.queue(&task.scope, &name) else {
                failed = Some(NO_SUCH_QUEUE);
                stays.extend(messages.iter().map(|message| message.handle));
                continue;
            };
            match self.hand_over(&source, target, messages).await {
                Ok(count) => moved += count,
                // The source has them again.
                Err(Error::NoSuchQueue) => failed = Some(NO_SUCH_QUEUE),
                Err(error) => return Err(error),
            }
        }
        if !stays.is_empty() {
            // Somebody else may have received them meanwhile.
            let (reply, done) = oneshot::channel();
            source.link().send_waiting(Command::Release { handles: stays, reply }).await?;
            done.await.map_err(|_| source.link().closed_reason())??;
        }
        match failed {
            None => Ok(Step::Moved(moved)),
            Some(reason) => {
                self.note(task.id, moved).await;
                Ok(Step::Failed(reason))
            }
        }
    }

    /// Has the owner of `source` give messages to that of `target`, as new ones; returns how many it gave.
    async fn hand_over(&self, source: &Queue, target: Queue, messages: Vec<Received>) -> Result<u64, Error> {
        let handles = messages.iter().map(|message| message.handle).collect();
        let letters = messages.into_iter().map(|message| self.renew(message)).collect();
        let (reply, done) = oneshot::channel();
        source.link().send_waiting(Command::Evacuate { letters, handles, target, reply }).await?;
        done.await.map_err(|_| source.link().closed_reason())?
    }

    /// The message as it is sent anew: with an id of its own, and never received (facts, SQS §8).
    fn renew(&self, message: Received) -> DeadLetter {
        let Received { handle, body, attributes, md5_of_body, mut system, .. } = message;
        system.dead_letter_queue_source_arn = None;
        system.first_sent_at = None;
        let new = NewMessage { body, attributes, md5_of_body, system, delay: None };
        DeadLetter {
            sequence: handle.sequence,
            record: seal(&*self.sealer, uuid_v4(&*self.entropy), &new),
            sent_at: self.clock.now(),
            receive_count: 0,
            first_received_at: lambfold_types::Timestamp::default(),
            last_received_at: lambfold_types::Timestamp::default(),
        }
    }

    /// Adds to what a task has moved.
    async fn note(&self, id: Uuid, count: u64) {
        self.change(id, |task| task.moved += count).await;
    }

    async fn end(&self, id: Uuid, status: MoveStatus, reason: Option<&str>) {
        self.change(id, |task| {
            task.status = status;
            task.failure_reason = reason.map(str::to_owned);
        })
        .await;
    }

    async fn change(&self, id: Uuid, change: impl FnOnce(&mut MoveTask)) {
        let task = {
            let mut tasks = self.tasks();
            let Some(task) = tasks.get_mut(&id) else { return };
            change(task);
            task.clone()
        };
        // What cannot be noted now is noted with the next change, or found out again after a restart.
        if let Err(error) = self.write(DirectoryChange::PutMoveTask(task)).await {
            tracing::warn!(task = %id, %error, "the progress of a move cannot be noted");
        }
    }

    async fn write(&self, change: DirectoryChange) -> Result<(), Error> {
        let done = self.writer.call(move |store| store.change_directory(&change)).await;
        Ok(done.ok_or(Error::Stopping)??)
    }

    fn at_work(&self) -> MutexGuard<'_, BTreeSet<Uuid>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> MutexGuard<'_, BTreeMap<Uuid, MoveTask>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_of(task: &MoveTask, source: &Queue) -> bool {
    task.scope == *source.scope() && task.source == *source.name()
}

/// The queue that a dead letter came from.
fn origin(message: &Received) -> Option<QueueName> {
    let arn: Arn = message.system.dead_letter_queue_source_arn.as_deref()?.parse().ok()?;
    arn.resource.parse().ok()
}
