//! One mapping: receives, gathers, and keeps as many batches in flight as it may.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lambfold_types::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::batch::{Batch, Gathering, Message};
use crate::invoke::{BatchRun, Ending};
use crate::mapping::{DesiredState, Mapping};
use crate::metrics::{BatchOutcome, MessageOutcome};
use crate::report::{self, Reporter};
use crate::scaling::Scaling;
use crate::shared::Shared;
use crate::source::{Source, SourceError};

/// Messages of one receive.
const RECEIVE_MOST: usize = 10;

type Receive = BoxFuture<'static, Result<Vec<Message>, SourceError>>;

/// The task of one mapping. There is one receive at a time, which fills one batch after the other; batches run in
/// tasks of their own. Nothing is received that could not be invoked at once, so a stuck function holds up to
/// the mapping's concurrency of batches and nothing more.
pub(crate) struct Poll {
    shared: Arc<Shared>,
    source: Arc<Source>,
    told: watch::Receiver<Arc<Mapping>>,
    stop: CancellationToken,
    mapping: Arc<Mapping>,
    reporter: Reporter,
    /// Aborts the courier with this task.
    _courier: JoinSet<()>,

    gathering: Gathering,
    /// Closed batches without a place.
    ready: VecDeque<Batch>,
    running: JoinSet<Ending>,
    receive: Option<(usize, Receive)>,
    /// Whether the last receive brought as much as was asked for.
    more_waits: bool,
    /// No receive before; after a failure.
    resume_at: Timestamp,
    /// Whether the last receive found no queue.
    queue_gone: bool,
    scaling: Scaling,
    throttled: (mpsc::Sender<()>, mpsc::Receiver<()>),
    winding_down: CancellationToken,
    source_backoff: Backoff,
    gone_backoff: Backoff,
    invoke_backoff: Backoff,
}

impl Poll {
    /// A task for what `told` says; ends when `stop` is cancelled.
    pub(crate) fn new(
        shared: Arc<Shared>,
        mut told: watch::Receiver<Arc<Mapping>>,
        stop: CancellationToken,
    ) -> Self {
        let mapping = Arc::clone(&told.borrow_and_update());
        let (reporter, courier) = report::reporter(Arc::clone(&shared), &mapping);
        let mut couriers = JoinSet::new();
        couriers.spawn(courier.run());
        let now = shared.clock.now();
        let mut poll = Self {
            source: Arc::new(Source::new(Arc::clone(&shared), mapping.queue.clone())),
            told,
            stop,
            reporter,
            _courier: couriers,
            gathering: Gathering::new(mapping.batch_size, mapping.batching_window),
            ready: VecDeque::new(),
            running: JoinSet::new(),
            receive: None,
            more_waits: false,
            resume_at: now,
            queue_gone: false,
            scaling: Scaling::new(Self::most_batches(&shared, &mapping), now),
            throttled: mpsc::channel(1),
            winding_down: CancellationToken::new(),
            source_backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)),
            gone_backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(30)),
            invoke_backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(30)),
            mapping,
            shared,
        };
        poll.begin_generation();
        poll
    }

    /// Runs until it is stopped and every batch has ended.
    pub(crate) async fn run(mut self) {
        loop {
            let stopping = self.stop.is_cancelled();
            if self.told.has_changed().is_ok_and(|changed| changed) {
                self.mapping = Arc::clone(&self.told.borrow_and_update());
                self.begin_generation();
            }
            if self.is_wanted() && !stopping {
                self.advance();
            } else {
                self.wind_down();
                if self.running.is_empty() {
                    if stopping {
                        return;
                    }
                    self.reporter.reached(&self.mapping);
                }
            }
            let wake_at = self.wake_at();
            tokio::select! {
                received = Self::received(&mut self.receive) => self.take(received),
                Some(ended) = self.running.join_next() => self.ended(ended),
                Some(()) = self.throttled.1.recv() => self.scaling.throttled(self.shared.clock.now()),
                // An error means that nobody tells us anything any more; `stop` follows.
                Ok(()) = self.told.changed() => self.told.mark_changed(),
                () = self.stop.cancelled(), if !stopping => {}
                () = self.shared.sleep_until(wake_at) => {}
            }
        }
    }

    fn most_batches(shared: &Shared, mapping: &Mapping) -> usize {
        let most = shared.options.max_concurrency;
        mapping.maximum_concurrency.map_or(most, |limit| limit.min(most))
    }

    /// Whether the user wants messages to be polled, and we can.
    fn is_wanted(&self) -> bool {
        self.mapping.desired_state == DesiredState::Enabled && !self.mapping.has_filters
    }

    fn begin_generation(&mut self) {
        let mapping = &self.mapping;
        tracing::info!(
            mapping.uuid = mapping.uuid,
            mapping.generation = mapping.generation,
            queue.name = %mapping.queue.resource,
            function.name = mapping.function_name,
            state = mapping.desired_state.as_str(),
            "an event source mapping is taken up"
        );
        self.gathering.reconfigure(mapping.batch_size, mapping.batching_window);
        self.scaling.reconfigure(Self::most_batches(&self.shared, mapping));
        if mapping.desired_state == DesiredState::Enabled {
            self.resume_at = self.shared.clock.now();
            if self.winding_down.is_cancelled() {
                self.winding_down = CancellationToken::new();
            }
            self.reporter.reached(mapping);
            if mapping.has_filters {
                let text = "PROBLEM: FilterCriteria are not supported yet; no message is received.";
                self.reporter.result(mapping, text);
            }
        }
    }

    /// Gives batches their places and begins the next receive.
    fn advance(&mut self) {
        let now = self.shared.clock.now();
        self.ready.extend(self.gathering.close_due(now));
        if self.is_saturated() {
            self.scaling.saturated(now);
        }
        while self.running.len() < self.scaling.limit()
            && let Some(batch) = self.ready.pop_front()
        {
            self.begin(batch);
        }
        let room = self.room();
        if self.receive.is_none() && room > 0 && now >= self.resume_at {
            let mapping = &self.mapping;
            let timeout =
                self.shared.timeouts.get(&mapping.scope, &mapping.function_name, &mapping.qualifier());
            let receive = Arc::clone(&self.source).receive(room, mapping.batching_window, timeout);
            self.receive = Some((room, receive.boxed()));
        }
    }

    /// How many messages could be invoked if they came now.
    fn room(&self) -> usize {
        let free = self.scaling.limit().saturating_sub(self.running.len() + self.ready.len());
        if free == 0 {
            return 0;
        }
        let most = if self.mapping.is_fifo {
            // One receive is one batch: two of them at once could hold messages of one group.
            self.mapping.batch_size
        } else {
            free.saturating_mul(self.mapping.batch_size).saturating_sub(self.gathering.len())
        };
        most.min(RECEIVE_MOST)
    }

    fn is_saturated(&self) -> bool {
        self.more_waits && self.running.len() >= self.scaling.limit()
    }

    /// When there is something to do though nothing happens.
    fn wake_at(&self) -> Option<Timestamp> {
        let resume = (self.receive.is_none() && self.room() > 0).then_some(self.resume_at);
        let grow = if self.is_saturated() { self.scaling.grows_at() } else { None };
        if self.is_wanted() && !self.stop.is_cancelled() {
            [self.gathering.closes_at(), resume, grow].into_iter().flatten().min()
        } else {
            None
        }
    }

    async fn received(receive: &mut Option<(usize, Receive)>) -> (usize, Result<Vec<Message>, SourceError>) {
        let Some((asked, pending)) = receive else { return std::future::pending().await };
        let outcome = pending.await;
        let asked = *asked;
        *receive = None;
        (asked, outcome)
    }

    fn take(&mut self, (asked, outcome): (usize, Result<Vec<Message>, SourceError>)) {
        let now = self.shared.clock.now();
        match outcome {
            Ok(messages) => {
                self.source_backoff.succeeded();
                self.gone_backoff.succeeded();
                if std::mem::take(&mut self.queue_gone) {
                    self.reporter.result(&self.mapping, "No records processed");
                }
                self.more_waits = messages.len() >= asked;
                if messages.is_empty() && self.running.is_empty() {
                    self.scaling.idle();
                }
                for message in messages {
                    self.ready.extend(self.gathering.add(message, now));
                }
            }
            Err(SourceError::Gone) => {
                self.shared.metrics.source_errors.inc();
                tracing::warn!(
                    mapping.uuid = self.mapping.uuid,
                    queue.name = %self.mapping.queue.resource,
                    "the queue of a mapping does not exist"
                );
                let text = "PROBLEM: The queue does not exist. It may have been deleted.";
                self.reporter.result(&self.mapping, text);
                self.queue_gone = true;
                self.resume_at = now + self.gone_backoff.failed(&*self.shared.entropy);
            }
            Err(SourceError::Away(fault)) => {
                self.shared.metrics.source_errors.inc();
                tracing::debug!(
                    mapping.uuid = self.mapping.uuid,
                    queue.name = %self.mapping.queue.resource,
                    %fault,
                    "nothing can be received"
                );
                self.resume_at = now + self.source_backoff.failed(&*self.shared.entropy);
            }
        }
    }

    fn begin(&mut self, batch: Batch) {
        let run = BatchRun {
            shared: Arc::clone(&self.shared),
            source: Arc::clone(&self.source),
            mapping: Arc::clone(&self.mapping),
            throttled: self.throttled.0.clone(),
            winding_down: self.winding_down.clone(),
        };
        self.running.spawn(run.run(batch));
    }

    fn ended(&mut self, ended: Result<Ending, JoinError>) {
        const FAILED: &str = "PROBLEM: Function call failed";
        let mapping = &self.mapping;
        match ended {
            Ok(Ending::Processed) => {
                self.invoke_backoff.succeeded();
                self.reporter.result(mapping, report::OK);
            }
            Ok(Ending::FunctionFailed) => {
                self.invoke_backoff.succeeded();
                if !mapping.report_batch_item_failures {
                    self.scaling.failed();
                }
                self.reporter.result(mapping, FAILED);
            }
            Ok(Ending::Throttled) => self.reporter.result(mapping, FAILED),
            Ok(Ending::NotInvoked) => {
                // Every further receive would only raise receive counts.
                let wait = self.invoke_backoff.failed(&*self.shared.entropy);
                self.resume_at = self.shared.clock.now() + wait;
                self.reporter.result(mapping, FAILED);
            }
            Ok(Ending::Dropped) => {}
            Err(error) => tracing::error!(mapping.uuid = mapping.uuid, %error, "a batch broke off"),
        }
    }

    /// Receives nothing more and gives back what was not invoked; what runs goes on.
    fn wind_down(&mut self) {
        // What has just come is not lost with the poll.
        if let Some((_, receive)) = self.receive.take()
            && let Some(Ok(messages)) = receive.now_or_never()
        {
            self.ready.push_back(messages);
        }
        self.more_waits = false;
        self.winding_down.cancel();
        self.ready.push_back(self.gathering.close());
        let waiting: Batch = self.ready.drain(..).flatten().collect();
        if waiting.is_empty() {
            return;
        }
        let (shared, source) = (Arc::clone(&self.shared), Arc::clone(&self.source));
        self.running.spawn(async move {
            source.hand_back(&waiting).await;
            shared.metrics.messages(MessageOutcome::HandedBack, waiting.len());
            shared.metrics.batch(BatchOutcome::HandedBack);
            Ending::Dropped
        });
    }
}
