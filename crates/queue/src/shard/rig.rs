//! A shard over a store in memory, stepped by hand: what the owner, the writer and the reader do, without tasks.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use lambfold_types::{Scope, Timestamp};
use uuid::Uuid;

use crate::error::Error;
use crate::message::with_group;
use crate::message::{HandleParts, ReceiveParams};
use crate::queue::{QueueKind, QueueProperties, QueueSettings};
use crate::store::{FencedWrite, MemoryStore, QueueRow, QueueStore, ShardKey, ShardWrite};

use super::{Contents, Decision, Limits, Load, Loaded, Outgoing, Shard, Stored, Taken};

pub(super) struct Rig {
    pub(super) shard: Shard,
    pub(super) now: Timestamp,
    store: MemoryStore,
    key: ShardKey,
    kind: QueueKind,
    epoch: u64,
    limits: Limits,
    settings: QueueSettings,
    cache_bytes: usize,
    /// Decisions that are not committed, oldest first.
    submitted: VecDeque<(ShardWrite, u64)>,
    loads: VecDeque<Load>,
    page_messages: usize,
    last_number: u64,
}

pub(super) const LIMITS: Limits = Limits { in_flight: 120_000, indexed: 1_000_000, waiters: 100 };

impl Rig {
    pub(super) fn new(
        limits: Limits,
        settings: QueueSettings,
        cache_bytes: usize,
        page_messages: usize,
    ) -> Self {
        Self::of_kind(QueueKind::Standard, limits, settings, cache_bytes, page_messages)
    }

    pub(super) fn of_kind(
        kind: QueueKind,
        limits: Limits,
        settings: QueueSettings,
        cache_bytes: usize,
        page_messages: usize,
    ) -> Self {
        let store = MemoryStore::new();
        let key = ShardKey { incarnation: 1, shard: 0 };
        let now = Timestamp::from_millis(1_000_000);
        let row = QueueRow {
            scope: Scope::default(),
            name: "jobs".parse().unwrap(),
            incarnation: 1,
            kind,
            created_at: now,
            modified_at: now,
            properties: QueueProperties::default(),
        };
        store.create_queue(&row).unwrap();
        let contents = contents(&store, key);
        let epoch = contents.head.epoch;
        let shard = Shard::restore(key, kind, contents, limits, settings.clone(), now);
        let mut rig = Self {
            shard,
            now,
            store,
            key,
            kind,
            epoch,
            limits,
            settings,
            cache_bytes,
            submitted: VecDeque::new(),
            loads: VecDeque::new(),
            page_messages,
            last_number: 0,
        };
        rig.shard.set_cache_bytes(cache_bytes);
        rig
    }

    /// A queue with AWS's defaults and enough memory.
    pub(super) fn plain() -> Self {
        Self::new(LIMITS, QueueSettings::default(), 1 << 20, 512)
    }

    /// Starts anew from what is committed; all else is lost.
    pub(super) fn crash(&mut self) {
        let contents = contents(&self.store, self.key);
        self.epoch = contents.head.epoch;
        let settings = self.settings.clone();
        self.shard = Shard::restore(self.key, self.kind, contents, self.limits, settings, self.now);
        self.shard.set_cache_bytes(self.cache_bytes);
        self.submitted.clear();
        self.loads.clear();
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.shard.advance(self.now);
    }

    /// Hands decisions over to be committed, also those that nobody waits for; false if there are none.
    pub(super) fn submit(&mut self) -> bool {
        self.shard.release_held();
        let Some(write) = self.shard.take_write() else { return false };
        self.submitted.push_back((write, self.shard.next_sequence()));
        true
    }

    /// Commits the oldest submission; false if there is none.
    pub(super) fn commit_one(&mut self) -> bool {
        let Some((write, end)) = self.submitted.pop_front() else { return false };
        self.store.apply(&[FencedWrite { shard: self.key, epoch: self.epoch, write }]).unwrap();
        self.shard.advance(self.now);
        self.shard.committed(end);
        true
    }

    /// Has the store refuse the oldest submission's new messages for want of room.
    pub(super) fn refuse_one(&mut self) -> bool {
        let Some((mut write, end)) = self.submitted.pop_front() else { return false };
        write.inserts.clear();
        self.store.apply(&[FencedWrite { shard: self.key, epoch: self.epoch, write }]).unwrap();
        self.shard.refused(end);
        true
    }

    pub(super) fn commit(&mut self) {
        self.submit();
        while self.commit_one() {}
    }

    /// Starts the reads that are wanted, to be answered by [`Rig::load_one`].
    pub(super) fn start_loads(&mut self) {
        while let Some(load) = self.shard.take_load() {
            self.loads.push_back(load);
        }
    }

    /// Performs the oldest read. Returns whether there was one.
    pub(super) fn load_one(&mut self) -> bool {
        let Some(load) = self.loads.pop_front() else { return false };
        let (rows, exhausted) = match &load {
            Load::Page { range, .. } => {
                self.store.load_page(self.key, range.clone(), self.page_messages, usize::MAX).unwrap()
            }
            Load::Records { sequences, .. } => {
                (self.store.load_messages(self.key, sequences, usize::MAX).unwrap(), false)
            }
        };
        assert_eq!(self.shard.take_loaded(Loaded { load, rows, exhausted }), 0, "counts are exact");
        true
    }

    /// Performs all reads.
    pub(super) fn load(&mut self) {
        self.start_loads();
        while self.load_one() {
            self.start_loads();
        }
    }

    /// Commits and reads until nothing changes any more.
    pub(super) fn settle(&mut self) {
        loop {
            self.shard.advance(self.now);
            self.commit();
            self.start_loads();
            if self.loads.is_empty() && self.shard.pending_rows() == 0 {
                return;
            }
            self.load();
        }
    }

    pub(super) fn send(&mut self, bodies: &[&str], delay: Option<Duration>) -> Vec<u64> {
        self.send_of("", bodies, delay)
    }

    /// The same of a message group, unless that has no name.
    pub(super) fn send_of(&mut self, group: &str, bodies: &[&str], delay: Option<Duration>) -> Vec<u64> {
        let outgoing = |body: &&str| {
            let body = Bytes::copy_from_slice(body.as_bytes());
            let record = if group.is_empty() { body } else { with_group(&body, group) };
            Outgoing { record, delay, message_id: Uuid::nil(), deduplication: None }
        };
        self.shard.advance(self.now);
        self.shard.send(bodies.iter().map(outgoing).collect()).unwrap().sequences
    }

    /// Sends to a FIFO queue: group and deduplication id of each message, whose `MessageId` is `first_id` and on.
    pub(super) fn send_in_order(&mut self, messages: &[(&str, u128)], first_id: u128) -> Stored {
        let outgoing = |(id, (group, deduplication)): (u128, &(&str, u128))| Outgoing {
            record: with_group(&Bytes::from_static(b"body"), group),
            delay: None,
            message_id: Uuid::from_u128(id),
            deduplication: Some(*deduplication),
        };
        self.shard.advance(self.now);
        self.shard.send((first_id..).zip(messages).map(outgoing).collect()).unwrap()
    }

    pub(super) fn send_committed(&mut self, bodies: &[&str]) -> Vec<u64> {
        let sequences = self.send(bodies, None);
        self.commit();
        sequences
    }

    /// A short poll, for which reads are performed if it waits for them.
    pub(super) fn receive(&mut self, max: usize, visibility: Option<Duration>) -> Result<Vec<Taken>, Error> {
        self.shard.advance(self.now);
        self.receive_as(&params(max, visibility, Duration::ZERO))
    }

    /// The same with all that can be asked for.
    pub(super) fn receive_as(&mut self, params: &ReceiveParams) -> Result<Vec<Taken>, Error> {
        self.shard.advance(self.now);
        let number = self.number();
        match self.shard.receive(number, params)? {
            Decision::Taken(taken) => Ok(taken),
            Decision::Waits => loop {
                self.start_loads();
                let answers = self.shard.dispatch(|_| false);
                if let Some((_, taken)) = answers.into_iter().find(|(answered, _)| *answered == number) {
                    return Ok(taken);
                }
                if self.shard.expired_waiters().contains(&number) {
                    return Ok(Vec::new());
                }
                assert!(self.load_one(), "a short poll waits only for a read");
            },
        }
    }

    /// A long poll; returns its number if it waits.
    pub(super) fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Taken>, u64> {
        self.shard.advance(self.now);
        let number = self.number();
        match self.shard.receive(number, &params(max, None, wait)).unwrap() {
            Decision::Taken(taken) => Ok(taken),
            Decision::Waits => Err(number),
        }
    }

    /// Looks up what only the store knows of the handle.
    pub(super) fn look_up(&mut self, handle: HandleParts) {
        let unknown = self.shard.unknown(std::iter::once(handle));
        if !unknown.is_empty() {
            let rows = self.store.load_messages(self.key, &unknown, usize::MAX).unwrap();
            self.shard.found(rows);
        }
    }

    pub(super) fn handle(&self, sequence: u64, receive_number: u32) -> HandleParts {
        HandleParts { incarnation: 1, shard: 0, epoch: self.epoch, sequence, receive_number }
    }

    pub(super) fn handle_of(&self, taken: &Taken) -> HandleParts {
        self.handle(taken.sequence, taken.receive_count)
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

fn params(max_messages: usize, visibility_timeout: Option<Duration>, wait: Duration) -> ReceiveParams {
    ReceiveParams { max_messages, visibility_timeout, wait_time: Some(wait), attempt_id: None }
}

/// Takes the shard and reads what its owner has to know.
fn contents(store: &MemoryStore, key: ShardKey) -> Contents {
    let head = store.take_shard(key).unwrap();
    let deliveries = store.load_deliveries(key, head.purged_before, usize::MAX).unwrap();
    let sequences: Vec<u64> = deliveries.iter().map(|row| row.sequence).collect();
    let messages = store.load_messages(key, &sequences, usize::MAX).unwrap();
    let mut contents = Contents::new(head, deliveries);
    for row in &messages {
        contents.add_message(row, head.clock);
    }
    contents.deduplications = store.load_deduplications(key, head.purged_before, usize::MAX).unwrap();
    contents
}
