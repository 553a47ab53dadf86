//! Properties of the state machine against a model that is a map and a few rules: nothing is lost or doubled, nobody
//! gets what is not visible or not durable, counts are exact, handles do what they should; through crashes, reads and
//! commits that take their time, and memory that is far too small.

use std::collections::BTreeMap;
use std::time::Duration;

use lambfold_types::Timestamp;
use proptest::prelude::*;

use crate::error::ChangeVisibilityError;
use crate::message::HandleParts;
use crate::queue::{QueueCounts, QueueSettings};

use super::rig::Rig;
use super::{Limits, Taken};

const RETENTION: Duration = Duration::from_mins(10);
const LIMITS: Limits = Limits { in_flight: 12, indexed: 40, waiters: 100 };

/// Message groups, the first of which is none.
const GROUPS: [&str; 4] = ["", "a", "b", "c"];

#[derive(Clone, Copy, Debug)]
enum Op {
    Send {
        /// By its place among [`GROUPS`].
        group: usize,
        count: usize,
        delay: u64,
    },
    Receive {
        max: usize,
        visibility: u64,
    },
    /// By the how-manieth handle from the last one.
    Delete {
        back: usize,
    },
    Change {
        back: usize,
        timeout: u64,
    },
    /// The receiver of the last messages has gone.
    GiveBack,
    Pass {
        seconds: u64,
    },
    Submit,
    CommitOne,
    RefuseOne,
    StartLoads,
    LoadOne,
    Crash,
    Purge,
    Settle,
}

fn op() -> impl Strategy<Value = Op> {
    let seconds = prop_oneof![Just(0), 1..40u64];
    prop_oneof![
        6 => (0..GROUPS.len(), 1..8usize, prop_oneof![4 => Just(0u64), 1 => 1..60u64])
            .prop_map(|(group, count, delay)| Op::Send { group, count, delay }),
        1 => (20..50usize).prop_map(|count| Op::Send { group: 1, count, delay: 0 }),
        8 => (1..6usize, seconds.clone()).prop_map(|(max, visibility)| Op::Receive { max, visibility }),
        5 => (0..12usize).prop_map(|back| Op::Delete { back }),
        3 => (0..12usize, seconds).prop_map(|(back, timeout)| Op::Change { back, timeout }),
        1 => Just(Op::GiveBack),
        3 => (1..60u64).prop_map(|seconds| Op::Pass { seconds }),
        1 => Just(Op::Pass { seconds: 300 }),
        4 => Just(Op::Submit),
        4 => Just(Op::CommitOne),
        1 => Just(Op::RefuseOne),
        2 => Just(Op::StartLoads),
        2 => Just(Op::LoadOne),
        1 => Just(Op::Crash),
        1 => Just(Op::Purge),
        4 => Just(Op::Settle),
    ]
}

#[derive(Clone, Debug)]
struct Message {
    group: usize,
    sent_at: Timestamp,
    visible_at: Timestamp,
    receive_count: u32,
    first_received_at: Timestamp,
    last_received_at: Timestamp,
    committed: bool,
}

type Messages = BTreeMap<u64, Message>;

struct World {
    rig: Rig,
    messages: Messages,
    /// What is committed, and what will be when the submissions are, oldest first.
    durable: Messages,
    submitted: Vec<(Messages, u64)>,
    handles: Vec<HandleParts>,
    last: Vec<Taken>,
    has_crashed: bool,
}

impl World {
    fn new() -> Self {
        let settings = QueueSettings { message_retention_period: RETENTION, ..QueueSettings::default() };
        Self {
            rig: Rig::new(LIMITS, settings, 60, 5),
            messages: Messages::new(),
            durable: Messages::new(),
            submitted: Vec::new(),
            handles: Vec::new(),
            last: Vec::new(),
            has_crashed: false,
        }
    }

    fn run(&mut self, op: Op) {
        let now = self.rig.now;
        match op {
            Op::Send { group, count, delay } => {
                let bodies = vec!["sixteen bytes .."; count];
                if delay > 0 && self.messages.len() + count > LIMITS.indexed / 2 {
                    return;
                }
                let delay = Duration::from_secs(delay);
                for sequence in self.rig.send_of(GROUPS[group], &bodies, Some(delay)) {
                    let never = Timestamp::default();
                    let message = Message {
                        group,
                        sent_at: now,
                        visible_at: now + delay,
                        receive_count: 0,
                        first_received_at: never,
                        last_received_at: never,
                        committed: false,
                    };
                    assert!(self.messages.insert(sequence, message).is_none(), "sequences are not reused");
                }
            }
            Op::Receive { max, visibility } => self.receive(max, Duration::from_secs(visibility)),
            Op::Delete { back } => {
                let Some(handle) = self.pick(back) else { return };
                self.rig.look_up(handle);
                self.rig.shard.advance(now);
                self.rig.shard.delete(handle).unwrap();
                self.messages.remove(&handle.sequence);
            }
            Op::Change { back, timeout } => self.change(back, Duration::from_secs(timeout)),
            Op::GiveBack => {
                let taken = std::mem::take(&mut self.last);
                for Taken { sequence, receive_count, visible_at, .. } in &taken {
                    self.handles.retain(|h| (h.sequence, h.receive_number) != (*sequence, *receive_count));
                    let Some(message) = self.messages.get_mut(sequence) else { continue };
                    // Somebody changed its visibility meanwhile, and was told so.
                    let changed = message.visible_at > now && message.visible_at != *visible_at;
                    if message.receive_count == *receive_count && !changed {
                        message.receive_count -= 1;
                        message.visible_at = now;
                        if message.receive_count == 0 {
                            message.first_received_at = Timestamp::default();
                            message.last_received_at = Timestamp::default();
                        }
                    }
                }
                self.rig.shard.give_back(taken);
            }
            Op::Pass { seconds } => self.rig.pass(Duration::from_secs(seconds)),
            Op::Submit => self.submit(),
            Op::CommitOne => {
                self.commit_one();
            }
            Op::RefuseOne => self.refuse_one(),
            Op::StartLoads => self.rig.start_loads(),
            Op::LoadOne => {
                self.rig.load_one();
            }
            Op::Crash => {
                self.rig.crash();
                self.has_crashed = true;
                self.messages = self.durable.clone();
                self.submitted.clear();
                self.last.clear();
            }
            Op::Purge => {
                self.rig.shard.advance(now);
                self.rig.shard.purge(None).unwrap();
                self.messages.clear();
            }
            Op::Settle => self.settle(),
        }
    }

    fn receive(&mut self, max: usize, visibility: Duration) {
        let now = self.rig.now;
        let in_flight = self.in_flight();
        let Ok(taken) = self.rig.receive(max, Some(visibility)) else {
            assert!(in_flight >= LIMITS.in_flight as u64);
            return;
        };
        assert!(taken.len() <= max);
        for Taken { sequence, receive_count, first_received_at, visible_at, sent_at, .. } in &taken {
            let message = self.messages.get_mut(sequence).expect("what is handed out is there");
            assert!(message.committed, "what is handed out is durable");
            assert!(message.visible_at <= now, "what is handed out is visible");
            assert!(message.sent_at + RETENTION > now, "what is handed out is not too old");
            message.receive_count += 1;
            if message.receive_count == 1 {
                message.first_received_at = now;
            }
            message.last_received_at = now;
            message.visible_at = now + visibility;
            let expected =
                (message.receive_count, message.first_received_at, now + visibility, message.sent_at);
            assert_eq!((*receive_count, *first_received_at, *visible_at, *sent_at), expected);
            self.handles.push(self.rig.handle(*sequence, *receive_count));
        }
        self.last = taken;
    }

    fn change(&mut self, back: usize, timeout: Duration) {
        let now = self.rig.now;
        let Some(handle) = self.pick(back) else { return };
        self.rig.look_up(handle);
        self.rig.shard.advance(now);
        let result = self.rig.shard.change_visibility(handle, timeout);
        let message = self.messages.get_mut(&handle.sequence).filter(|m| m.sent_at + RETENTION > now);
        let Some(message) = message else {
            assert_eq!(result, Err(ChangeVisibilityError::NotAvailable));
            return;
        };
        assert_eq!(result, Ok(()));
        if message.receive_count == 0 {
            // A crash has cut off the receive; the handle proves it.
            message.receive_count = handle.receive_number;
            message.first_received_at = now;
            message.last_received_at = now;
        }
        if timeout.is_zero() {
            message.visible_at = message.visible_at.min(now);
        } else {
            message.visible_at = now + timeout;
        }
    }

    fn submit(&mut self) {
        if self.rig.submit() {
            self.submitted.push((self.messages.clone(), self.rig.shard.next_sequence()));
        }
    }

    fn commit_one(&mut self) -> bool {
        if !self.rig.commit_one() {
            return false;
        }
        let (mut durable, end) = self.submitted.remove(0);
        let commit =
            |messages: &mut Messages| messages.range_mut(..end).for_each(|(_, m)| m.committed = true);
        commit(&mut durable);
        commit(&mut self.messages);
        self.submitted.iter_mut().for_each(|(messages, _)| commit(messages));
        self.durable = durable;
        true
    }

    fn refuse_one(&mut self) {
        if !self.rig.refuse_one() {
            return;
        }
        let (mut durable, end) = self.submitted.remove(0);
        let refuse = |messages: &mut Messages| messages.retain(|sequence, m| *sequence >= end || m.committed);
        refuse(&mut durable);
        refuse(&mut self.messages);
        self.submitted.iter_mut().for_each(|(messages, _)| refuse(messages));
        self.durable = durable;
    }

    /// When all is committed and read, counts are exact and whoever asks gets something.
    fn settle(&mut self) {
        loop {
            self.submit();
            while self.commit_one() {}
            self.rig.shard.advance(self.rig.now);
            self.rig.load();
            if self.rig.shard.pending_rows() == 0 {
                break;
            }
        }
        self.expire();
        self.durable.clone_from(&self.messages);
        let expected = self.counts(|_| true);
        assert_eq!(self.rig.shard.counts(), expected);
        self.check_groups();
        if expected.visible > 0 && expected.in_flight < LIMITS.in_flight as u64 {
            self.receive(1, Duration::from_secs(5));
            assert_eq!(self.last.len(), 1, "a message is visible and not handed out");
        }
    }

    /// What is known of groups is true; and all that is true, unless a crash left something that was not read again.
    fn check_groups(&self) {
        let tenants = self.rig.shard.index.tenants().unwrap();
        for (group, name) in GROUPS.iter().enumerate().skip(1) {
            let (counts, oldest) = tenants.of(name.as_bytes());
            let expected = self.counts(|message| message.group == group);
            let sent =
                self.messages.values().filter(|message| message.group == group).map(|it| it.sent_at).min();
            if self.has_crashed {
                assert!(is_part(counts, expected), "{name}: {counts:?} of {expected:?}");
                assert!(oldest.is_none_or(|_| sent.is_some()), "{name}");
            } else {
                assert_eq!(counts, expected, "{name}");
                let is_exact = self.rig.shard.backlog.is_whole();
                assert!(
                    if is_exact { oldest == sent } else { oldest <= sent },
                    "{name}: {oldest:?}, not {sent:?}"
                );
                assert_eq!(oldest.is_some(), sent.is_some(), "{name}");
            }
        }
        let Some(fair) = self.rig.shard.gauges().fair else { return };
        let names = if fair.noisy_groups > 0 { tenants.noisy_names() } else { Vec::new() };
        let quiet = self.counts(|message| !names.contains(&GROUPS[message.group].as_bytes()));
        assert_eq!(fair.noisy_groups, names.len());
        if self.has_crashed && !names.is_empty() {
            assert!(is_part(fair.quiet, quiet), "{:?} of {quiet:?}", fair.quiet);
        } else {
            assert_eq!(fair.quiet, quiet);
        }
    }

    fn counts(&self, of: impl Fn(&Message) -> bool) -> QueueCounts {
        let now = self.rig.now;
        let count = |is: &dyn Fn(&Message) -> bool| {
            self.messages.values().filter(|message| of(message) && is(message)).count() as u64
        };
        QueueCounts {
            visible: count(&|m| m.visible_at <= now),
            in_flight: count(&|m| m.visible_at > now && m.receive_count > 0),
            delayed: count(&|m| m.visible_at > now && m.receive_count == 0),
        }
    }

    fn expire(&mut self) {
        let now = self.rig.now;
        self.messages.retain(|_, message| message.sent_at + RETENTION > now);
    }

    fn in_flight(&self) -> u64 {
        self.counts(|_| true).in_flight
    }

    fn pick(&self, back: usize) -> Option<HandleParts> {
        self.handles.len().checked_sub(back + 1).map(|index| self.handles[index])
    }
}

fn is_part(part: QueueCounts, of: QueueCounts) -> bool {
    part.visible <= of.visible && part.in_flight <= of.in_flight && part.delayed <= of.delayed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(2000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_shard_does_what_the_model_does(ops in prop::collection::vec(op(), 1..120)) {
        let mut world = World::new();
        for op in ops {
            world.run(op);
        }
        world.settle();
    }

    /// Whatever happened: who goes on receiving and deleting gets every message once more, and then there is none.
    #[test]
    fn everything_can_be_drained(ops in prop::collection::vec(op(), 1..80)) {
        let mut world = World::new();
        for op in ops {
            world.run(op);
        }
        world.rig.pass(Duration::from_secs(70));
        world.settle();
        world.rig.pass(Duration::from_secs(70));
        world.settle();
        world.rig.pass(Duration::from_secs(70));
        let mut left: Vec<u64> = world.messages.keys().copied().collect();
        world.settle();
        let given = std::mem::take(&mut world.last);
        left.retain(|sequence| world.messages.contains_key(sequence));
        for _ in 0..10_000 {
            for taken in given.iter().chain(&world.last) {
                let handle = world.rig.handle(taken.sequence, taken.receive_count);
                world.rig.shard.delete(handle).unwrap();
                world.messages.remove(&taken.sequence);
                left.retain(|sequence| *sequence != taken.sequence);
            }
            world.receive(10, Duration::from_secs(30));
            if world.last.is_empty() {
                break;
            }
        }
        prop_assert_eq!(left, Vec::<u64>::new());
        world.rig.settle();
        prop_assert_eq!(world.rig.shard.counts(), QueueCounts::default());
        let tenants = world.rig.shard.index.tenants().unwrap();
        prop_assert_eq!(tenants.unknown(), QueueCounts::default());
        for group in GROUPS {
            let left = tenants.of(group.as_bytes());
            prop_assert_eq!(left, (QueueCounts::default(), None), "{:?}", group);
        }
    }
}
