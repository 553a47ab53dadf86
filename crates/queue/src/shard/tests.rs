//! Behaviour case by case (facts: SQS §5.5, 5.6) and what the model does not see: waiters, bounds, cost.

use std::time::Duration;

use crate::error::{ChangeVisibilityError, Error, HandleError};
use crate::message::HandleParts;
use crate::queue::{QueueCounts, QueueSettings, Redrive};

use super::rig::{LIMITS, Rig};
use super::{Limits, Taken};

const NO_WAIT: Duration = Duration::ZERO;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn sequences(taken: &[Taken]) -> Vec<u64> {
    taken.iter().map(|taken| taken.sequence).collect()
}

#[test]
fn nobody_gets_what_is_not_durable() {
    let mut rig = Rig::plain();
    let sent = rig.send(&["a", "b"], None);
    assert!(rig.receive(10, None).unwrap().is_empty());
    assert_eq!(rig.shard.counts(), QueueCounts::default());
    rig.commit();
    assert_eq!(sequences(&rig.receive(10, None).unwrap()), sent);
}

#[test]
fn a_delay_of_the_message_beats_the_queues_and_ends_on_time() {
    let mut settings = QueueSettings { delay: secs(10), ..QueueSettings::default() };
    let mut rig = Rig::new(LIMITS, settings.clone(), 1 << 20, 512);
    let now = rig.send(&["now"], Some(NO_WAIT));
    let later = rig.send(&["later"], None);
    rig.commit();
    assert_eq!(rig.shard.counts(), QueueCounts { visible: 1, in_flight: 0, delayed: 1 });
    settings.delay = secs(900);
    rig.shard.set_settings(settings);
    assert_eq!(sequences(&rig.receive(10, None).unwrap()), now);
    rig.pass(Duration::from_millis(9_999));
    assert!(rig.receive(10, None).unwrap().is_empty());
    rig.pass(Duration::from_millis(1));
    assert_eq!(sequences(&rig.receive(10, None).unwrap()), later, "a new delay is not retroactive");
}

#[test]
fn a_receive_is_held_back_and_never_written_if_its_message_is_deleted() {
    let mut rig = Rig::plain();
    let sent = rig.send_committed(&["a", "b"]);
    let taken = rig.receive(2, None).unwrap();
    assert_eq!((rig.shard.pending_rows(), rig.shard.held()), (0, 2));
    let handle = rig.handle_of(&taken[0]);
    assert_eq!(rig.shard.delete(handle), Ok(()));
    rig.shard.release_held();
    let write = rig.shard.take_write().unwrap();
    assert_eq!(write.deletes, [sent[0]]);
    assert_eq!(write.deliveries.iter().map(|row| row.sequence).collect::<Vec<_>>(), [sent[1]]);
}

#[test]
fn old_handles_stay_good() {
    let mut rig = Rig::plain();
    rig.send_committed(&["a"]);
    let first = rig.receive(1, Some(secs(1))).unwrap().remove(0);
    rig.pass(secs(2));
    let second = rig.receive(1, Some(secs(30))).unwrap().remove(0);
    assert_eq!((second.receive_count, second.first_received_at), (2, first.first_received_at));
    let old = rig.handle_of(&first);
    assert_eq!(rig.shard.change_visibility(old, secs(5)), Ok(()));
    rig.pass(secs(5));
    assert_eq!(rig.shard.counts().visible, 1);
    assert_eq!(rig.shard.change_visibility(old, secs(5)), Ok(()), "also when nobody holds the message");
    assert_eq!(rig.shard.counts().in_flight, 1);
    assert_eq!(rig.shard.delete(old), Ok(()));
    assert_eq!(rig.shard.delete(old), Ok(()), "deleting again succeeds");
    assert_eq!(rig.shard.change_visibility(old, secs(5)), Err(ChangeVisibilityError::NotAvailable));
    assert_eq!(rig.shard.counts(), QueueCounts::default());
}

#[test]
fn handles_of_other_queues_are_refused() {
    let mut rig = Rig::plain();
    rig.send_committed(&["a"]);
    rig.receive(1, None).unwrap();
    let other = HandleParts { incarnation: 2, ..rig.handle(1, 1) };
    assert_eq!(rig.shard.delete(other), Err(HandleError::OtherQueue));
    assert_eq!(rig.shard.change_visibility(other, NO_WAIT), Err(ChangeVisibilityError::OtherQueue));
    assert_eq!(rig.shard.counts().in_flight, 1);
}

#[test]
fn twelve_hours_are_the_most() {
    let mut rig = Rig::plain();
    rig.send_committed(&["a"]);
    rig.receive(1, None).unwrap();
    let handle = rig.handle(1, 1);
    assert_eq!(rig.shard.change_visibility(handle, secs(43_200)), Ok(()), "at once it is allowed");
    rig.pass(secs(1));
    assert_eq!(rig.shard.change_visibility(handle, secs(43_200)), Err(ChangeVisibilityError::TotalExceeded));
    assert_eq!(rig.shard.change_visibility(handle, secs(43_199)), Ok(()));
    assert_eq!(rig.shard.change_visibility(handle, NO_WAIT), Ok(()));
}

#[test]
fn a_timeout_of_zero_leaves_the_message_visible() {
    let mut rig = Rig::plain();
    rig.send_committed(&["a"]);
    for count in 1..=3 {
        let taken = rig.receive(10, Some(NO_WAIT)).unwrap();
        assert_eq!(taken.len(), 1, "once per receive");
        assert_eq!(taken[0].receive_count, count);
        assert_eq!(rig.shard.counts(), QueueCounts { visible: 1, in_flight: 0, delayed: 0 });
    }
    let handle = rig.handle(1, 2);
    rig.shard.delete(handle).unwrap();
    assert!(rig.receive(10, None).unwrap().is_empty());
}

#[test]
fn retention_counts_from_the_send_and_also_in_flight() {
    let settings = QueueSettings { message_retention_period: secs(60), ..QueueSettings::default() };
    let mut rig = Rig::new(LIMITS, settings.clone(), 1 << 20, 512);
    rig.send_committed(&["a", "b"]);
    rig.pass(secs(50));
    rig.send_committed(&["c"]);
    let taken = rig.receive(1, Some(secs(100))).unwrap().remove(0);
    assert_eq!(rig.shard.next_deadline(), Some(taken.sent_at + secs(60)));
    rig.pass(secs(10));
    assert_eq!(rig.shard.counts(), QueueCounts { visible: 1, in_flight: 0, delayed: 0 });
    let handle = rig.handle_of(&taken);
    assert_eq!(rig.shard.delete(handle), Ok(()), "deleting what has expired succeeds");
    rig.shard.set_settings(QueueSettings { message_retention_period: secs(5), ..settings });
    rig.pass(secs(1));
    assert_eq!(rig.shard.counts(), QueueCounts::default(), "a shorter period lets go at once");
}

#[test]
fn in_flight_is_bounded() {
    let mut rig = Rig::new(Limits { in_flight: 3, ..LIMITS }, QueueSettings::default(), 1 << 20, 512);
    rig.send_committed(&["a", "b", "c", "d"]);
    assert_eq!(rig.receive(10, None).unwrap().len(), 3, "as many as may be");
    assert!(matches!(rig.receive(1, None), Err(Error::OverLimit)));
    let waiter = rig.poll(1, secs(20)).unwrap_err();
    assert!(rig.shard.dispatch(|_| false).is_empty(), "a long poll just waits");
    let handle = rig.handle(1, 1);
    rig.shard.delete(handle).unwrap();
    let answers = rig.shard.dispatch(|_| false);
    assert_eq!(answers.len(), 1);
    assert_eq!((answers[0].0, sequences(&answers[0].1)), (waiter, vec![4]));
}

#[test]
fn one_message_wakes_one_waiter_in_the_order_they_came() {
    let mut rig = Rig::plain();
    let waiters: Vec<u64> = (0..4).map(|_| rig.poll(2, secs(20)).unwrap_err()).collect();
    rig.send_committed(&["a", "b", "c"]);
    let gone = waiters[0];
    let answers = rig.shard.dispatch(|number| number == gone);
    let answered: Vec<_> = answers.iter().map(|(number, taken)| (*number, sequences(taken))).collect();
    assert_eq!(answered, [(waiters[1], vec![1, 2]), (waiters[2], vec![3])]);
    rig.pass(secs(20));
    assert_eq!(rig.shard.expired_waiters(), [waiters[3]]);
    assert_eq!(rig.shard.waiters().len(), 0);
}

#[test]
fn waiters_wake_by_delay_timeout_and_change() {
    let mut rig = Rig::plain();
    rig.send(&["a"], Some(secs(5)));
    rig.commit();
    for wake in 0..3 {
        let waiter = rig.poll(1, secs(60)).unwrap_err();
        assert!(rig.shard.dispatch(|_| false).is_empty());
        if wake == 2 {
            let handle = rig.handle(1, 1);
            rig.shard.change_visibility(handle, NO_WAIT).unwrap();
        } else {
            let deadline = rig.shard.next_deadline().unwrap();
            rig.pass(deadline.since(rig.now));
        }
        rig.load();
        let mut answers = rig.shard.dispatch(|_| false);
        if answers.is_empty() {
            rig.load();
            answers = rig.shard.dispatch(|_| false);
        }
        assert_eq!((answers[0].0, answers[0].1[0].receive_count), (waiter, wake + 1));
    }
}

#[test]
fn what_a_receiver_that_left_did_not_get_comes_first_again() {
    let mut rig = Rig::plain();
    rig.send_committed(&["a", "b", "c"]);
    let taken = rig.receive(2, None).unwrap();
    rig.shard.give_back(taken);
    assert_eq!(rig.shard.counts(), QueueCounts { visible: 3, in_flight: 0, delayed: 0 });
    rig.commit();
    rig.crash();
    assert_eq!(rig.shard.counts().visible, 3);
    let again = rig.receive(10, None).unwrap();
    assert_eq!(again.iter().map(|taken| taken.receive_count).collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn failing_messages_and_the_backlog_do_not_starve_each_other() {
    let mut rig = Rig::plain();
    rig.send_committed(&["bad"]);
    rig.send_committed(&["x"; 50]);
    let mut fresh = 0;
    let mut redelivered = 0;
    for _ in 0..20 {
        let taken = rig.receive(1, Some(NO_WAIT)).unwrap();
        if taken[0].receive_count == 1 { fresh += 1 } else { redelivered += 1 }
    }
    assert_eq!((fresh, redelivered), (10, 10));
}

#[test]
fn a_crash_keeps_deadlines_counts_and_handles() {
    let mut rig = Rig::plain();
    rig.send(&["delayed"], Some(secs(100)));
    rig.send(&["a", "b", "c", "d"], None);
    rig.commit();
    let taken = rig.receive(2, Some(secs(60))).unwrap();
    rig.shard.delete(rig.handle_of(&taken[0])).unwrap();
    rig.commit();
    let lost = rig.receive(1, Some(secs(60))).unwrap().remove(0);
    let lost = rig.handle_of(&lost);
    rig.crash();
    assert_eq!(rig.shard.counts(), QueueCounts { visible: 2, in_flight: 1, delayed: 1 });
    rig.look_up(lost);
    rig.shard.delete(lost).unwrap();
    assert_eq!(rig.shard.counts().visible, 1, "the handle of a receive that was cut off is good");
    rig.pass(secs(60));
    let mut again = rig.receive(10, None).unwrap();
    again.sort_by_key(|taken| taken.sequence);
    assert_eq!(again.iter().map(|t| (t.sequence, t.receive_count)).collect::<Vec<_>>(), [(3, 2), (5, 1)]);
    assert_eq!(again[0].first_received_at, taken[1].first_received_at);
    let handle = rig.handle_of(&taken[1]);
    rig.shard.delete(handle).unwrap();
    rig.settle();
    rig.crash();
    assert_eq!(rig.shard.counts(), QueueCounts { visible: 0, in_flight: 1, delayed: 1 });
}

#[test]
fn a_clock_that_was_set_back_does_not_stop_the_queue() {
    let mut rig = Rig::plain();
    rig.pass(Duration::from_hours(24 * 365));
    rig.send_committed(&["a", "b", "c"]);
    rig.receive(1, Some(secs(30))).unwrap();
    rig.commit();
    let right = rig.now - Duration::from_hours(24 * 300);
    rig.now = right;
    rig.crash();
    rig.send_committed(&["d"]);
    let taken = rig.receive(10, Some(secs(30))).unwrap();
    assert_eq!(sequences(&taken), [2, 3, 4]);
    assert_eq!(taken[2].sent_at, right);
    rig.pass(Duration::from_hours(12));
    assert_eq!(rig.shard.counts(), QueueCounts { visible: 4, in_flight: 0, delayed: 0 });
    rig.commit();
    rig.now = rig.now - secs(5);
    rig.crash();
    let sent = rig.send_committed(&["e"]);
    rig.settle();
    let later = rig.receive(10, None).unwrap();
    let last = later.iter().find(|taken| taken.sequence == sent[0]).unwrap();
    assert_eq!(last.sent_at, rig.now + secs(5), "a small step back is waited for");
}

#[test]
fn sequences_are_not_reused_after_a_purge_and_a_crash() {
    let mut rig = Rig::plain();
    rig.send_committed(&["a", "b"]);
    rig.receive(1, None).unwrap();
    let handle = rig.handle(1, 1);
    rig.shard.purge(Some(secs(60))).unwrap();
    rig.commit();
    rig.pass(secs(59));
    assert!(matches!(rig.shard.purge(Some(secs(60))), Err(Error::PurgeInProgress)));
    rig.crash();
    assert!(matches!(rig.shard.purge(Some(secs(60))), Err(Error::PurgeInProgress)), "it is remembered");
    assert_eq!(rig.shard.counts(), QueueCounts::default());
    assert_eq!(rig.send_committed(&["c"]), [3]);
    rig.shard.delete(handle).unwrap();
    assert_eq!(rig.shard.counts().visible, 1, "an old handle does nothing to a new message");
}

#[test]
fn the_index_is_bounded() {
    let limits = Limits { indexed: 20, ..LIMITS };
    let mut rig = Rig::new(limits, QueueSettings::default(), 1 << 20, 512);
    rig.send_committed(&["x"; 100]);
    for _ in 0..20 {
        rig.receive(10, Some(NO_WAIT)).unwrap();
    }
    assert!(rig.shard.index.len() <= limits.indexed, "redeliveries only: {}", rig.shard.index.len());
    assert_eq!(rig.receive(10, Some(NO_WAIT)).unwrap().len(), 10);
    rig.shard.advance(rig.now);
    let delayed = super::Outgoing {
        record: "x".into(),
        delay: Some(secs(1)),
        message_id: uuid::Uuid::nil(),
        deduplication: None,
    };
    assert!(matches!(rig.shard.send(vec![delayed]), Err(Error::Overloaded)));
}

#[test]
fn too_many_waiters_are_refused() {
    let mut rig = Rig::new(Limits { waiters: 2, ..LIMITS }, QueueSettings::default(), 1 << 20, 512);
    rig.poll(1, secs(20)).unwrap_err();
    rig.poll(1, secs(20)).unwrap_err();
    let params = crate::ReceiveParams {
        max_messages: 1,
        visibility_timeout: None,
        wait_time: Some(secs(1)),
        attempt_id: None,
    };
    assert!(matches!(rig.shard.receive(99, &params), Err(Error::Overloaded)));
}

/// DESIGN §5.3, in messages looked at instead of time.
#[test]
fn the_cost_of_a_receive_does_not_grow_with_the_backlog() {
    let cost = |backlog: usize, cache_bytes: usize| {
        let mut rig = Rig::new(LIMITS, QueueSettings::default(), cache_bytes, 512);
        let hundred = ["256 bytes would only make the test slower"; 100];
        for _ in 0..backlog / 100 {
            rig.send_committed(&hundred);
        }
        assert_eq!(rig.shard.counts().visible, backlog as u64);
        assert!(rig.shard.record_bytes() <= cache_bytes.max(1 << 16), "{}", rig.shard.record_bytes());
        let before = rig.shard.touched();
        for _ in 0..100 {
            let taken = rig.receive(10, None).unwrap();
            assert!(!taken.is_empty());
            for message in &taken {
                let handle = rig.handle_of(message);
                rig.shard.delete(handle).unwrap();
            }
            rig.commit();
        }
        rig.shard.touched() - before
    };
    for cache_bytes in [1 << 16, 64 << 20] {
        let (small, large) = (cost(1_000, cache_bytes), cost(100_000, cache_bytes));
        assert!(large <= small + 1_000, "{small} messages touched, then {large}");
    }
}

/// A queue that has a message on its way to the dead-letter queue since its first receive, which is returned.
fn rig_with_dead_letter() -> (Rig, Vec<Taken>) {
    let redrive = Redrive { dead_letter_queue: "dead".parse().unwrap(), max_receive_count: 1 };
    let settings = QueueSettings {
        redrive: Some(redrive),
        message_retention_period: secs(60),
        ..QueueSettings::default()
    };
    let mut rig = Rig::new(LIMITS, settings, 1 << 20, 512);
    rig.send_committed(&["a"]);
    let taken = rig.receive(1, Some(NO_WAIT)).unwrap();
    rig.commit();
    rig.poll(1, secs(20)).unwrap_err();
    rig.load();
    assert!(rig.shard.dispatch(|_| false).is_empty());
    (rig, taken)
}

/// Found by the simulation: it was deleted by the move and once more for its age, the count of stored messages was one
/// too low, and after a start as many were out of reach.
#[test]
fn what_grows_too_old_on_its_way_is_deleted_by_its_move_alone() {
    let (mut rig, _) = rig_with_dead_letter();
    let letters = rig.shard.take_dead_letters();
    assert_eq!(letters.len(), 1);
    rig.pass(secs(60));
    assert_eq!(rig.shard.take_write(), None);
    assert!(rig.shard.next_deadline().is_none_or(|deadline| deadline > rig.now), "nor is it waited for");
    rig.shard.moved(&letters);
    assert_eq!(rig.shard.counts(), QueueCounts::default());
    // One that could not leave goes when it is back.
    let (mut rig, _) = rig_with_dead_letter();
    let letters = rig.shard.take_dead_letters();
    rig.pass(secs(60));
    rig.shard.move_later(&letters);
    rig.pass(secs(1));
    assert_eq!(rig.shard.take_write().unwrap().deletes, [letters[0].sequence]);
}

/// Found by the simulation: the change was acknowledged, and undone.
#[test]
fn what_was_changed_since_is_not_given_back() {
    let mut rig = Rig::plain();
    rig.send_committed(&["a"]);
    let first = rig.receive(1, Some(secs(1))).unwrap().remove(0);
    rig.pass(secs(1));
    let second = rig.receive(1, Some(secs(30))).unwrap();
    let old = rig.handle_of(&first);
    rig.shard.change_visibility(old, secs(60)).unwrap();
    rig.shard.give_back(second);
    assert_eq!(rig.shard.counts(), QueueCounts { visible: 0, in_flight: 1, delayed: 0 });
    rig.pass(secs(60));
    assert_eq!(rig.shard.counts().visible, 1);
}

/// Found by the simulation: a receiver that had gone gave back what had been set apart since, so that it was handed
/// out and arrived in the dead-letter queue as well.
#[test]
fn what_has_left_since_is_not_given_back() {
    let (mut rig, taken) = rig_with_dead_letter();
    let letters = rig.shard.take_dead_letters();
    rig.shard.give_back(taken);
    assert!(rig.shard.dispatch(|_| false).is_empty());
    rig.shard.moved(&letters);
    assert_eq!(rig.shard.counts(), QueueCounts::default());
}
