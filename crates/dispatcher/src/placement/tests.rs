use super::provisioned::Provisioned;
use super::*;

fn placement(memory_mb: u64, environments: u32) -> Placement {
    let mut placement = Placement::new("e".into(), 1);
    placement.connected(0, "w1", memory_mb, environments);
    assert!(placement.synced(0).is_empty());
    placement
}

fn need(configuration: &str) -> Need {
    Need::of(configuration.into(), 128)
}

pub(super) fn observation(
    environment: &str,
    configuration: &str,
    memory_mb: u32,
    observed: Observed,
    current: bool,
) -> Observation {
    Observation {
        environment: environment.into(),
        configuration: configuration.into(),
        memory_mb,
        observed,
        provisioned: false,
        ending: false,
        current,
    }
}

#[test]
fn what_no_worker_can_hold_is_known() {
    let mut placement = placement(256, 1);
    assert!(!placement.is_too_large(256) && placement.is_too_large(257));
    // That it is taken says nothing.
    now(&mut placement, "a");
    assert!(!placement.is_too_large(256));
    placement.connected(0, "w2", 4096, 0);
    assert!(placement.is_too_large(128));
}

fn now(placement: &mut Placement, configuration: &str) -> Grant {
    match placement.place(need(configuration)) {
        (Placed::Now(grant), effects) => {
            assert!(effects.is_empty(), "{effects:?}");
            grant
        }
        other => panic!("{other:?}"),
    }
}

fn wait(placement: &mut Placement, configuration: &str) -> Ticket {
    match placement.place(need(configuration)) {
        (Placed::Wait(ticket), effects) if effects.is_empty() => ticket,
        other => panic!("{other:?}"),
    }
}

#[test]
fn calls_one_after_another_share_an_environment() {
    let mut placement = placement(10_000, 10);
    let first = now(&mut placement, "f");
    assert!(first.cold);
    placement.finish(&first.environment, Fate::Idle);
    let second = now(&mut placement, "f");
    assert_eq!((second.environment, second.cold), (first.environment, false));
}

#[test]
fn who_is_at_work_still_is_given_nothing_until_it_is_not() {
    let mut placement = placement(10_000, 10);
    let first = now(&mut placement, "f");
    placement.finish(&first.environment, Fate::Idle);
    let again = now(&mut placement, "f");
    assert!(!again.cold);
    placement.finish(&again.environment, Fate::Busy);
    let other = now(&mut placement, "f");
    assert!(other.cold);
    let idle = observation(&first.environment, "f", 128, Observed::Idle, true);
    placement.observed(0, idle.clone());
    assert_eq!(now(&mut placement, "f").environment, first.environment);
    // The news may be sooner than the refusal.
    placement.observed(0, idle);
    placement.finish(&first.environment, Fate::Busy);
    assert_eq!(now(&mut placement, "f").environment, first.environment);
}

#[test]
fn who_may_be_at_work_still_goes_last() {
    let mut placement = placement(10_000, 10);
    let (one, two) = (now(&mut placement, "f"), now(&mut placement, "f"));
    placement.finish(&one.environment, Fate::Idle);
    placement.finish(&two.environment, Fate::Lingers);
    assert_eq!(now(&mut placement, "f").environment, one.environment);
    assert_eq!(now(&mut placement, "f").environment, two.environment);
}

#[test]
fn who_lingers_is_the_most_recently_used_once_it_is_idle() {
    let mut placement = placement(10_000, 10);
    let (one, two) = (now(&mut placement, "f"), now(&mut placement, "f"));
    placement.finish(&one.environment, Fate::Idle);
    placement.finish(&two.environment, Fate::Lingers);
    placement.observed(0, observation(&two.environment, "f", 128, Observed::Idle, true));
    assert_eq!(now(&mut placement, "f").environment, two.environment);
}

#[test]
fn who_was_refused_gets_a_new_one_where_there_is_room() {
    let mut placement = placement(256, 10);
    let settled = Need { settled: true, ..need("f") };
    let one = now(&mut placement, "f");
    placement.finish(&one.environment, Fate::Lingers);
    let (Placed::Now(two), _) = placement.place(settled.clone()) else { panic!("there is room") };
    assert!(two.cold);
    placement.finish(&two.environment, Fate::Gone);
    // Another function's takes the rest.
    now(&mut placement, "g");
    let (Placed::Now(again), effects) = placement.place(settled) else { panic!("there is one") };
    assert!(effects.is_empty() && again.environment == one.environment, "{effects:?} {again:?}");
}

#[test]
fn the_most_recently_used_goes_first() {
    let mut placement = placement(10_000, 10);
    let (one, two) = (now(&mut placement, "f"), now(&mut placement, "f"));
    placement.finish(&two.environment, Fate::Idle);
    placement.finish(&one.environment, Fate::Idle);
    assert_eq!(now(&mut placement, "f").environment, one.environment);
}

#[test]
fn a_full_worker_retires_the_longest_idle() {
    let mut placement = placement(256, 10);
    let (f, g) = (now(&mut placement, "f"), now(&mut placement, "g"));
    placement.finish(&g.environment, Fate::Idle);
    placement.finish(&f.environment, Fate::Idle);
    let (placed, effects) = placement.place(need("h"));
    assert!(matches!(placed, Placed::Now(Grant { cold: true, .. })));
    assert_eq!(effects, [Effect::Retire(0, g.environment)]);
}

#[test]
fn what_is_freed_goes_to_the_function_with_least_at_work() {
    let mut placement = placement(256, 10);
    let (one, two) = (now(&mut placement, "f"), now(&mut placement, "f"));
    let (f, g) = (wait(&mut placement, "f"), wait(&mut placement, "g"));
    let effects = placement.finish(&one.environment, Fate::Idle);
    assert!(
        matches!(&effects[..], [Effect::Retire(0, retired), Effect::Granted(ticket, grant)]
            if *retired == one.environment && *ticket == g && grant.cold),
        "{effects:?}"
    );
    let effects = placement.finish(&two.environment, Fate::Idle);
    assert!(
        matches!(&effects[..], [Effect::Granted(ticket, grant)] if *ticket == f && !grant.cold),
        "{effects:?}"
    );
}

#[test]
fn one_that_needs_too_much_does_not_hold_up_others() {
    let mut placement = placement(256, 10);
    let one = now(&mut placement, "f");
    let (big, _) = placement.place(Need::of("big".into(), 1000));
    assert!(matches!(big, Placed::Wait(_)));
    now(&mut placement, "f");
    let f = wait(&mut placement, "f");
    let effects = placement.finish(&one.environment, Fate::Idle);
    assert!(matches!(&effects[..], [Effect::Granted(ticket, _)] if *ticket == f), "{effects:?}");
}

#[test]
fn who_gives_up_gets_nothing() {
    let mut placement = placement(128, 10);
    let one = now(&mut placement, "f");
    let ticket = wait(&mut placement, "g");
    placement.give_up(ticket, "g");
    assert!(placement.finish(&one.environment, Fate::Idle).is_empty());
    assert!(!now(&mut placement, "f").cold);
}

#[test]
fn outdated_environments_end_when_they_are_done() {
    let mut placement = placement(10_000, 10);
    let (idle, busy) = (now(&mut placement, "f1"), now(&mut placement, "f1"));
    placement.finish(&idle.environment, Fate::Idle);
    assert_eq!(placement.outdate("f1"), [Effect::Retire(0, idle.environment)]);
    assert!(now(&mut placement, "f2").cold);
    let effects = placement.finish(&busy.environment, Fate::Idle);
    assert_eq!(effects, [Effect::Retire(0, busy.environment)]);
}

#[test]
fn what_is_provisioned_is_used_first_and_makes_no_room() {
    let mut placement = placement(256, 10);
    placement.set_targets([(ConfigurationId::from("f"), 1)].into());
    let ready = placement.provision(&need("f")).0.unwrap();
    assert_eq!(placement.provisioned("f"), Provisioned { allocated: 1, available: 0, lasting: 1 });
    assert!(placement.take_provisioning_changed(), "the worker came");
    placement.finish(&ready.environment, Fate::Idle);
    assert!(placement.take_provisioning_changed(), "one more is available");
    assert_eq!(placement.provisioned("f"), Provisioned { allocated: 1, available: 1, lasting: 1 });
    let first = now(&mut placement, "f");
    assert_eq!((&first.environment, first.cold), (&ready.environment, false));
    let spilled = now(&mut placement, "f");
    assert!(spilled.cold);
    placement.finish(&spilled.environment, Fate::Idle);
    placement.finish(&first.environment, Fate::Idle);
    assert_eq!(now(&mut placement, "f").environment, ready.environment);
    placement.finish(&ready.environment, Fate::Idle);
    // g gets the room of what spilled over, not of what is kept ready.
    match placement.place(need("g")) {
        (Placed::Now(_), effects) => assert_eq!(effects, [Effect::Retire(0, spilled.environment)]),
        other => panic!("{other:?}"),
    }
    wait(&mut placement, "h");
    assert!(!placement.take_provisioning_changed());
    placement.finish(&ready.environment, Fate::Gone);
    assert!(placement.take_provisioning_changed() && placement.provisioned("f").allocated == 0);
}

#[test]
fn what_is_provisioned_ends_when_nobody_wants_it() {
    let mut placement = placement(10_000, 10);
    // Known from before, and nobody has said yet what is wanted.
    let known = Observation { provisioned: true, ..observation("old", "f", 128, Observed::Idle, true) };
    assert!(placement.observed(0, known).is_empty());
    assert!(placement.set_targets([(ConfigurationId::from("f"), 2)].into()).is_empty());
    let second = placement.provision(&need("f")).0.unwrap();
    placement.finish(&second.environment, Fate::Idle);
    let busy = now(&mut placement, "f");
    assert_eq!(placement.set_targets([(ConfigurationId::from("f"), 1)].into()).len(), 1, "the idle one");
    assert!(placement.set_targets(HashMap::new()).is_empty(), "the other is at work");
    assert_eq!(placement.finish(&busy.environment, Fate::Idle), [Effect::Retire(0, busy.environment)]);
    assert_eq!(placement.provisioned("f"), Provisioned::default());
}

#[test]
fn what_ends_soon_stays_until_another_is_there() {
    let mut placement = placement(10_000, 10);
    let targets = || [(ConfigurationId::from("f"), 1)].into();
    placement.set_targets(targets());
    let old = placement.provision(&need("f")).0.unwrap();
    placement.finish(&old.environment, Fate::Idle);
    placement.take_provisioning_changed();
    let ending = Observation {
        provisioned: true,
        ending: true,
        ..observation(&old.environment, "f", 128, Observed::Idle, true)
    };
    placement.observed(0, ending.clone());
    assert!(placement.take_provisioning_changed(), "somebody must look");
    let there = Provisioned { allocated: 1, available: 1, lasting: 0 };
    assert_eq!(placement.provisioned("f"), there);
    let new = placement.provision(&need("f")).0.unwrap();
    assert!(placement.set_targets(targets()).is_empty(), "the new one is not ready");
    assert_eq!(now(&mut placement, "f").environment, old.environment);
    placement.finish(&old.environment, Fate::Idle);
    // Told again, it counts once.
    placement.observed(0, ending);
    placement.take_provisioning_changed();
    assert!(placement.finish(&new.environment, Fate::Idle).is_empty(), "the new one is kept");
    assert!(placement.take_provisioning_changed());
    assert_eq!(placement.set_targets(targets()), [Effect::Retire(0, old.environment)]);
    assert_eq!(placement.provisioned("f"), Provisioned { allocated: 1, available: 1, lasting: 1 });
}

#[test]
fn a_new_dispatcher_takes_over_what_it_finds() {
    let mut placement = Placement::new("new".into(), 1);
    let early = wait(&mut placement, "f");
    placement.connected(0, "w1", 1000, 10);
    assert!(placement.observed(0, observation("old-1", "f", 128, Observed::Idle, true)).is_empty());
    assert!(placement.observed(0, observation("old-2", "g", 128, Observed::Working, true)).is_empty());
    assert!(placement.observed(0, observation("old-3", "h", 128, Observed::Idle, false)).is_empty());
    let effects = placement.synced(0);
    assert!(
        matches!(&effects[..], [Effect::Retire(0, outdated), Effect::Granted(ticket, grant)]
            if &**outdated == "old-3" && *ticket == early && &*grant.environment == "old-1"),
        "{effects:?}"
    );
    assert!(now(&mut placement, "g").cold, "the one it has is at work");
    placement.observed(0, observation("old-2", "g", 128, Observed::Idle, true));
    assert_eq!(&*now(&mut placement, "g").environment, "old-2");
}

#[test]
fn a_restarted_worker_has_nothing_of_before() {
    let mut placement = placement(1000, 10);
    let (busy, idle) = (now(&mut placement, "f"), now(&mut placement, "f"));
    placement.finish(&idle.environment, Fate::Idle);
    placement.disconnected(0);
    assert!(!placement.has_workers());
    let waiting = wait(&mut placement, "f");
    placement.connected(0, "w2", 1000, 10);
    let effects = placement.synced(0);
    assert!(
        matches!(&effects[..], [Effect::Granted(ticket, grant)] if *ticket == waiting && grant.cold && grant.incarnation == "w2"),
        "{effects:?}"
    );
    assert!(placement.finish(&busy.environment, Fate::Idle).is_empty());
    assert_eq!(placement.workers[0].used(), (128, 1));
}

#[test]
fn a_worker_that_comes_back_is_believed() {
    let mut placement = placement(1000, 10);
    let (busy, gone, kept) = (now(&mut placement, "f"), now(&mut placement, "f"), now(&mut placement, "f"));
    placement.finish(&gone.environment, Fate::Idle);
    placement.finish(&kept.environment, Fate::Idle);
    placement.disconnected(0);
    placement.connected(0, "w1", 1000, 10);
    placement.observed(0, observation(&kept.environment, "f", 128, Observed::Idle, true));
    placement.observed(0, observation(&busy.environment, "f", 128, Observed::Working, true));
    placement.synced(0);
    assert_eq!(placement.workers[0].used(), (256, 2));
    assert_eq!(now(&mut placement, "f").environment, kept.environment);
    placement.finish(&busy.environment, Fate::Idle);
    assert_eq!(now(&mut placement, "f").environment, busy.environment);
}
