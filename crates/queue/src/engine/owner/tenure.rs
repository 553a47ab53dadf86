//! One epoch of an owner: from taking the shard to losing it.

mod moves;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use lambfold_types::{SleepFuture, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::engine::lease::Tenancy;
use crate::engine::link::{Command, Handover, PeekedPage, Reply};
use crate::engine::writer::{Applied, Request, Submission};
use crate::error::Error;
use crate::shard::{Decision, Load, Loaded, Shard, Taken, Waiters};
use crate::store::{FencedWrite, QueueStore, StoreError};

use self::moves::Evacuation;
use super::pending::Pending;
use super::{COMMANDS_AT_ONCE, End, Event, Owner, Receivers};

/// Submissions that may be on their way; what is decided beyond that goes into the next one, so that a slow store
/// gets fewer and larger ones.
const SUBMISSIONS: usize = 8;

/// Rows that may wait to be submitted before the owner takes no more commands.
const PENDING_ROWS: usize = 8192;

/// For how long mutations may wait if nobody waits for them: mostly receives, whose messages are often deleted by then,
/// which saves a commit of two, or the rows if there are other commits.
const LINGER: Duration = Duration::from_millis(10);
const LINGERING_ROWS: usize = 1024;

/// A page of the backlog.
const PAGE_MESSAGES: usize = 512;
const PAGE_BYTES: usize = 1 << 20;

/// Receives that wait; they outlive a tenure.
#[derive(Default)]
pub(super) struct Waiting {
    waiters: Waiters,
    receivers: Receivers,
    last_number: u64,
}

impl Waiting {
    /// Answers all with `error`.
    pub(super) fn fail(&mut self, error: &Error) {
        self.waiters.drain();
        for receiver in std::mem::take(&mut self.receivers).into_values() {
            drop(receiver.send(Err(error.clone())));
        }
    }
}

pub(super) struct Tenure {
    epoch: u64,
    /// Under which the shard was taken: without it nothing may be handed out, as another node may own the shard by now.
    tenancy: Tenancy,
    shard: Shard,
    /// Answers for the mutations that are not submitted yet.
    pending: Vec<Pending>,
    submitted: VecDeque<Submitted>,
    /// What other shards lose in the next submission of this one.
    departures: Vec<FencedWrite>,
    /// Commands that wait for the store to say which messages exist.
    parked: usize,
    /// Deletes that name messages on their way to another queue: whether there is something to delete, the end of the
    /// move decides.
    held_up: Vec<Command>,
    /// Moves to other queues that are under way.
    moves: usize,
    /// Messages set apart that were asked to be moved, once all that was decided about them is with the writer.
    evacuations: Vec<Evacuation>,
    events: mpsc::UnboundedReceiver<Event>,
    notify: mpsc::UnboundedSender<Event>,
    timer: Option<(Timestamp, SleepFuture)>,
    /// Until when mutations that nobody waits for may stay here.
    linger_until: Option<Timestamp>,
    stopping: bool,
}

/// A submission on its way.
struct Submitted {
    /// Messages below it are durable when it is.
    end: u64,
    pending: Vec<Pending>,
    /// Told when it is durable, for what must not become so before.
    followers: Vec<oneshot::Sender<()>>,
}

impl Tenure {
    pub(super) fn new(epoch: u64, tenancy: Tenancy, mut shard: Shard, waiting: &mut Waiting) -> Self {
        // Only as many events can be in it as there are submissions, reads and handovers under way.
        let (notify, events) = mpsc::unbounded_channel();
        *shard.waiters() = std::mem::take(&mut waiting.waiters);
        Self {
            epoch,
            tenancy,
            shard,
            pending: Vec::new(),
            submitted: VecDeque::new(),
            departures: Vec::new(),
            parked: 0,
            held_up: Vec::new(),
            moves: 0,
            evacuations: Vec::new(),
            events,
            notify,
            timer: None,
            linger_until: None,
            stopping: false,
        }
    }

    /// Serves until the shard is lost, the queue is deleted or the service stops.
    pub(super) async fn serve(
        mut self,
        owner: &mut Owner,
        waiting: &mut Waiting,
        first: Option<Command>,
    ) -> End {
        let end = self.run(owner, waiting, first).await;
        let error = match &end {
            Ok(End::Deleted | End::Gone) => Error::NoSuchQueue,
            Ok(End::Stopped | End::Retake) => Error::Stopping,
            Err(error) => error.clone(),
        };
        for evacuation in self.evacuations.drain(..) {
            drop(evacuation.reply.send(Err(error.clone())));
        }
        for command in self.held_up.drain(..) {
            command.fail(&error);
        }
        let submitted = self.submitted.drain(..).flat_map(|submitted| submitted.pending);
        for pending in submitted.chain(self.pending) {
            pending.fail(&error);
        }
        waiting.waiters = std::mem::take(self.shard.waiters());
        end.unwrap_or_else(|error| if matches!(error, Error::NoSuchQueue) { End::Gone } else { End::Retake })
    }

    async fn run(
        &mut self,
        owner: &mut Owner,
        waiting: &mut Waiting,
        first: Option<Command>,
    ) -> Result<End, Error> {
        let stop = owner.stop.clone();
        let mut stopped = pin!(stop.cancelled());
        if let Some(command) = first
            && self.decide(command, owner, waiting).await
        {
            return Ok(End::Deleted);
        }
        loop {
            self.check_tenancy()?;
            self.settle(owner, waiting).await?;
            if self.stopping && owner.commands.is_empty() && self.is_idle() {
                return Ok(End::Stopped);
            }
            let accepts = self.shard.pending_rows() < PENDING_ROWS && !owner.commands.is_closed()
                || !owner.commands.is_empty();
            tokio::select! {
                biased;
                event = self.events.recv() => {
                    self.handle(event.expect("this tenure holds a sender itself"), owner)?;
                    while let Ok(event) = self.events.try_recv() {
                        self.handle(event, owner)?;
                    }
                }
                () = self.tenancy.ended() => {}
                () = &mut stopped, if !self.stopping => self.stop(owner, waiting),
                Some(first) = owner.commands.recv(), if accepts => {
                    if let Err(error) = self.check_tenancy() {
                        first.fail(&Error::OwnerChanges);
                        return Err(error);
                    }
                    self.shard.advance(owner.clock.now());
                    let mut next = Some(first);
                    let mut handled = 0;
                    while let Some(command) = next.take() {
                        if self.decide(command, owner, waiting).await {
                            return Ok(End::Deleted);
                        }
                        handled += 1;
                        if handled < COMMANDS_AT_ONCE && self.shard.pending_rows() < PENDING_ROWS {
                            next = owner.commands.try_recv().ok();
                        }
                    }
                }
                () = ring(&mut self.timer) => {
                    self.timer = None;
                    self.shard.advance(owner.clock.now());
                }
            }
        }
    }

    /// Fails if another node may own the shard by now. What is under way may have been done or not.
    fn check_tenancy(&self) -> Result<(), Error> {
        if self.tenancy.holds() { Ok(()) } else { Err(Error::Store(Arc::new(StoreError::LeaseLost))) }
    }

    /// Follows up on what was decided: reads, answers to waiters, submission, timer.
    async fn settle(&mut self, owner: &mut Owner, waiting: &mut Waiting) -> Result<(), Error> {
        for command in std::mem::take(&mut self.held_up) {
            self.decide_handles(command);
        }
        let allowed = owner.cache.update(self.shard.record_bytes());
        self.shard.set_cache_bytes(allowed);
        self.start_loads(owner).await;
        let receivers = &waiting.receivers;
        let gone = |number: u64| receivers.get(&number).is_none_or(oneshot::Sender::is_closed);
        for (number, taken) in self.shard.dispatch(gone) {
            self.hand_over(number, taken, waiting);
        }
        // What was taken may leave others waiting for messages that are not in memory.
        self.start_loads(owner).await;
        for number in self.shard.expired_waiters() {
            self.hand_over(number, Vec::new(), waiting);
        }
        if waiting.receivers.len() > self.shard.waiters().len() + COMMANDS_AT_ONCE {
            // Waiters that `dispatch` found gone left their receivers behind.
            waiting.receivers.retain(|_, receiver| !receiver.is_closed());
        }
        self.submit(owner).await?;
        if !self.evacuations.is_empty() && self.shard.is_handed_over() {
            self.move_evacuees(owner);
        }
        if self.shard.has_dead_letters() && self.shard.is_handed_over() {
            self.move_dead_letters(owner, waiting);
            // What nobody could move was handed out again.
            self.submit(owner).await?;
        }
        if self.pending.is_empty() && self.submitted.is_empty() {
            self.shard.forget_refused();
        }
        owner.statistics.note(&self.shard.gauges());
        self.set_timer(owner);
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.submitted.is_empty()
            && self.pending.is_empty()
            && self.parked == 0
            && self.held_up.is_empty()
            && self.moves == 0
            && self.evacuations.is_empty()
            && self.shard.is_handed_over()
    }

    /// No more waiting; what was asked is still done.
    fn stop(&mut self, owner: &mut Owner, waiting: &mut Waiting) {
        self.stopping = true;
        owner.commands.close();
        for number in self.shard.waiters().drain() {
            self.hand_over(number, Vec::new(), waiting);
        }
    }

    fn hand_over(&mut self, number: u64, taken: Vec<Taken>, waiting: &mut Waiting) {
        match waiting.receivers.remove(&number) {
            Some(receiver) => self.answer_receive(receiver, taken),
            None => drop(Handover::new(taken, self.notify.clone())),
        }
    }

    /// Answers a receive, at once or after the commit.
    fn answer_receive(&mut self, reply: Reply<Handover>, taken: Vec<Taken>) {
        let waits = self.shard.hands_out_after_commit() && !taken.is_empty();
        let handover = Handover::new(taken, self.notify.clone());
        let receive = Pending::Receive { reply, handover };
        if waits {
            self.pending.push(receive);
        } else {
            receive.succeed(Applied::Whole);
        }
    }

    /// Decides about a command; true if the queue is deleted.
    async fn decide(&mut self, command: Command, owner: &mut Owner, waiting: &mut Waiting) -> bool {
        match command {
            Command::Send { messages, permit, reply } => match self.shard.send(messages) {
                Ok(stored) => self.pending.push(Pending::Send { reply, stored, _permit: permit }),
                Err(error) => drop(reply.send(Err(error))),
            },
            Command::Receive { mut params, reply } => {
                if self.stopping {
                    params.wait_time = Some(Duration::ZERO);
                }
                if waiting.receivers.len() >= owner.options.waiters {
                    let receivers = &mut waiting.receivers;
                    receivers.retain(|_, receiver| !receiver.is_closed());
                    self.shard.waiters().retain(|number| !receivers.contains_key(&number));
                }
                waiting.last_number += 1;
                let number = waiting.last_number;
                match self.shard.receive(number, &params) {
                    Ok(Decision::Taken(taken)) => self.answer_receive(reply, taken),
                    Ok(Decision::Waits) => {
                        waiting.receivers.insert(number, reply);
                    }
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            command @ (Command::Delete { .. } | Command::ChangeVisibility { .. }) => {
                let unknown = match &command {
                    Command::Delete { handles, .. } => self.shard.unknown(handles.iter().copied()),
                    Command::ChangeVisibility { changes, .. } => {
                        self.shard.unknown(changes.iter().map(|(handle, _)| *handle))
                    }
                    _ => Vec::new(),
                };
                if unknown.is_empty() {
                    self.decide_handles(command);
                } else {
                    self.look_up(unknown, command, owner).await;
                }
            }
            Command::Adopt { letters, departure, reply } => match self.shard.adopt(letters) {
                Ok(()) => {
                    self.departures.push(departure);
                    self.pending.push(Pending::Adopt { reply });
                }
                Err(error) => drop(reply.send(Err(error))),
            },
            Command::Evacuate { letters, handles, target, reply } => {
                let letters = self.shard.evacuate(letters, &handles);
                self.evacuations.push(Evacuation { letters, target, reply });
            }
            Command::Release { mut handles, reply } => {
                handles.retain(|handle| self.shard.has_in_flight(*handle));
                let release = |handle| self.shard.change_visibility(handle, Duration::ZERO);
                let results = handles.into_iter().map(release).collect();
                self.pending.push(Pending::Change { reply, results });
            }
            Command::Purge { reply } => match self.shard.purge(owner.options.purge_cooldown) {
                Ok(()) => self.pending.push(Pending::Purge { reply }),
                Err(error) => drop(reply.send(Err(error))),
            },
            Command::Peek { after, max, reply } => self.start_peek(after, max, reply, owner).await,
            Command::Counts { reply } => drop(reply.send(Ok(self.shard.counts()))),
            Command::Locate { reply } => drop(reply.send(Ok(()))),
            Command::Settings { settings, reply } => {
                owner.settings = settings.clone();
                self.shard.set_settings(settings);
                self.shard.advance(owner.clock.now());
                drop(reply.send(Ok(())));
            }
            Command::Deleted => return true,
        }
        false
    }

    /// Reads messages from the store, to be looked at.
    async fn start_peek(&mut self, after: u64, max: usize, reply: Reply<PeekedPage>, owner: &Owner) {
        let (key, notify, readable) = (self.shard.key(), self.notify.clone(), self.shard.readable());
        let range = readable.start.max(after.saturating_add(1))..readable.end;
        if range.is_empty() {
            drop(reply.send(Ok(PeekedPage::default())));
            return;
        }
        self.parked += 1;
        let read = move |store: &dyn QueueStore| {
            let (rows, exhausted) = store.load_page(key, range, max, PAGE_BYTES)?;
            Ok((rows, !exhausted))
        };
        owner.reader.start(read, move |result| drop(notify.send(Event::Peeked { result, reply }))).await;
    }

    /// Deletes or changes by handles of which the shard knows all that there is to know.
    fn decide_handles(&mut self, command: Command) {
        match command {
            Command::Delete { handles, reply }
                if handles.iter().any(|handle| self.shard.is_leaving(*handle)) =>
            {
                self.held_up.push(Command::Delete { handles, reply });
            }
            Command::Delete { handles, reply } => {
                let results = handles.into_iter().map(|handle| self.shard.delete(handle)).collect();
                self.pending.push(Pending::Delete { reply, results });
            }
            Command::ChangeVisibility { changes, reply } => {
                let change = |(handle, timeout)| self.shard.change_visibility(handle, timeout);
                let results = changes.into_iter().map(change).collect();
                self.pending.push(Pending::Change { reply, results });
            }
            other => other.fail(&Error::Overloaded),
        }
    }

    /// Parks a command until the store has said which of `sequences` exist.
    async fn look_up(&mut self, sequences: Vec<u64>, command: Command, owner: &Owner) {
        self.parked += 1;
        let (key, notify) = (self.shard.key(), self.notify.clone());
        let read = move |store: &dyn QueueStore| store.load_messages(key, &sequences, usize::MAX);
        owner.reader.start(read, move |result| drop(notify.send(Event::Found { command, result }))).await;
    }

    async fn start_loads(&mut self, owner: &Owner) {
        while let Some(load) = self.shard.take_load() {
            self.start_load(load, owner).await;
        }
    }

    async fn start_load(&mut self, load: Load, owner: &Owner) {
        let (key, notify) = (self.shard.key(), self.notify.clone());
        let read = move |store: &dyn QueueStore| {
            let (rows, exhausted) = match &load {
                Load::Page { range, .. } => store.load_page(key, range.clone(), PAGE_MESSAGES, PAGE_BYTES)?,
                Load::Records { sequences, .. } => (store.load_messages(key, sequences, PAGE_BYTES)?, false),
            };
            Ok(Loaded { load, rows, exhausted })
        };
        owner.reader.start(read, move |result| drop(notify.send(Event::Loaded(result)))).await;
    }

    fn handle(&mut self, event: Event, owner: &Owner) -> Result<(), Error> {
        self.shard.advance(owner.clock.now());
        match event {
            Event::Committed(result) => {
                let applied = result.map_err(|error| self.lost(&error))?;
                let Some(submitted) = self.submitted.pop_front() else { return Ok(()) };
                match applied {
                    Applied::Whole => self.shard.committed(submitted.end),
                    Applied::WithoutInserts => self.shard.refused(submitted.end),
                }
                for follower in submitted.followers {
                    // What was to follow may have been dropped.
                    _ = follower.send(());
                }
                for pending in submitted.pending {
                    if pending.rests_on_any(|sequences| self.shard.has_refused(sequences)) {
                        pending.fail(&Error::StorageFull);
                    } else {
                        pending.succeed(applied);
                    }
                }
            }
            Event::Returned(messages) => self.shard.give_back(messages),
            Event::Loaded(result) => {
                let loaded = result.map_err(|error| self.lost(&Arc::new(error)))?;
                let wrong = self.shard.take_loaded(loaded);
                if wrong != 0 {
                    tracing::error!(shard = %self.shard.key(), wrong, "the count of stored messages was wrong");
                }
            }
            Event::Moved { letters, result } => self.moved(letters, result)?,
            Event::Evacuated { letters, result, reply } => self.evacuated(&letters, result, reply)?,
            Event::Peeked { result, reply } => {
                self.parked -= 1;
                drop(reply.send(result.map_err(Error::from).map(|(rows, more)| {
                    let next = rows.last().map(|row| row.sequence).filter(|_| more);
                    PeekedPage { messages: self.shard.peek(rows), next }
                })));
            }
            Event::Found { command, result } => {
                self.parked -= 1;
                match result {
                    Ok(rows) => {
                        self.shard.found(rows);
                        self.decide_handles(command);
                    }
                    Err(error) => {
                        let error = self.lost(&Arc::new(error));
                        command.fail(&error);
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// The shard has to be taken anew; returns what those who wait for a commit are told.
    fn lost(&self, error: &Arc<StoreError>) -> Error {
        match &**error {
            StoreError::NoSuchShard(key) if *key == self.shard.key() => return Error::NoSuchQueue,
            StoreError::Full => return Error::StorageFull,
            StoreError::Fenced(_) => {
                tracing::warn!(shard = %self.shard.key(), "another node has taken the shard");
                return Error::Store(Arc::clone(error));
            }
            _ => {}
        }
        tracing::error!(shard = %self.shard.key(), %error, "the store failed; the shard is read anew");
        Error::Store(Arc::clone(error))
    }

    /// Hands what was decided to the writer.
    async fn submit(&mut self, owner: &Owner) -> Result<(), Error> {
        if self.submitted.len() >= SUBMISSIONS || self.lingers(owner) {
            return Ok(());
        }
        if self.shard.held() == 0 {
            self.linger_until = None;
        }
        let Some(write) = self.shard.take_write() else {
            // Decisions that changed nothing may rest on ones that are not durable yet.
            let pending = self.pending.drain(..);
            match self.submitted.back_mut() {
                Some(last) => last.pending.extend(pending),
                None => pending.for_each(|pending| pending.succeed(Applied::Whole)),
            }
            return Ok(());
        };
        let pending = std::mem::take(&mut self.pending);
        self.submitted.push_back(Submitted {
            end: self.shard.next_sequence(),
            pending,
            followers: Vec::new(),
        });
        let write = FencedWrite { shard: self.shard.key(), epoch: self.epoch, write };
        let departures = std::mem::take(&mut self.departures);
        let submission = Submission { write, departures, events: self.notify.clone() };
        if owner.writer.send(Request::Write(submission)).await { Ok(()) } else { Err(Error::Stopping) }
    }

    /// Whether nobody waits for what was decided, and so it can wait for a while. Puts what has waited for long enough
    /// into the next write.
    fn lingers(&mut self, owner: &Owner) -> bool {
        let (rows, held) = (self.shard.pending_rows(), self.shard.held());
        if rows + held == 0 {
            return false;
        }
        let now = owner.clock.now();
        let is_over = now >= *self.linger_until.get_or_insert(now + LINGER) || held > LINGERING_ROWS;
        let leaves = self.shard.has_dead_letters() || !self.evacuations.is_empty();
        if is_over || leaves || self.stopping {
            self.shard.release_held();
            return false;
        }
        rows <= LINGERING_ROWS && self.pending.is_empty()
    }

    fn set_timer(&mut self, owner: &Owner) {
        // While as many submissions are on their way as may be, nothing lingers: the end of one is what is waited for.
        let linger_until = self.linger_until.filter(|_| self.submitted.len() < SUBMISSIONS);
        let deadlines = [self.shard.next_deadline(), linger_until];
        let Some(deadline) = deadlines.into_iter().flatten().min() else { return };
        // A timer that rings too early costs little; one that was set anew at every message would cost more.
        if self.timer.as_ref().is_none_or(|(set, _)| *set > deadline) {
            self.timer = Some((deadline, owner.clock.sleep_until(deadline)));
        }
    }
}

/// Completes when the timer rings; never without one.
async fn ring(timer: &mut Option<(Timestamp, SleepFuture)>) {
    match timer {
        Some((_, sleep)) => sleep.await,
        None => std::future::pending().await,
    }
}
