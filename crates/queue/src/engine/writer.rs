//! Group commit: one writer takes the decisions of all shards, commits what waits in one transaction, then answers.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};

use crate::store::{FencedWrite, QueueStore, Result, ShardHead, ShardKey, StoreError};

use super::owner::Event;
use super::reader::Job;

/// Requests that may wait; beyond that the owners wait, and in turn their callers are refused.
const QUEUE: usize = 1024;

/// A transaction takes no more than this.
const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: usize = 8 << 20;

/// A request to the writer, in order.
pub(crate) enum Request {
    /// Decisions of a shard.
    Write(Submission),
    /// Takes a shard: everything decided under earlier epochs and not yet committed is void.
    Take { shard: ShardKey, reply: oneshot::Sender<Result<ShardHead>> },
    /// Anything else that writes, by itself.
    Job(Job),
    /// Upkeep, step by step for as long as nothing else waits.
    Upkeep(Upkeep),
    /// Ends the writer.
    Stop,
}

/// A step of upkeep; returns whether there is more to do.
pub(crate) type Upkeep = Box<dyn Fn(&dyn QueueStore) -> bool + Send>;

/// Decisions of a shard with the way to its owner.
pub(crate) struct Submission {
    pub(crate) write: FencedWrite,
    /// What other shards lose to this one, in the same transaction.
    pub(crate) departures: Vec<FencedWrite>,
    pub(crate) events: mpsc::UnboundedSender<Event>,
}

impl Submission {
    fn writes(&self) -> impl Iterator<Item = &FencedWrite> {
        std::iter::once(&self.write).chain(&self.departures)
    }

    /// Leaves out the new messages, and with them what is known of them and what they would take from other shards.
    fn forgo_inserts(&mut self) {
        let write = &mut self.write.write;
        if let Some(first) = write.inserts.first().map(|row| row.sequence) {
            write.deliveries.retain(|row| row.sequence < first);
            write.deduplications.clear();
            write.inserts.clear();
        }
        self.departures.clear();
    }
}

/// A commit that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// All of it.
    Whole,
    /// All but the new messages: the store has no room for them.
    WithoutInserts,
}

/// The way to the writer.
#[derive(Clone)]
pub(crate) struct WriterLink {
    requests: mpsc::Sender<Request>,
}

/// What the writer serves.
pub(crate) struct WriterQueue {
    requests: mpsc::Receiver<Request>,
    /// Group commits that succeeded.
    commits: Arc<AtomicU64>,
}

impl WriterLink {
    pub(crate) fn new() -> (Self, WriterQueue) {
        let (requests, queue) = mpsc::channel(QUEUE);
        (Self { requests }, WriterQueue { requests: queue, commits: Arc::default() })
    }

    /// Queues a request, waiting for room; false if the writer has ended.
    pub(crate) async fn send(&self, request: Request) -> bool {
        self.requests.send(request).await.is_ok()
    }

    /// A write that is no shard's decision; `None` if the writer has ended.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        write: impl FnOnce(&dyn QueueStore) -> Result<T> + Send + 'static,
    ) -> Option<Result<T>> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Job(Box::new(move |store| drop(reply.send(write(store)))))).await;
        answer.await.ok()
    }
}

impl WriterQueue {
    /// The count of group commits, for `/metrics`.
    pub(crate) fn commits(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.commits)
    }
}

/// The writer proper, on whatever thread.
struct Writer {
    store: Arc<dyn QueueStore>,
    /// Epochs of which a commit failed: what was decided after it is void, too.
    void: BTreeMap<ShardKey, u64>,
    commits: Arc<AtomicU64>,
}

/// Serves requests until it is told to end, on the calling thread.
pub(crate) fn serve_blocking(store: Arc<dyn QueueStore>, mut queue: WriterQueue) {
    let mut writer = Writer::new(store, queue.commits());
    while let Some(first) = queue.requests.blocking_recv() {
        if writer.turn(first, &mut queue.requests).is_break() {
            break;
        }
    }
}

/// The same as a task, for stores that do not block.
pub(crate) async fn serve(store: Arc<dyn QueueStore>, mut queue: WriterQueue) {
    let mut writer = Writer::new(store, queue.commits());
    while let Some(first) = queue.requests.recv().await {
        if writer.turn(first, &mut queue.requests).is_break() {
            break;
        }
    }
}

impl Writer {
    fn new(store: Arc<dyn QueueStore>, commits: Arc<AtomicU64>) -> Self {
        Self { store, void: BTreeMap::new(), commits }
    }

    /// Handles `first` and what can go with it.
    fn turn(&mut self, first: Request, queue: &mut mpsc::Receiver<Request>) -> ControlFlow<()> {
        let mut next = Some(first);
        while let Some(request) = next.take() {
            match request {
                Request::Write(submission) => {
                    let (batch, other) = collect(submission, queue);
                    self.commit(batch);
                    next = other;
                }
                Request::Take { shard, reply } => {
                    let taken = self.store.take_shard(shard);
                    if taken.is_ok() {
                        self.void.remove(&shard);
                    }
                    // Who asked may have been torn down; the epoch is only a number.
                    drop(reply.send(taken));
                }
                Request::Job(job) => job(&*self.store),
                Request::Upkeep(upkeep) => while upkeep(&*self.store) && queue.is_empty() {},
                Request::Stop => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }

    fn commit(&mut self, batch: Vec<Submission>) {
        let (mut batch, void): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|submission| !self.is_void(submission));
        answer(void, &Err(Arc::new(StoreError::Void)));
        let mut applied = Applied::Whole;
        while !batch.is_empty() {
            let mut result = self.apply(&mut batch);
            if matches!(result, Err(StoreError::Full))
                && batch.iter().any(|submission| !submission.write.write.inserts.is_empty())
            {
                // Receives and deletes depend on nothing that is being sent, so they can go on alone.
                for submission in &mut batch {
                    submission.forgo_inserts();
                }
                applied = Applied::WithoutInserts;
                result = self.apply(&mut batch);
            }
            match result {
                Ok(()) => {
                    answer(batch, &Ok(applied));
                    return;
                }
                // One shard's owner is out of date: the others' decisions go on without it.
                Err(StoreError::Fenced(shard) | StoreError::NoSuchShard(shard)) => {
                    let error = Arc::new(result.expect_err("it was matched as an error"));
                    let (out, rest) = batch
                        .into_iter()
                        .partition(|submission| submission.writes().any(|it| it.shard == shard));
                    answer(out, &Err(error));
                    batch = rest;
                }
                Err(error) => {
                    let submissions = batch;
                    for Submission { write: FencedWrite { shard, epoch, .. }, .. } in &submissions {
                        let latest = self.void.entry(*shard).or_default();
                        *latest = (*latest).max(*epoch);
                    }
                    answer(submissions, &Err(Arc::new(error)));
                    return;
                }
            }
        }
    }

    /// All of the batch in one transaction.
    fn apply(&self, batch: &mut Vec<Submission>) -> Result<()> {
        // Taken apart for the store and put together again: nothing is copied.
        let mut writes = Vec::with_capacity(batch.len());
        let mut rests = Vec::with_capacity(batch.len());
        for Submission { write, departures, events } in batch.drain(..) {
            rests.push((departures.len(), events));
            writes.push(write);
            writes.extend(departures);
        }
        let result = self.store.apply(&writes);
        if result.is_ok() {
            self.commits.fetch_add(1, Ordering::Relaxed);
        }
        let mut writes = writes.into_iter();
        for (departures, events) in rests {
            let Some(write) = writes.next() else { break };
            let departures = writes.by_ref().take(departures).collect();
            batch.push(Submission { write, departures, events });
        }
        result
    }

    fn is_void(&self, submission: &Submission) -> bool {
        submission
            .writes()
            .any(|write| self.void.get(&write.shard).is_some_and(|epoch| write.epoch <= *epoch))
    }
}

/// The writes that wait, up to a batch, and the first request that is something else. Not more than wait: a commit takes
/// less time than looking out for who may come would (docs/performance.md).
fn collect(first: Submission, queue: &mut mpsc::Receiver<Request>) -> (Vec<Submission>, Option<Request>) {
    let (mut rows, mut bytes) = first.write.write.weight();
    let mut batch = vec![first];
    while rows < BATCH_ROWS && bytes < BATCH_BYTES {
        match queue.try_recv() {
            Ok(Request::Write(submission)) => {
                let weight = submission.write.write.weight();
                rows += weight.0;
                bytes += weight.1;
                batch.push(submission);
            }
            Ok(other) => return (batch, Some(other)),
            Err(_) => break,
        }
    }
    (batch, None)
}

fn answer(submissions: Vec<Submission>, result: &std::result::Result<Applied, Arc<StoreError>>) {
    for Submission { events, .. } in submissions {
        // An owner that has ended has nobody left to tell.
        drop(events.send(Event::Committed(result.clone())));
    }
}
