//! The owner of a shard: the one task that decides about its messages. Feeds commands and time to the state machine,
//! hands its mutations to the writer, and answers callers when their commit is done.

mod pending;
mod place;
mod tenure;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lambfold_types::{Clock, SleepFuture, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::metrics::QueueStatistics;
use crate::options::Options;
use crate::queue::{QueueKind, QueueSettings};
use crate::shard::{Contents, DeadLetter, Limits, Loaded, Shard, Taken};
use crate::store::{DeduplicationRow, DeliveryRow, MessageRow, QueueStore, ShardHead, ShardKey, StoreError};

use super::cache::CacheShare;
use super::lease::Lease;
use super::link::{Command, Handover, PeekedPage, Reply, SharedWhereabouts, Whereabouts};
use super::reader::ReaderLink;
use super::writer::{Applied, WriterLink};

pub(crate) use self::place::Place;
use self::tenure::Tenure;

/// How many commands are handled before what they decided is handed to the writer.
const COMMANDS_AT_ONCE: usize = 256;

/// For how long an owner that cannot take its shard waits before it tries again.
const RETAKE: Duration = Duration::from_millis(200);

/// News for an owner.
pub(crate) enum Event {
    /// The oldest submission that was not answered yet is done.
    Committed(Result<Applied, Arc<StoreError>>),
    /// Messages were handed to a receiver who has gone.
    Returned(Vec<Taken>),
    /// A read is done.
    Loaded(Result<Loaded, StoreError>),
    /// Dead letters have arrived in their queue, or not.
    Moved { letters: Vec<DeadLetter>, result: Result<(), Error> },
    /// The same of messages that somebody asked to be moved.
    Evacuated { letters: Vec<DeadLetter>, result: Result<(), Error>, reply: Reply<u64> },
    /// Messages were read, to be looked at; whether there are more.
    Peeked { result: Result<(Vec<MessageRow>, bool), StoreError>, reply: Reply<PeekedPage> },
    /// The store said which messages exist that a parked command names.
    Found { command: Command, result: Result<Vec<MessageRow>, StoreError> },
}

/// What an owner is given.
pub(crate) struct Owner {
    pub(crate) key: ShardKey,
    pub(crate) kind: QueueKind,
    pub(crate) place: Place,
    pub(crate) settings: QueueSettings,
    pub(crate) statistics: Arc<QueueStatistics>,
    pub(crate) options: Arc<Options>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) writer: WriterLink,
    pub(crate) reader: ReaderLink,
    pub(crate) cache: CacheShare,
    pub(crate) lease: Lease,
    pub(crate) whereabouts: SharedWhereabouts,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) stop: CancellationToken,
}

/// Receivers that wait, by their number.
pub(crate) type Receivers = BTreeMap<u64, oneshot::Sender<Result<Handover, Error>>>;

/// Why a tenure ended.
enum End {
    /// The shard has to be taken anew.
    Retake,
    /// The queue was deleted.
    Deleted,
    /// The store does not have the shard any more, and nobody has said so: a deletion that seemed to have failed.
    Gone,
    /// The service stops, and all is answered.
    Stopped,
}

impl Owner {
    /// Owns the shard until the service stops or the queue is deleted.
    pub(crate) async fn run(mut self) {
        let mut waiting = tenure::Waiting::default();
        // What was asked when this node did not know whether another one owns the shard still.
        let mut first: Option<Command> = None;
        let end = loop {
            let tenure = match self.take(&mut waiting).await {
                Ok(Some(tenure)) => tenure,
                Ok(None) => break End::Stopped,
                Err(StoreError::NoSuchShard(_)) => break End::Gone,
                Err(error) => {
                    let error = self.report(error);
                    waiting.fail(&error);
                    if let Some(command) = first.take() {
                        command.fail(&error);
                    }
                    if !self.refuse_until(self.clock.now() + RETAKE, &error).await {
                        break End::Stopped;
                    }
                    if let Error::OwnedElsewhere(_) = error {
                        self.whereabouts.set(Whereabouts::Unknown);
                        first = match self.asked().await {
                            Some(command) => Some(command),
                            None => break End::Stopped,
                        };
                    }
                    continue;
                }
            };
            self.whereabouts.set(Whereabouts::Here);
            let end = tenure.serve(&mut self, &mut waiting, first.take()).await;
            self.whereabouts.set(Whereabouts::Unknown);
            match end {
                End::Retake => {}
                end => break end,
            }
        };
        let is_stopped = matches!(end, End::Stopped);
        let reason = if is_stopped { Error::Stopping } else { Error::NoSuchQueue };
        if let Some(command) = first {
            command.fail(&reason);
        }
        waiting.fail(&reason);
        if matches!(end, End::Gone) {
            self.refuse_as_gone().await;
        }
        self.commands.close();
        while let Some(command) = self.commands.recv().await {
            command.fail(&reason);
        }
    }

    /// Notes why the shard could not be taken, and says it to callers.
    fn report(&self, error: StoreError) -> Error {
        match &error {
            StoreError::OwnedElsewhere { address, .. } => {
                self.whereabouts.set(Whereabouts::There(address.as_str().into()));
            }
            StoreError::LeaseLost => {
                // The loss was told by who renews it, once for all shards.
                tracing::debug!(shard = %self.key, "the shard cannot be taken without a lease");
            }
            error => tracing::error!(shard = %self.key, %error, "the shard cannot be taken"),
        }
        error.into()
    }

    /// Waits until somebody asks for something while another node owns the shard; `None` if the service stops.
    async fn asked(&mut self) -> Option<Command> {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                command = self.commands.recv() => match command? {
                    Command::Settings { settings, reply } => {
                        self.settings = settings;
                        drop(reply.send(Ok(())));
                    }
                    command => return Some(command),
                },
            }
        }
    }

    /// Takes the shard and reads its state; `None` if the service has stopped.
    async fn take(&mut self, waiting: &mut tenure::Waiting) -> Result<Option<Tenure>, StoreError> {
        let key = self.key;
        let (reply, taken) = oneshot::channel();
        let tenancy = self.lease.tenancy();
        if !tenancy.holds() {
            // The store may think that it does: what is taken now would be given up at once, and taken again, and so on.
            return Err(StoreError::LeaseLost);
        }
        if !self.writer.send(super::writer::Request::Take { shard: key, reply }).await {
            return Ok(None);
        }
        let Ok(head) = taken.await else { return Ok(None) };
        let head = head?;
        let Some(contents) = self.read_contents(head).await? else { return Ok(None) };
        let limits = Limits {
            in_flight: self.options.in_flight_limit,
            indexed: self.options.indexed_messages,
            waiters: self.options.waiters,
        };
        let settings = self.settings.clone();
        let shard = Shard::restore(key, self.kind, contents, limits, settings, self.clock.now());
        Ok(Some(Tenure::new(head.epoch, tenancy, shard, waiting)))
    }

    /// Reads what has to be known of the shard from the start; `None` if the service has stopped.
    async fn read_contents(&self, head: ShardHead) -> Result<Option<Contents>, StoreError> {
        const PAGE: usize = 10_000;
        const PAGE_BYTES: usize = 4 << 20;
        let (key, from, reader) = (self.key, head.purged_before, &self.reader);
        let deliveries = read_pages(
            from,
            PAGE,
            |row: &DeliveryRow| row.sequence,
            |from| reader.read(move |store| store.load_deliveries(key, from, PAGE)),
        );
        let Some(deliveries) = deliveries.await? else { return Ok(None) };
        let mut contents = Contents::new(head, deliveries);
        if !self.kind.is_fifo() {
            return Ok(Some(contents));
        }
        let deduplications = read_pages(
            from,
            PAGE,
            |row: &DeduplicationRow| row.sequence,
            |from| reader.read(move |store| store.load_deduplications(key, from, PAGE)),
        );
        let Some(deduplications) = deduplications.await? else { return Ok(None) };
        contents.deduplications = deduplications;
        let now = self.clock.now();
        let mut rest: &[u64] = &contents.deliveries.iter().map(|row| row.sequence).collect::<Vec<_>>();
        while !rest.is_empty() {
            let asked = rest[..rest.len().min(PAGE)].to_vec();
            let done = asked.len();
            let load = move |store: &dyn QueueStore| store.load_messages(key, &asked, PAGE_BYTES);
            let Some(messages) = reader.read(load).await else { return Ok(None) };
            let messages = messages?;
            // As many as fit come at once; those behind the last that came are asked for again.
            let last = messages.last().map(|row| row.sequence);
            let place = last.and_then(|last| rest.iter().position(|sequence| *sequence == last));
            rest = &rest[place.map_or(done, |place| place + 1)..];
            for row in &messages {
                contents.add_message(row, now);
            }
        }
        Ok(Some(contents))
    }

    /// Tells everybody that there is no such queue until somebody deletes it, or the service stops: as long as it is
    /// listed, a closed channel would mean that the service is stopping.
    async fn refuse_as_gone(&mut self) {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                command = self.commands.recv() => match command {
                    Some(Command::Deleted) | None => return,
                    Some(command) => command.fail(&Error::NoSuchQueue),
                },
            }
        }
    }

    /// Answers every command with `error` until `deadline`; false if the service stops.
    async fn refuse_until(&mut self, deadline: Timestamp, error: &Error) -> bool {
        let mut sleep: SleepFuture = self.clock.sleep_until(deadline);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return false,
                () = &mut sleep => return true,
                command = self.commands.recv() => match command {
                    Some(Command::Settings { settings, reply }) => {
                        self.settings = settings;
                        drop(reply.send(Ok(())));
                    }
                    Some(Command::Deleted) => {
                        // The next attempt finds no shard.
                        return true;
                    }
                    // Nothing was done: where the letters come from has no reason to read its shard anew, and would
                    // do so over and over.
                    Some(Command::Adopt { reply, .. }) => drop(reply.send(Err(Error::Overloaded))),
                    Some(command) => command.fail(error),
                    None => return false,
                },
            }
        }
    }
}

/// Reads pages of up to `limit` rows from sequence `from` on until there are no more; `None` if the service has stopped.
async fn read_pages<T, F>(
    mut from: u64,
    limit: usize,
    sequence: impl Fn(&T) -> u64,
    read: impl Fn(u64) -> F,
) -> Result<Option<Vec<T>>, StoreError>
where
    F: Future<Output = Option<Result<Vec<T>, StoreError>>>,
{
    let mut rows = Vec::new();
    loop {
        let Some(page) = read(from).await else { return Ok(None) };
        let page = page?;
        let (last, complete) = (page.last().map(&sequence), page.len() < limit);
        rows.extend(page);
        match last {
            Some(last) if !complete => from = last + 1,
            _ => return Ok(Some(rows)),
        }
    }
}
