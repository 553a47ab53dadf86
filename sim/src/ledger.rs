//! What the clients know: what they asked for and what they were answered. Holds the engine to it.
//!
//! Of every message the ledger knows whether it is *there* for certain, gone for certain, or in doubt since a call that
//! bears on it is under way or had an unknown outcome. At a quiet point the world shows the ledger all that is in the
//! queues; then all doubts end, one way or the other, and for good.

mod answers;
mod quiet;
mod received;

use std::collections::BTreeMap;
use std::time::Duration;

use lambfold_queue::store::ShardKey;
use lambfold_queue::{HandleParts, Queue, QueueSettings};
use lambfold_types::Timestamp;
use uuid::Uuid;

use crate::calls::Held;
use crate::store::Takeover;

pub(crate) use self::quiet::Sighting;
pub(crate) use self::received::Asked;

/// What the engine promised and did not keep.
pub(crate) type Check = Result<(), String>;

/// For how long a second message with the same deduplication id counts as the first.
const DEDUPLICATION: Duration = Duration::from_mins(5);

/// For how long the engine may keep a receive of a standard queue to itself before it hands it to the store.
pub(crate) const LINGER: Duration = Duration::from_millis(10);

/// Queues between which messages move: a queue and its dead-letter queue.
pub(crate) type Family = usize;

/// What is known of an incarnation of a queue. Bounds hold all that was ever asked for.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct KnownQueue {
    pub(crate) name: String,
    pub(crate) family: Family,
    pub(crate) is_fifo: bool,
    pub(crate) is_gone: bool,
    /// Somebody has tried to delete it.
    pub(crate) is_doubtful: bool,
    least_receives: Option<u32>,
    longest_delay: Duration,
    shortest_retention: Duration,
    longest_retention: Duration,
    /// Purges under way, or of which nobody knows what came of them.
    open_purges: u32,
    /// Receives of which nobody knows what they got.
    lost_receives: u32,
    /// A task may be moving messages away.
    pub(crate) is_moving: bool,
}

/// A message, by its number, which is in its body.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Message {
    pub(crate) family: Family,
    pub(crate) home: u64,
    pub(crate) group: Option<String>,
    pub(crate) deduplication_id: Option<String>,
    pub(crate) delay: Option<Duration>,
    /// Messages of one send that nobody has repeated stand or fall together.
    batch: Option<u64>,
    first_asked: Timestamp,
    sends_in_flight: usize,
    is_unknown: bool,
    /// It was acknowledged, or seen.
    is_stored: bool,
    /// Its `MessageId`.
    stored_as: Option<Uuid>,
    sent_at: Option<Timestamp>,
    /// The queue in which it is unless it has left since, and its sequence there.
    place: Option<u64>,
    /// Since which event that is known.
    placed_tick: u64,
    sequence: Option<u64>,
    receive_count: u32,
    /// How often it was received, as it was last seen, in a queue and under a sequence.
    last_count: Option<((u64, u64), u32)>,
    /// A delete is under way, or had an unknown outcome.
    is_deleting: bool,
    /// The same of purges and deletions of queues.
    is_doubtful: bool,
    /// When, and why, it was found to be gone for good.
    gone: Option<(u64, &'static str)>,
    /// Queues and sequences under which it is not there as of an event, since somebody deleted it.
    not_as: BTreeMap<(u64, u64), u64>,
    window: Option<Window>,
    changes_in_flight: usize,
    /// Changes were under way at the same time, or have an unknown outcome.
    changes_overlap: bool,
    last_change: u64,
    /// When it was last acknowledged, or first seen.
    sent_tick: u64,
    sends: usize,
    /// Its queue was purged, and knows its deduplication id no longer.
    is_forgotten: bool,
    /// A repetition may have come too late to be recognised: the same body may be there twice.
    may_be_twice: bool,
}

/// For how long nobody else may receive a message.
#[derive(Clone, Debug)]
struct Window {
    from: Timestamp,
    end: Timestamp,
    /// When the client learned of it.
    tick: u64,
    handle: Option<HandleParts>,
    attempt: Option<String>,
    /// Whether the receive is in the store for certain.
    is_durable: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) queues: BTreeMap<u64, KnownQueue>,
    pub(crate) messages: Vec<Message>,
    tick: u64,
    /// The last epoch of each queue, and when it began.
    epochs: BTreeMap<u64, (u64, Timestamp)>,
    /// Families in which a task has moved messages.
    moved: [bool; 2],
}

pub(crate) struct NewEntry {
    pub(crate) family: Family,
    pub(crate) home: u64,
    pub(crate) group: Option<String>,
    pub(crate) deduplication_id: Option<String>,
    pub(crate) delay: Option<Duration>,
}

impl Ledger {
    /// Counts an event; returns its number.
    pub(crate) fn tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    /// Notes a message that is about to be sent; returns its number.
    pub(crate) fn enter(&mut self, entry: NewEntry, batch: Option<u64>, now: Timestamp) -> usize {
        let NewEntry { family, home, group, deduplication_id, delay } = entry;
        self.messages.push(Message {
            family,
            home,
            group,
            deduplication_id,
            delay,
            batch,
            first_asked: now,
            sends_in_flight: 0,
            is_unknown: false,
            is_stored: false,
            stored_as: None,
            sent_at: None,
            place: Some(home),
            placed_tick: 0,
            sequence: None,
            receive_count: 0,
            last_count: None,
            is_deleting: false,
            is_doubtful: false,
            gone: None,
            not_as: BTreeMap::new(),
            window: None,
            changes_in_flight: 0,
            changes_overlap: false,
            last_change: 0,
            sent_tick: 0,
            sends: 0,
            is_forgotten: false,
            may_be_twice: false,
        });
        self.messages.len() - 1
    }

    /// Notes a queue that was created, or found.
    pub(crate) fn know_queue(&mut self, queue: &Queue, family: Family) {
        let settings = queue.properties().settings.clone();
        let known = KnownQueue {
            name: queue.name().to_string(),
            family,
            is_fifo: queue.kind().is_fifo(),
            is_gone: false,
            is_doubtful: false,
            least_receives: settings.redrive.as_ref().map(|redrive| redrive.max_receive_count),
            longest_delay: settings.delay,
            shortest_retention: settings.message_retention_period,
            longest_retention: settings.message_retention_period,
            open_purges: 0,
            lost_receives: 0,
            is_moving: false,
        };
        self.queues.entry(queue.incarnation()).or_insert(known);
        self.widen(queue.incarnation(), &settings);
    }

    /// Settings that may be in force from now on.
    pub(crate) fn widen(&mut self, queue: u64, settings: &QueueSettings) {
        let Some(known) = self.queues.get_mut(&queue) else { return };
        if let Some(redrive) = &settings.redrive {
            let least = known.least_receives.unwrap_or(u32::MAX);
            known.least_receives = Some(least.min(redrive.max_receive_count));
        }
        known.longest_delay = known.longest_delay.max(settings.delay);
        let retention = settings.message_retention_period;
        known.shortest_retention = known.shortest_retention.min(retention);
        known.longest_retention = known.longest_retention.max(retention);
    }

    /// A task may move messages out of a queue from now on.
    pub(crate) fn start_moving(&mut self, queue: u64) {
        let Some(known) = self.queues.get_mut(&queue) else { return };
        known.is_moving = true;
        let family = known.family;
        self.moved[family] = true;
        for message in self.messages.iter_mut().filter(|message| message.family == family) {
            message.last_count = None;
        }
    }

    /// What is sent again in time is not stored again; what was on its way for so long may be.
    pub(crate) fn time_passes(&mut self, now: Timestamp) {
        for message in &mut self.messages {
            let is_open = message.sends > 1 && (message.sends_in_flight > 0 || message.is_unknown);
            message.may_be_twice |= is_open && now >= message.first_asked + DEDUPLICATION;
        }
    }

    /// Whether a client may send a message again and expect it to be there once.
    pub(crate) fn can_repeat(&self, number: usize, now: Timestamp) -> bool {
        let message = &self.messages[number];
        message.deduplication_id.is_some()
            && !message.is_doubtful
            && !message.is_forgotten
            && message.gone.is_none_or(|(_, why)| why == "deleted")
            && now < message.first_asked + DEDUPLICATION
            && self.queues.get(&message.home).is_some_and(|queue| !queue.is_gone && !queue.is_doubtful)
    }

    /// A shard is taken: what its owner before was about to write it will not write any more.
    pub(crate) fn shard_is_taken(&mut self, takeover: &Takeover) {
        self.epochs.insert(takeover.shard.incarnation, (takeover.epoch, takeover.at));
        self.doubt_receives(takeover.shard.incarnation, takeover.epoch);
    }

    /// The owner of a shard is no more, and nobody has taken it yet.
    pub(crate) fn owner_is_gone(&mut self, shard: ShardKey) {
        self.doubt_receives(shard.incarnation, u64::MAX);
    }

    /// No receive of a standard queue by an owner before `epoch` is certain that was not in the store yet.
    fn doubt_receives(&mut self, queue: u64, epoch: u64) {
        let is_fifo = self.queues.get(&queue).is_some_and(|queue| queue.is_fifo);
        for message in self.messages.iter_mut().filter(|_| !is_fifo) {
            let doubtful = message.window.as_ref().is_some_and(|window| {
                !window.is_durable
                    && window.handle.is_none_or(|it| it.incarnation == queue && it.epoch < epoch)
            });
            if doubtful {
                message.window = None;
                message.last_count = None;
            }
        }
    }

    /// All tasks wait, and all shards have owners: what was received long enough ago is in the store.
    pub(crate) fn is_quiet(&mut self, now: Timestamp) {
        for window in self.messages.iter_mut().filter_map(|message| message.window.as_mut()) {
            window.is_durable |= window.from + LINGER < now;
        }
    }

    /// Where a message is, if it is there at all and cannot have left.
    fn settled_at(&self, message: &Message) -> Option<u64> {
        let place = message.place?;
        let queue = self.queues.get(&place)?;
        let receives = message.receive_count.saturating_add(queue.lost_receives);
        let may_be_dead = queue.least_receives.is_some_and(|least| receives >= least);
        (!may_be_dead && !queue.is_moving).then_some(place)
    }

    /// Whether it is there, wherever.
    fn is_there(&self, message: &Message, now: Timestamp) -> bool {
        message.is_stored
            && !message.is_deleting
            && !message.is_doubtful
            && message.gone.is_none()
            && !self.may_be_over(message, now)
            && !self.may_be_emptied(message)
    }

    /// Whether a purge or deletion is under way, or lost, of a queue in which it may be.
    fn may_be_emptied(&self, message: &Message) -> bool {
        let settled = self.settled_at(message);
        self.queues.iter().any(|(number, queue)| {
            let is_open = queue.open_purges > 0 || queue.is_doubtful && !queue.is_gone;
            is_open && queue.family == message.family && settled.is_none_or(|place| place == *number)
        })
    }

    /// Whether its retention period may be over at `now`.
    fn may_be_over(&self, message: &Message, now: Timestamp) -> bool {
        let family = self.queues.values().filter(|queue| queue.family == message.family);
        let shortest = family.map(|queue| queue.shortest_retention).min().unwrap_or_default();
        message.first_asked + shortest <= now
    }

    /// All messages that may be in a queue.
    fn possibly_in(&self, queue: u64) -> Vec<usize> {
        let Some(family) = self.queues.get(&queue).map(|queue| queue.family) else { return Vec::new() };
        let of_family = self.messages.iter().enumerate().filter(|(_, it)| it.family == family);
        let possible = of_family.filter(|(_, message)| {
            message.gone.is_none() && self.settled_at(message).is_none_or(|place| place == queue)
        });
        possible.map(|(number, _)| number).collect()
    }

    fn count_lost(&mut self, queue: u64, change: i32) {
        if let Some(known) = self.queues.get_mut(&queue) {
            known.lost_receives = known.lost_receives.saturating_add_signed(change);
        }
    }

    /// For the next line of the history.
    pub(crate) fn summary(&self) -> String {
        let there =
            self.messages.iter().filter(|message| message.is_stored && message.gone.is_none()).count();
        format!("{} messages, {there} there", self.messages.len())
    }
}

impl Message {
    /// Whether the receive of a handle has it for certain.
    fn is_held(&self, held: &Held, now: Timestamp) -> bool {
        self.window.as_ref().is_some_and(|window| window.handle == Some(held.handle) && now < window.end)
    }
}
