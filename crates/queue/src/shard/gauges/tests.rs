//! Gauges of fair queues (facts, SQS §5.7 and §9; AWS, "Available CloudWatch metrics for Amazon SQS").

use std::time::Duration;

use lambfold_types::Timestamp;

use crate::queue::{QueueCounts, QueueKind, QueueSettings, Redrive};
use crate::shard::rig::{LIMITS, Rig};
use crate::shard::{DeadLetter, Taken};

use super::FairGauges;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn fair(rig: &Rig) -> FairGauges {
    rig.shard.gauges().fair.expect("messages with groups were sent")
}

/// Noisy groups, and of the others what is visible, in flight and delayed.
fn seen(rig: &Rig) -> (usize, [u64; 3]) {
    let FairGauges { noisy_groups, quiet: QueueCounts { visible, in_flight, delayed }, .. } = fair(rig);
    (noisy_groups, [visible, in_flight, delayed])
}

fn oldest(rig: &Rig) -> Option<Timestamp> {
    fair(rig).oldest_quiet_sent_at
}

fn send(rig: &mut Rig, group: &str, count: usize) -> Vec<u64> {
    let sequences = rig.send_of(group, &vec!["x"; count], None);
    rig.commit();
    sequences
}

/// One of those that were taken, as `which` says of their sequences.
fn one(taken: &[Taken], which: impl Fn(u64) -> bool) -> &Taken {
    taken.iter().find(|taken| which(taken.sequence)).unwrap()
}

/// 50 messages of a noisy group, then, a second later, three and two of quiet ones.
fn noisy_neighbor() -> (Rig, Vec<u64>) {
    let mut rig = Rig::plain();
    send(&mut rig, "noisy", 50);
    rig.pass(secs(1));
    let mut quiet = send(&mut rig, "a", 3);
    quiet.extend(send(&mut rig, "b", 2));
    (rig, quiet)
}

#[test]
fn a_noisy_group_is_told_from_the_quiet_ones() {
    let mut rig = Rig::plain();
    send(&mut rig, "noisy", 50);
    assert_eq!(seen(&rig), (0, [50, 0, 0]), "alone it disturbs nobody");
    assert_eq!(oldest(&rig), Some(rig.now));
    let (rig, _) = noisy_neighbor();
    assert_eq!(seen(&rig), (1, [5, 0, 0]));
    assert_eq!(oldest(&rig), Some(rig.now));
    assert_eq!(rig.shard.gauges().oldest_sent_at, Some(rig.now - secs(1)));
}

#[test]
fn what_is_not_durable_is_not_counted_nor_what_the_store_refuses() {
    let (mut rig, _) = noisy_neighbor();
    rig.send_of("a", &["x"; 2], None);
    rig.send_of("noisy", &["x"; 2], None);
    assert_eq!(seen(&rig), (1, [5, 0, 0]));
    rig.submit();
    rig.refuse_one();
    assert_eq!(seen(&rig), (1, [5, 0, 0]));
}

#[test]
fn receives_deletes_and_changes_of_visibility_are_followed() {
    let (mut rig, quiet) = noisy_neighbor();
    let is_quiet = |sequence| quiet.contains(&sequence);
    let taken = rig.receive(10, Some(secs(30))).unwrap();
    assert_eq!(seen(&rig), (1, [0, 5, 0]));
    let handle = rig.handle_of(one(&taken, |sequence| !is_quiet(sequence)));
    rig.shard.delete(handle).unwrap();
    assert_eq!(seen(&rig), (1, [0, 5, 0]), "what becomes of the noisy group's");
    let handle = rig.handle_of(one(&taken, is_quiet));
    rig.shard.change_visibility(handle, Duration::ZERO).unwrap();
    assert_eq!(seen(&rig), (1, [1, 4, 0]));
    rig.shard.change_visibility(handle, secs(60)).unwrap();
    assert_eq!(seen(&rig), (1, [0, 5, 0]));
    rig.shard.delete(handle).unwrap();
    assert_eq!(seen(&rig), (1, [0, 4, 0]));
    rig.pass(secs(30));
    assert_eq!(seen(&rig), (1, [4, 0, 0]));
    assert_eq!(oldest(&rig), Some(rig.now - secs(30)));
}

#[test]
fn what_is_given_back_is_visible_again() {
    let (mut rig, _) = noisy_neighbor();
    let taken = rig.receive(10, None).unwrap();
    rig.shard.give_back(taken);
    assert_eq!(seen(&rig), (1, [5, 0, 0]));
}

#[test]
fn delays_are_followed() {
    let (mut rig, _) = noisy_neighbor();
    rig.send_of("a", &["x"; 2], Some(secs(10)));
    rig.send_of("noisy", &["x"; 4], Some(secs(10)));
    rig.commit();
    assert_eq!(seen(&rig), (1, [5, 0, 2]));
    assert_eq!(rig.shard.counts().delayed, 6);
    rig.pass(secs(10));
    assert_eq!(seen(&rig), (1, [7, 0, 0]));
}

#[test]
fn a_group_is_noisy_as_long_as_its_backlog_lasts() {
    let (mut rig, _) = noisy_neighbor();
    while rig.shard.counts().visible > 31 {
        let taken = rig.receive(1, None).unwrap();
        assert_eq!(fair(&rig).noisy_groups, usize::from(rig.shard.counts().visible >= 32));
        let handle = rig.handle_of(&taken[0]);
        rig.shard.delete(handle).unwrap();
    }
    assert_eq!(seen(&rig), (0, [31, 0, 0]));
    assert_eq!(oldest(&rig), rig.shard.gauges().oldest_sent_at);
}

#[test]
fn what_has_come_back_is_no_backlog() {
    let (mut rig, _) = noisy_neighbor();
    rig.receive(55, Some(secs(30))).unwrap();
    assert_eq!(seen(&rig), (0, [0, 55, 0]));
    rig.pass(secs(30));
    assert_eq!(seen(&rig), (0, [55, 0, 0]), "nobody is put in front of it");
}

#[test]
fn the_oldest_quiet_one_is_followed_to_its_end() {
    let (mut rig, _) = noisy_neighbor();
    let sent_at = rig.now;
    rig.pass(secs(5));
    let last = send(&mut rig, "a", 1)[0];
    let taken = rig.receive(10, None).unwrap();
    assert_eq!(oldest(&rig), Some(sent_at), "in flight it is in the queue still");
    let mut quiet = rig.receive(10, None).unwrap();
    quiet.extend(taken);
    for taken in quiet.iter().filter(|taken| taken.sequence > 50 && taken.sequence != last) {
        let handle = rig.handle_of(taken);
        rig.shard.delete(handle).unwrap();
    }
    assert_eq!(oldest(&rig), Some(rig.now));
    let handle = rig.handle_of(one(&quiet, |sequence| sequence == last));
    rig.shard.delete(handle).unwrap();
    assert_eq!((seen(&rig), oldest(&rig)), ((1, [0, 0, 0]), None));
}

#[test]
fn a_message_without_a_group_is_quiet() {
    let mut rig = Rig::plain();
    send(&mut rig, "", 1);
    assert_eq!(rig.shard.gauges().fair, None, "no queue is fair without groups");
    let first = rig.now;
    rig.pass(secs(1));
    send(&mut rig, "noisy", 50);
    rig.pass(secs(1));
    let second = rig.now;
    send(&mut rig, "", 1);
    rig.pass(secs(1));
    send(&mut rig, "a", 1);
    assert_eq!((seen(&rig), oldest(&rig)), ((1, [3, 0, 0]), Some(first)));
    let taken = rig.receive(1, None).unwrap();
    let handle = rig.handle_of(&taken[0]);
    rig.shard.delete(handle).unwrap();
    assert_eq!((seen(&rig), oldest(&rig)), ((1, [2, 0, 0]), Some(second)), "also behind the backlog");
}

#[test]
fn a_purge_leaves_nothing() {
    let (mut rig, _) = noisy_neighbor();
    rig.receive(10, None).unwrap();
    rig.send_of("a", &["x"], Some(secs(10)));
    rig.commit();
    rig.shard.purge(None).unwrap();
    assert_eq!((seen(&rig), oldest(&rig)), ((0, [0, 0, 0]), None));
    rig.commit();
    send(&mut rig, "noisy", 40);
    send(&mut rig, "a", 1);
    assert_eq!(seen(&rig), (1, [1, 0, 0]), "who sends much is remembered");
}

#[test]
fn what_grows_too_old_is_no_longer_counted() {
    let settings = QueueSettings { message_retention_period: secs(60), ..QueueSettings::default() };
    let mut rig = Rig::new(LIMITS, settings, 1 << 20, 512);
    send(&mut rig, "b", 2);
    send(&mut rig, "noisy", 10);
    rig.pass(secs(50));
    send(&mut rig, "noisy", 40);
    send(&mut rig, "a", 2);
    assert_eq!(seen(&rig), (1, [4, 0, 0]));
    rig.pass(secs(10));
    assert_eq!((seen(&rig), rig.shard.counts().visible), ((1, [2, 0, 0]), 42));
    assert_eq!(oldest(&rig), Some(rig.now - secs(10)));
}

/// Of a backlog that is far larger than the memory for it, every message counts.
#[test]
fn a_backlog_in_the_store_is_counted_by_group() {
    let mut rig = Rig::new(LIMITS, QueueSettings::default(), 1 << 10, 128);
    for _ in 0..20 {
        send(&mut rig, "noisy", 50);
        send(&mut rig, "", 1);
        rig.pass(secs(1));
    }
    send(&mut rig, "a", 2);
    assert!(rig.shard.backlog.ready() < 600, "{}", rig.shard.backlog.ready());
    assert_eq!(seen(&rig), (1, [22, 0, 0]));
    let mut left = 20;
    while fair(&rig).noisy_groups == 1 {
        for taken in rig.receive(10, None).unwrap() {
            let handle = rig.handle_of(&taken);
            rig.shard.delete(handle).unwrap();
            left -= u64::from(taken.record.len() == 1);
        }
        rig.settle();
        let FairGauges { noisy_groups, quiet, oldest_quiet_sent_at } = fair(&rig);
        if noisy_groups == 1 {
            assert_eq!(quiet, QueueCounts { visible: left, ..QueueCounts::default() });
            // One of them came with each second; until it is read, it may be the one before.
            let age = oldest_quiet_sent_at.map_or(0, |sent_at| rig.now.since(sent_at).as_secs());
            assert!(age == left || age == left + 1 && left > 0, "{age} s with {left} left");
        }
    }
    assert!(rig.shard.counts().visible < left + 32);
}

#[test]
fn the_age_of_what_only_the_store_has_is_known() {
    let mut rig = Rig::new(LIMITS, QueueSettings::default(), 1 << 10, 128);
    for _ in 0..12 {
        send(&mut rig, "noisy", 50);
    }
    rig.pass(secs(1));
    let sent_at = rig.now;
    send(&mut rig, "", 1);
    rig.pass(secs(1));
    send(&mut rig, "a", 1);
    assert_eq!((seen(&rig), oldest(&rig)), ((1, [2, 0, 0]), Some(sent_at)));
}

/// After a start it is known who waits as soon as that is read, and who is in flight when that comes back.
#[test]
fn a_start_finds_the_groups_again() {
    let mut rig = Rig::plain();
    send(&mut rig, "noisy", 600);
    send(&mut rig, "a", 2);
    rig.receive(2, Some(secs(30))).unwrap();
    rig.commit();
    rig.crash();
    assert_eq!(rig.shard.gauges().fair, None, "nothing is read yet");
    rig.load();
    let all = rig.shard.counts();
    assert_eq!(all, QueueCounts { visible: 600, in_flight: 2, delayed: 0 });
    assert_eq!(fair(&rig).quiet, all, "nobody is noisy before somebody is known to be quiet");
    let sent = send(&mut rig, "a", 1);
    assert_eq!(seen(&rig), (1, [1, 0, 0]), "as long as there are groups unknown, they do not count as quiet");
    rig.pass(secs(30));
    let taken = rig.receive(4, None).unwrap();
    assert!(taken.iter().any(|taken| taken.sequence == sent[0]), "nor is it behind the others");
    assert_eq!(seen(&rig), (1, [1, 2, 0]));
    while fair(&rig).noisy_groups == 1 {
        for taken in rig.receive(10, None).unwrap() {
            let handle = rig.handle_of(&taken);
            rig.shard.delete(handle).unwrap();
        }
        rig.settle();
    }
    assert!(rig.shard.counts().visible < 32, "all of the noisy group's were found");
}

#[test]
fn a_dead_letter_is_counted_by_its_group_where_it_is() {
    let redrive = Redrive { dead_letter_queue: "dead".parse().unwrap(), max_receive_count: 1 };
    let settings = QueueSettings { redrive: Some(redrive), ..QueueSettings::default() };
    let mut rig = Rig::new(LIMITS, settings, 1 << 20, 512);
    send(&mut rig, "noisy", 60);
    send(&mut rig, "a", 1);
    rig.receive(2, Some(Duration::ZERO)).unwrap();
    rig.receive(2, None).unwrap();
    rig.commit();
    let letters = rig.shard.take_dead_letters();
    assert_eq!((letters.len(), seen(&rig)), (2, (1, [1, 0, 0])), "on its way it is visible still");
    rig.shard.moved(&letters);
    assert_eq!((seen(&rig), oldest(&rig)), ((1, [0, 0, 0]), None));
    // There it is older than what was sent since.
    let mut rig = Rig::plain();
    rig.pass(secs(9));
    send(&mut rig, "noisy", 60);
    let sent_at = rig.now - secs(5);
    let letters: Vec<DeadLetter> = letters.into_iter().map(|it| DeadLetter { sent_at, ..it }).collect();
    rig.shard.adopt(letters).unwrap();
    rig.commit();
    send(&mut rig, "b", 1);
    assert_eq!((seen(&rig), oldest(&rig)), ((1, [2, 0, 0]), Some(sent_at)));
}

#[test]
fn a_fifo_queue_has_groups_that_are_not_tenants() {
    let settings = QueueSettings::default();
    let mut rig =
        Rig::of_kind(QueueKind::Fifo(crate::DeduplicationScope::Queue), LIMITS, settings, 1 << 20, 512);
    rig.send_in_order(&[("g", 1)], 1);
    rig.commit();
    assert_eq!(rig.shard.gauges().fair, None);
}
