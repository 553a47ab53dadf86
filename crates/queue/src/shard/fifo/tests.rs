//! FIFO behaviour case by case (facts, SQS §6), and in any order of events against what must never happen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use crate::error::{ChangeVisibilityError, HandleError};
use crate::message::ReceiveParams;
use crate::queue::{DeduplicationScope, QueueCounts, QueueKind, QueueSettings, Redrive};
use crate::shard::rig::{LIMITS, Rig};
use crate::shard::{Limits, Taken};

const FIFO: QueueKind = QueueKind::Fifo(DeduplicationScope::Queue);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn rig() -> Rig {
    rig_with(QueueSettings::default())
}

fn rig_with(settings: QueueSettings) -> Rig {
    Rig::of_kind(FIFO, LIMITS, settings, 1 << 20, 512)
}

/// Sends one message to each group, in order; deduplication ids are unique.
fn send(rig: &mut Rig, groups: &[&str]) -> Vec<u64> {
    let first = u128::from(rig.shard.next_sequence()) << 32;
    let messages: Vec<_> = groups.iter().enumerate().map(|(n, group)| (*group, first + n as u128)).collect();
    let stored = rig.send_in_order(&messages, first);
    rig.commit();
    stored.sequences
}

fn receive(rig: &mut Rig, max: usize) -> Vec<u64> {
    take(rig, max).iter().map(|taken| taken.sequence).collect()
}

fn take(rig: &mut Rig, max: usize) -> Vec<Taken> {
    let taken = rig.receive(max, None).unwrap();
    rig.commit();
    taken
}

fn change(rig: &mut Rig, taken: &Taken, timeout: u64) {
    rig.shard.change_visibility(rig.handle_of(taken), secs(timeout)).unwrap();
}

fn delete(rig: &mut Rig, taken: &Taken) {
    rig.shard.delete(rig.handle_of(taken)).unwrap();
}

#[test]
fn as_many_of_a_group_as_fit_then_the_next() {
    let mut rig = rig();
    let sent = send(&mut rig, &["1", "2", "1", "1"]);
    assert_eq!(receive(&mut rig, 10), [sent[0], sent[2], sent[3], sent[1]]);
    assert_eq!(rig.shard.gauges().locked_groups, 2);
}

#[test]
fn a_group_waits_for_all_that_is_in_flight() {
    let mut rig = rig();
    let sent = send(&mut rig, &["1", "1", "1"]);
    let taken = take(&mut rig, 2);
    assert!(receive(&mut rig, 10).is_empty());
    let counts = QueueCounts { visible: 1, in_flight: 2, delayed: 0 };
    assert_eq!(rig.shard.counts(), counts, "what is locked counts as visible");
    delete(&mut rig, &taken[0]);
    let new = send(&mut rig, &["1"]);
    assert!(receive(&mut rig, 10).is_empty(), "neither half of them nor a new message unlocks");
    delete(&mut rig, &taken[1]);
    assert_eq!(receive(&mut rig, 10), [sent[2], new[0]]);
}

#[test]
fn what_times_out_or_is_given_up_comes_first_again() {
    let mut rig = rig();
    let sent = send(&mut rig, &["1", "1", "1"]);
    let taken = take(&mut rig, 3);
    change(&mut rig, &taken[1], 600);
    rig.pass(secs(30));
    assert_eq!(receive(&mut rig, 10), [sent[0]], "b was extended: only a is available");
    let mut rig = self::rig();
    let sent = send(&mut rig, &["1", "1", "1"]);
    let taken = take(&mut rig, 3);
    change(&mut rig, &taken[0], 600);
    rig.pass(secs(30));
    assert!(receive(&mut rig, 10).is_empty(), "a was extended: nothing is");
    rig.pass(secs(600));
    let taken = take(&mut rig, 2);
    change(&mut rig, &taken[0], 0);
    assert_eq!(receive(&mut rig, 10), [sent[0]], "an earlier one while a later one is in flight");
}

#[test]
fn no_timeout_locks_nothing() {
    let mut rig = rig();
    let sent = send(&mut rig, &["1", "1"]);
    for _ in 0..2 {
        let taken = rig.receive(1, Some(Duration::ZERO)).unwrap();
        assert_eq!(taken[0].sequence, sent[0]);
    }
}

#[test]
fn duplicates_are_answered_with_the_original() {
    let mut rig = rig();
    let stored = rig.send_in_order(&[("1", 7), ("2", 8), ("1", 7)], 100);
    assert_eq!(stored.sequences, [1, 2, 1]);
    assert_eq!(
        stored.originals.iter().map(|(place, id)| (*place, id.as_u128())).collect::<Vec<_>>(),
        [(2, 100)]
    );
    rig.commit();
    let taken = take(&mut rig, 10);
    assert_eq!(taken.len(), 2);
    for taken in &taken {
        delete(&mut rig, taken);
    }
    rig.commit();
    for crash in [false, true] {
        if crash {
            rig.crash();
        }
        let again = rig.send_in_order(&[("1", 7)], 200);
        assert_eq!(
            (again.sequences, again.originals.len()),
            (vec![1], 1),
            "deleted or not, after a crash or not"
        );
    }
    rig.pass(secs(299));
    assert_eq!(rig.send_in_order(&[("1", 8)], 300).originals.len(), 1);
    rig.pass(secs(1));
    assert!(rig.send_in_order(&[("1", 8)], 400).originals.is_empty(), "five minutes");
    rig.commit();
    rig.crash();
    assert_eq!(rig.send_in_order(&[("1", 8)], 500).originals.len(), 1);
    rig.shard.purge(None).unwrap();
    assert!(rig.send_in_order(&[("1", 8)], 600).originals.is_empty(), "a purge forgets them");
    rig.commit();
}

#[test]
fn a_duplicate_of_what_was_refused_is_none() {
    let mut rig = rig();
    let first = rig.send_in_order(&[("1", 7)], 1);
    rig.submit();
    let second = rig.send_in_order(&[("1", 7)], 2);
    assert_eq!(second.sequences, first.sequences);
    rig.refuse_one();
    assert!(rig.shard.has_refused(&second.sequences), "so that its sender is not told that it was stored");
    rig.shard.forget_refused();
    assert!(rig.send_in_order(&[("1", 7)], 3).originals.is_empty());
}

#[test]
fn an_expired_handle_is_refused() {
    let mut rig = rig();
    send(&mut rig, &["1"]);
    let first = take(&mut rig, 1).remove(0);
    change(&mut rig, &first, 60);
    rig.pass(secs(59));
    assert_eq!(rig.shard.counts().in_flight, 1, "the extension counts");
    rig.pass(secs(1));
    let handle = rig.handle_of(&first);
    assert_eq!(rig.shard.delete(handle), Err(HandleError::Expired));
    assert_eq!(rig.shard.change_visibility(handle, secs(9)), Err(ChangeVisibilityError::NotAvailable));
    let second = take(&mut rig, 1).remove(0);
    assert_eq!(rig.shard.delete(handle), Err(HandleError::Expired), "somebody else has it");
    delete(&mut rig, &second);
    assert_eq!(rig.shard.delete(rig.handle_of(&second)), Ok(()), "again");
}

#[test]
fn an_attempt_can_be_repeated_until_something_has_happened() {
    let mut rig = rig();
    let sent = send(&mut rig, &["1", "1", "2"]);
    let attempt = |max_messages| ReceiveParams {
        max_messages,
        wait_time: Some(Duration::ZERO),
        attempt_id: Some("a".to_owned()),
        ..ReceiveParams::default()
    };
    let first = rig.receive_as(&attempt(2)).unwrap();
    rig.pass(secs(20));
    let again = rig.receive_as(&attempt(2)).unwrap();
    let seen = |taken: &[Taken]| taken.iter().map(|it| (it.sequence, it.receive_count)).collect::<Vec<_>>();
    assert_eq!(seen(&again), seen(&first));
    rig.pass(secs(20));
    assert_eq!(rig.shard.counts().in_flight, 2, "with a new timeout");
    delete(&mut rig, &again[0]);
    assert_eq!(
        seen(&rig.receive_as(&attempt(2)).unwrap()),
        [(sent[2], 1)],
        "a new attempt: the first group is locked"
    );
    rig.commit();
}

#[test]
fn an_attempt_can_be_repeated_after_a_crash_as_before_it() {
    let mut rig = rig();
    let sent = send(&mut rig, &["1", "1", "2", "3"]);
    let attempt = |id: &str| ReceiveParams {
        max_messages: 2,
        wait_time: Some(Duration::ZERO),
        attempt_id: Some(id.to_owned()),
        ..ReceiveParams::default()
    };
    let (first, second) = (rig.receive_as(&attempt("a")).unwrap(), rig.receive_as(&attempt("b")).unwrap());
    let again = rig.receive_as(&attempt("b")).unwrap();
    delete(&mut rig, &first[0]);
    rig.commit();
    rig.crash();
    let repeated = rig.receive_as(&attempt("b")).unwrap();
    let told = |taken: &[Taken]| {
        taken
            .iter()
            .map(|it| (it.sequence, it.epoch, it.record.clone(), it.receive_count))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&repeated), told(&second));
    assert_ne!(repeated[0].visible_at, again[0].visible_at, "told from what it repeats");
    assert!(rig.receive_as(&attempt("a")).unwrap().is_empty(), "half of it is gone: a new attempt");
    rig.commit();
    rig.shard.change_visibility(rig.handle_of(&repeated[1]), secs(60)).unwrap();
    rig.commit();
    rig.crash();
    assert!(rig.receive_as(&attempt("b")).unwrap().is_empty(), "one has another timeout");
    rig.pass(secs(30));
    let taken: Vec<u64> = rig.receive_as(&attempt("b")).unwrap().iter().map(|it| it.sequence).collect();
    assert_eq!(taken, [sent[1], sent[2]]);
    rig.commit();
    rig.pass(secs(29));
    rig.crash();
    assert_eq!(told(&rig.receive_as(&attempt("b")).unwrap()).len(), 2, "the later one of the name");
    rig.commit();
}

#[test]
fn a_queues_delay_is_retroactive() {
    let mut settings = QueueSettings { delay: secs(10), ..QueueSettings::default() };
    let mut rig = rig_with(settings.clone());
    let sent = send(&mut rig, &["1", "2"]);
    assert_eq!(rig.shard.counts().delayed, 2);
    settings.delay = secs(5);
    rig.shard.set_settings(settings);
    rig.pass(secs(5));
    assert_eq!(receive(&mut rig, 10), sent);
}

#[test]
fn order_and_locks_survive_a_crash_with_most_of_the_queue_in_the_store() {
    // Pages of three messages, and no room for bodies.
    let mut rig = Rig::of_kind(FIFO, LIMITS, QueueSettings::default(), 0, 3);
    let groups = ["1", "2", "1", "3", "1", "2", "1", "1", "2", "3"];
    let sent = send(&mut rig, &groups);
    let taken = take(&mut rig, 1);
    assert_eq!(taken[0].sequence, sent[0]);
    rig.crash();
    assert_eq!(
        receive(&mut rig, 10),
        [sent[1], sent[5], sent[8], sent[3], sent[9]],
        "the first group is locked"
    );
    rig.pass(secs(30));
    rig.settle();
    assert_eq!(rig.shard.counts().visible, 10);
    let all = take(&mut rig, 10);
    let of = |group: &str| {
        let sent = groups.iter().zip(&sent).filter(|(of, _)| **of == group).map(|(_, sequence)| *sequence);
        sent.collect::<BTreeSet<_>>()
    };
    for group in ["1", "2", "3"] {
        let members = of(group);
        let order: Vec<u64> = all.iter().map(|it| it.sequence).filter(|it| members.contains(it)).collect();
        assert_eq!(order, members.into_iter().collect::<Vec<_>>(), "group {group}");
    }
}

/// Found by the simulation: who gave up an attempt took it from whoever repeated it.
#[test]
fn what_is_given_up_stays_with_the_repetition() {
    let mut rig = rig();
    send(&mut rig, &["1"]);
    let attempt =
        || ReceiveParams { max_messages: 1, attempt_id: Some("a".to_owned()), ..ReceiveParams::default() };
    let first = rig.receive_as(&attempt()).unwrap();
    let again = rig.receive_as(&attempt()).unwrap();
    rig.shard.give_back(first);
    assert!(receive(&mut rig, 1).is_empty());
    assert_eq!(rig.shard.counts().in_flight, 1);
    rig.shard.give_back(again);
    assert_eq!(take(&mut rig, 1)[0].receive_count, 1, "as if it had not been received");
}

#[test]
fn a_dead_letter_holds_its_group_until_it_has_gone() {
    let redrive = Redrive { dead_letter_queue: "dead.fifo".parse().unwrap(), max_receive_count: 1 };
    let mut rig = rig_with(QueueSettings { redrive: Some(redrive), ..QueueSettings::default() });
    let sent = send(&mut rig, &["1", "1"]);
    assert_eq!(receive(&mut rig, 1), [sent[0]]);
    rig.pass(secs(30));
    let waiting = rig.poll(1, secs(20)).unwrap_err();
    rig.load();
    assert!(rig.shard.dispatch(|_| false).is_empty());
    let letters = rig.shard.take_dead_letters();
    assert_eq!(letters.iter().map(|it| it.sequence).collect::<Vec<_>>(), [sent[0]]);
    assert!(rig.shard.dispatch(|_| false).is_empty(), "those behind it wait");
    rig.shard.moved(&letters);
    let answers = rig.shard.dispatch(|_| false);
    assert_eq!(answers[0].0, waiting);
    assert_eq!(answers[0].1[0].sequence, sent[1]);
}

#[test]
fn a_deep_backlog_of_one_group_costs_no_more_than_a_shallow_one() {
    let cost = |backlog: usize| {
        let mut rig = rig();
        for _ in 0..backlog / 1000 {
            send(&mut rig, &["1"; 1000]);
        }
        let before = rig.shard.touched();
        for _ in 0..100 {
            let taken = take(&mut rig, 1);
            delete(&mut rig, &taken[0]);
            rig.commit();
        }
        rig.shard.touched() - before
    };
    assert_eq!(cost(1_000), cost(20_000));
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Send { group: u8, id: u8 },
    Receive { max: usize, timeout: u64 },
    Delete(usize),
    Change { which: usize, timeout: u64 },
    Pass(u64),
    Submit,
    Commit,
    Load,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4u8, any::<u8>()).prop_map(|(group, id)| Step::Send { group, id }),
        4 => (1..4usize, 0..20u64).prop_map(|(max, timeout)| Step::Receive { max, timeout }),
        3 => any::<usize>().prop_map(Step::Delete),
        2 => (any::<usize>(), 0..20u64).prop_map(|(which, timeout)| Step::Change { which, timeout }),
        2 => (0..15u64).prop_map(Step::Pass),
        3 => Just(Step::Submit),
        3 => Just(Step::Commit),
        1 => Just(Step::Load),
        1 => Just(Step::Crash),
    ]
}

/// What a client knows.
#[derive(Default)]
struct Client {
    /// Group by sequence, of what is stored for sure.
    sent: BTreeMap<u64, String>,
    /// What is decided and not committed: lost by a crash.
    unsure: BTreeMap<u64, String>,
    /// What the client was told to be gone.
    deleted: BTreeSet<u64>,
    /// With a receiver that was answered, until then.
    held: BTreeMap<u64, (Taken, u64)>,
}

fn pick(held: &BTreeMap<u64, (Taken, u64)>, which: usize) -> Option<u64> {
    if held.is_empty() { None } else { held.keys().nth(which % held.len()).copied() }
}

/// Whether an answer is legal: nothing that was deleted or that somebody has, and before each message all that is left
/// of its group before it.
fn check_order(client: &Client, taken: &[Taken]) -> Result<(), TestCaseError> {
    let mut before = BTreeSet::new();
    for sequence in taken.iter().map(|taken| taken.sequence) {
        let group = client.sent.get(&sequence);
        prop_assert!(group.is_some(), "{sequence} was never acknowledged");
        prop_assert!(!client.deleted.contains(&sequence), "{sequence} was deleted");
        prop_assert!(!client.held.contains_key(&sequence), "somebody has {sequence}");
        for (earlier, _) in client.sent.range(..sequence).filter(|(_, of)| Some(*of) == group) {
            let passed = client.deleted.contains(earlier) || before.contains(earlier);
            prop_assert!(passed, "{sequence} overtook {earlier}");
        }
        before.insert(sequence);
    }
    Ok(())
}

proptest! {
    /// Whatever happens: of each group the first messages that are left come first, none is with two receivers, none is
    /// lost, none that was deleted comes back.
    #[test]
    fn order_and_locks_hold_in_any_history(steps in proptest::collection::vec(step(), 1..120), cache in 0..3usize) {
        let limits = Limits { in_flight: 6, ..LIMITS };
        let mut rig = Rig::of_kind(FIFO, limits, QueueSettings::default(), cache * 20, 3);
        let (mut client, mut clock, mut ids) = (Client::default(), 0, 0u128);
        for step in steps {
            match step {
                Step::Send { group, id } => {
                    ids += 1;
                    let group = group.to_string();
                    // Few ids, so that there are duplicates.
                    let stored = rig.send_in_order(&[(&group, u128::from(id % 64))], ids);
                    if stored.originals.is_empty() {
                        client.unsure.insert(stored.sequences[0], group);
                    }
                }
                Step::Receive { max, timeout } => {
                    let taken = rig.receive(max, Some(secs(timeout))).unwrap();
                    rig.commit();
                    client.sent.append(&mut client.unsure);
                    client.held.retain(|_, (_, until)| *until > clock);
                    check_order(&client, &taken)?;
                    for taken in taken {
                        if timeout > 0 {
                            client.held.insert(taken.sequence, (taken, clock + timeout));
                        }
                    }
                }
                Step::Delete(which) => {
                    if let Some(sequence) = pick(&client.held, which) {
                        let (taken, until) = &client.held[&sequence];
                        let outcome = rig.shard.delete(rig.handle_of(taken));
                        if *until > clock {
                            prop_assert_eq!(outcome, Ok(()));
                            rig.commit();
                            client.sent.append(&mut client.unsure);
                            client.deleted.insert(sequence);
                            client.held.remove(&sequence);
                        }
                    }
                }
                Step::Change { which, timeout } => {
                    if let Some(sequence) = pick(&client.held, which) {
                        let (taken, until) = client.held[&sequence].clone();
                        let outcome = rig.shard.change_visibility(rig.handle_of(&taken), secs(timeout));
                        if until > clock {
                            prop_assert_eq!(outcome, Ok(()));
                            rig.commit();
                            client.sent.append(&mut client.unsure);
                            client.held.insert(sequence, (taken, clock + timeout));
                        }
                    }
                }
                Step::Pass(time) => {
                    clock += time;
                    rig.pass(secs(time));
                }
                Step::Submit => _ = rig.submit(),
                Step::Commit => {
                    rig.commit();
                    client.sent.append(&mut client.unsure);
                }
                Step::Load => rig.load(),
                Step::Crash => {
                    rig.crash();
                    client.unsure.clear();
                }
            }
        }
        // In the end everything that was not deleted is there, once, in the order of its group.
        rig.commit();
        client.sent.append(&mut client.unsure);
        let mut left: BTreeSet<u64> = client.sent.keys().copied().filter(|it| !client.deleted.contains(it)).collect();
        rig.pass(secs(60));
        client.held.clear();
        loop {
            let taken = rig.receive(10, Some(secs(30))).unwrap();
            rig.commit();
            if taken.is_empty() {
                break;
            }
            check_order(&client, &taken)?;
            for taken in taken {
                prop_assert!(left.remove(&taken.sequence));
                delete(&mut rig, &taken);
                client.deleted.insert(taken.sequence);
            }
            rig.commit();
        }
        prop_assert!(left.is_empty(), "lost: {left:?}");
        prop_assert_eq!(rig.shard.counts(), QueueCounts::default());
    }
}
