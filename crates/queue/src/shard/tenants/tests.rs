//! Who is quiet and who is noisy, and what is remembered; what is counted is tested with the shard (`shard/gauges/tests.rs`).

use super::*;

#[test]
fn quiet_is_who_sends_much_less_than_the_others() {
    let mut tenants = Tenants::default();
    assert!(!tenants.note(b"loud"), "alone");
    assert!((0..1000).all(|_| !tenants.note(b"loud")));
    assert!((0..10).all(|_| tenants.note(b"quiet")));
    let mut equal = Tenants::default();
    for _ in 0..100 {
        for group in [b"a", b"b", b"c"] {
            assert!(!equal.note(group));
        }
    }
}

/// Notes `sent` messages of each group and lets as many of them wait.
fn busy(groups: &[(&str, usize)]) -> Tenants {
    let mut tenants = Tenants::default();
    for (group, sent) in groups {
        for _ in 0..*sent {
            tenants.note(group.as_bytes());
            let number = tenants.number(group.as_bytes());
            tenants.enter(number, Standing::Visible);
        }
    }
    tenants
}

fn noisy(tenants: &Tenants) -> Vec<&str> {
    tenants.noisy_names().into_iter().map(|name| std::str::from_utf8(name).unwrap()).collect()
}

#[test]
fn noisy_is_who_others_are_put_in_front_of() {
    assert_eq!(noisy(&busy(&[("a", 100), ("b", 5)])), ["a"]);
    assert!(noisy(&busy(&[("a", 100)])).is_empty(), "alone");
    assert!(noisy(&busy(&[("a", 100), ("b", 90), ("c", 80)])).is_empty(), "nobody is quiet");
    assert_eq!(noisy(&busy(&[("a", 100), ("b", 90), ("c", 80), ("d", 5)])), ["a", "b", "c"]);
    assert_eq!(noisy(&busy(&[("a", 32), ("b", 5)])), ["a"]);
    assert!(noisy(&busy(&[("a", 31), ("b", 5)])).is_empty(), "too few wait");
    assert_eq!(
        noisy(&busy(&[("a", 150), ("b", 45), ("c", 150)])),
        ["c", "a"],
        "one that is quiet is not noisy"
    );
    let many: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let mut many: Vec<(&str, usize)> = many.iter().map(|name| (name.as_str(), 40)).collect();
    many.push(("quiet", 1));
    assert!(noisy(&busy(&many)).is_empty(), "none has a tenth");
}

#[test]
fn what_was_is_forgotten_and_memory_is_bounded() {
    let mut tenants = Tenants::default();
    for _ in 0..MEMORY {
        tenants.note(b"once loud");
    }
    for n in 0..20 * MEMORY {
        tenants.note(n.to_string().as_bytes());
    }
    assert!(tenants.by_number.len() <= 2 * MEMORY as usize);
    assert!(!tenants.numbers.contains_key(&b"once loud"[..]));
}

#[test]
fn memory_is_bounded_when_all_groups_keep_messages() {
    let mut tenants = Tenants::default();
    for n in 0..20 * MEMORY {
        let group = n.to_string();
        tenants.note(group.as_bytes());
        let number = tenants.number(group.as_bytes());
        tenants.enter(number, Standing::Visible);
        tenants.hold(number, Timestamp::from_millis(n.into()), n.into());
    }
    assert!(tenants.by_number.len() <= 3 * MEMORY as usize, "{}", tenants.by_number.len());
    assert_eq!(tenants.oldest.len(), tenants.by_number.len());
    // Those that come from elsewhere are not sent, and decay nothing.
    let mut tenants = Tenants::default();
    for n in 0..10 * MOST as u64 {
        let number = tenants.number(n.to_string().as_bytes());
        tenants.hold(number, Timestamp::from_millis(1), n);
    }
    assert_eq!(tenants.by_number.len(), MOST);
    assert!(!tenants.note(b"new"), "who sends is known in any case");
    assert!(tenants.numbers.contains_key(&b"new"[..]));
}

#[test]
fn a_group_without_messages_that_never_sent_is_forgotten_at_once() {
    let mut tenants = Tenants::default();
    let number = tenants.number(b"guest");
    tenants.hold(number, Timestamp::from_millis(1), 1);
    tenants.release(number, Timestamp::from_millis(1), 1);
    assert!(tenants.by_number.is_empty() && tenants.numbers.is_empty() && tenants.oldest.is_empty());
}

#[test]
fn of_a_group_that_was_forgotten_messages_count_when_they_are_read() {
    let mut tenants = Tenants::default();
    let sent_at = Timestamp::from_millis(5);
    let send = |tenants: &mut Tenants, sequence: u64| {
        let number = tenants.number(b"g");
        tenants.enter(number, Standing::Visible);
        tenants.join_tail(number, sent_at);
        tenants.placed(sequence + 1);
    };
    for sequence in 1..=3 {
        send(&mut tenants, sequence);
    }
    let number = tenants.number(b"g");
    tenants.forget(number);
    tenants.leave_tail(b"g", sent_at, 1);
    send(&mut tenants, 4);
    assert_eq!(tenants.of(b"g").0.visible, 2, "the first and the last");
    for sequence in 2..=4 {
        tenants.leave_tail(b"g", sent_at, sequence);
    }
    assert_eq!(tenants.of(b"g").0.visible, 4);
}
