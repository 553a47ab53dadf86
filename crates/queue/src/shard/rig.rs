//! A shard over a store in memory, stepped by hand: what the owner, the writer and the reader do, without tasks.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use lambfold_types::{Scope, Timestamp};

use crate::error::Error;
use crate::message::{HandleParts, ReceiveParams};
use crate::queue::{QueueKind, QueueProperties, QueueSettings};
use crate::store::{
    DirectoryChange, FencedWrite, MemoryStore, QueueRow, QueueStore, ShardHead, ShardKey, ShardWrite,
};

use super::{Decision, Limits, Load, Loaded, Outgoing, Shard, Taken};

pub(super) struct Rig {
    pub(super) shard: Shard,
    pub(super) now: Timestamp,
    store: MemoryStore,
    key: ShardKey,
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
        let store = MemoryStore::new();
        let key = ShardKey { incarnation: 1, shard: 0 };
        let now = Timestamp::from_millis(1_000_000);
        let row = QueueRow {
            scope: Scope::default(),
            name: "jobs".parse().unwrap(),
            incarnation: 1,
            kind: QueueKind::Standard,
            created_at: now,
            modified_at: now,
            properties: QueueProperties::default(),
        };
        store.change_directory(&DirectoryChange::Create(row)).unwrap();
        let head = store.take_shard(key).unwrap();
        let shard = Shard::restore(key, head, Vec::new(), limits, settings.clone(), now);
        let mut rig = Self {
            shard,
            now,
            store,
            key,
            epoch: head.epoch,
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
        let head: ShardHead = self.store.take_shard(self.key).unwrap();
        let deliveries = self.store.load_deliveries(self.key, head.purged_before, usize::MAX).unwrap();
        self.epoch = head.epoch;
        self.shard = Shard::restore(self.key, head, deliveries, self.limits, self.settings.clone(), self.now);
        self.shard.set_cache_bytes(self.cache_bytes);
        self.submitted.clear();
        self.loads.clear();
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.shard.advance(self.now);
    }

    /// Hands decisions over to be committed; false if there are none.
    pub(super) fn submit(&mut self) -> bool {
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
        let record = |body: &&str| Outgoing { record: Bytes::copy_from_slice(body.as_bytes()), delay };
        self.shard.advance(self.now);
        self.shard.send(bodies.iter().map(record).collect()).unwrap().0
    }

    pub(super) fn send_committed(&mut self, bodies: &[&str]) -> Vec<u64> {
        let sequences = self.send(bodies, None);
        self.commit();
        sequences
    }

    /// A short poll, for which reads are performed if it waits for them.
    pub(super) fn receive(&mut self, max: usize, visibility: Option<Duration>) -> Result<Vec<Taken>, Error> {
        self.shard.advance(self.now);
        let number = self.number();
        match self.shard.receive(number, params(max, visibility, Duration::ZERO))? {
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
        match self.shard.receive(number, params(max, None, wait)).unwrap() {
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
    ReceiveParams { max_messages, visibility_timeout, wait_time: Some(wait) }
}
