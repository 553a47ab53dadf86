//! What every store must do; run over each of them.

use std::time::Duration;

use lambfold_types::{Scope, Timestamp};

use super::{Created, EMPTY_STREAM_MS, Found, From, GroupFilter, LogStore, Page, StreamFilter, StreamQuery};
use crate::record::{Batch, Event, GroupSettings, NewEvent, Position};

const ALL: std::ops::Range<i64> = 0..i64::MAX;
const PAGE: Page = Page { events: 1000, bytes: 1 << 20 };

/// Runs the suite on an empty store. Panics where the store is wrong.
pub fn run(store: &dyn LogStore) {
    groups_are_kept_apart_by_scope(store);
    groups_and_streams_are_paged(store);
    events_are_read_both_ways(store);
    a_group_is_searched_in_order(store);
    pages_are_bounded(store);
    what_is_deleted_is_gone_and_its_name_begins_anew(store);
    what_has_expired_goes_step_by_step(store);
    the_oldest_go_when_it_is_full(store);
}

fn scopes() -> [Scope; 3] {
    let scope = |account: &str, region: &str| Scope {
        account: account.parse().expect("an account"),
        region: region.parse().expect("a region"),
    };
    [
        scope("111111111111", "us-east-1"),
        scope("222222222222", "us-east-1"),
        scope("111111111111", "eu-west-1"),
    ]
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn batch(group: &str, stream: &str, events: &[(i64, &str)]) -> Batch {
    let events = events.iter().map(|(time, text)| NewEvent { time: at(*time), message: (*text).to_owned() });
    Batch {
        scope: Scope::default(),
        group: group.to_owned(),
        stream: stream.to_owned(),
        events: events.collect(),
        create: true,
    }
}

fn append(store: &dyn LogStore, batches: &[Batch]) {
    let appended = store.append(batches, at(5_000)).expect("the store works");
    assert!(appended.iter().all(|it| matches!(it, Found::Here(_))), "{appended:?}");
}

fn here<T>(found: Found<T>) -> T {
    match found {
        Found::Here(found) => found,
        Found::NoGroup => panic!("no group"),
        Found::NoStream => panic!("no stream"),
    }
}

fn texts(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.message.as_str()).collect()
}

fn read(store: &dyn LogStore, group: &str, stream: &str, from: From, page: Page) -> Vec<Event> {
    here(store.read(&Scope::default(), group, stream, ALL, from, page).expect("the store works"))
}

fn groups_are_kept_apart_by_scope(store: &dyn LogStore) {
    for (index, scope) in scopes().iter().enumerate() {
        let settings = GroupSettings {
            retention_days: Some(u32::try_from(index).expect("small") + 1),
            ..GroupSettings::default()
        };
        assert!(store.create_group(scope, "apart", &settings, at(7)).expect("the store works"));
        assert!(
            !store.create_group(scope, "apart", &GroupSettings::default(), at(8)).expect("the store works")
        );
        assert_eq!(store.create_stream(scope, "apart", "s", at(9)).expect("the store works"), Created::Made);
        assert_eq!(
            store.create_stream(scope, "apart", "s", at(9)).expect("the store works"),
            Created::Exists
        );
        assert_eq!(
            store.create_stream(scope, "other", "s", at(9)).expect("the store works"),
            Created::NoGroup
        );
        let events = vec![NewEvent { time: at(10), message: format!("of {scope}") }];
        let (group, stream) = ("apart".to_owned(), "s".to_owned());
        let batch = Batch { scope: scope.clone(), group, stream, events, create: false };
        assert!(matches!(store.append(&[batch], at(11)).expect("the store works")[..], [Found::Here(_)]));
    }
    for (index, scope) in scopes().iter().enumerate() {
        let group = store.group(scope, "apart").expect("the store works").expect("it is there");
        assert_eq!(group.settings.retention_days, Some(u32::try_from(index).expect("small") + 1));
        assert_eq!(group.created, at(7));
        assert_eq!(group.stored_bytes, format!("of {scope}").len() as u64 + 26);
        let events = here(store.read(scope, "apart", "s", ALL, From::Head, PAGE).expect("the store works"));
        assert_eq!(texts(&events), [format!("of {scope}")]);
        assert_eq!(events[0].ingested, at(11));
    }
    let [first, second, third] = scopes();
    let mut edit = |settings: &mut GroupSettings| {
        settings.retention_days = None;
        settings.tags.insert("a".into(), "b".into());
        true
    };
    assert!(store.edit_group(&first, "apart", &mut edit).expect("the store works"));
    assert!(!store.edit_group(&first, "none", &mut edit).expect("the store works"));
    let edited = store.group(&first, "apart").expect("the store works").expect("it is there").settings;
    assert_eq!((edited.retention_days, edited.tags.len()), (None, 1));
    let mut leave = |settings: &mut GroupSettings| {
        settings.retention_days = Some(99);
        false
    };
    assert!(store.edit_group(&first, "apart", &mut leave).expect("the store works"));
    assert_eq!(store.group(&first, "apart").expect("the store works").expect("it is there").settings, edited);
    assert!(store.delete_group(&second, "apart").expect("the store works"));
    assert!(!store.delete_group(&second, "apart").expect("the store works"));
    assert!(store.group(&first, "apart").expect("the store works").is_some());
    assert!(store.group(&third, "apart").expect("the store works").is_some());
    for scope in [first, third] {
        assert!(store.delete_group(&scope, "apart").expect("the store works"));
    }
}

fn groups_and_streams_are_paged(store: &dyn LogStore) {
    let scope = Scope::default();
    for name in ["page/b", "page/a", "page/c", "q/page"] {
        assert!(store.create_group(&scope, name, &GroupSettings::default(), at(1)).expect("the store works"));
    }
    let names = |filter: &GroupFilter, after: &str, max| -> Vec<String> {
        store
            .groups(&scope, filter, after, max)
            .expect("the store works")
            .into_iter()
            .map(|it| it.name)
            .collect()
    };
    let prefix = GroupFilter { prefix: "page/".into(), ..GroupFilter::default() };
    assert_eq!(names(&prefix, "", 2), ["page/a", "page/b"]);
    assert_eq!(names(&prefix, "page/b", 2), ["page/c"]);
    let contains = GroupFilter { contains: "page".into(), ..GroupFilter::default() };
    assert_eq!(names(&contains, "page/c", 9), ["q/page"]);
    let class = GroupFilter { class: Some("DELIVERY".into()), ..GroupFilter::default() };
    assert!(names(&class, "", 9).is_empty());
    assert_eq!(
        store.streams(&scope, "none", &StreamQuery::default()).expect("the store works"),
        Found::NoGroup,
        "no group, no streams"
    );

    append(store, &[batch("page/a", "x", &[(30, "x")]), batch("page/a", "y", &[(10, "y")])]);
    append(store, &[batch("page/a", "z", &[(20, "z"), (40, "z")]), batch("page/a", "z", &[(5, "z")])]);
    assert_eq!(
        store.create_stream(&scope, "page/a", "empty", at(3)).expect("the store works"),
        Created::Made
    );
    let streams =
        |query: StreamQuery| here(store.streams(&scope, "page/a", &query).expect("the store works"));
    let names =
        |query: StreamQuery| -> Vec<String> { streams(query).into_iter().map(|it| it.name).collect() };
    let query = StreamQuery { max: 9, ..StreamQuery::default() };
    assert_eq!(names(query.clone()), ["empty", "x", "y", "z"]);
    assert_eq!(names(StreamQuery { descending: true, max: 2, ..query.clone() }), ["z", "y"]);
    assert_eq!(names(StreamQuery { after: Some((0, "x".into())), ..query.clone() }), ["y", "z"]);
    assert_eq!(names(StreamQuery { prefix: "y".into(), ..query.clone() }), ["y"]);
    let of_y = StreamQuery { prefix: "y".into(), after: Some((0, "y".into())), ..query.clone() };
    assert_eq!(names(of_y.clone()), [""; 0]);
    let before = StreamQuery { after: Some((0, "x".into())), descending: true, ..query.clone() };
    assert_eq!(names(before), ["empty"]);
    assert_eq!(names(StreamQuery { after: Some((0, "z".into())), descending: true, ..of_y }), ["y"]);
    let by_time = StreamQuery { by_last_event: true, ..query };
    assert_eq!(names(by_time.clone()), ["empty", "y", "x", "z"]);
    assert_eq!(names(StreamQuery { descending: true, ..by_time.clone() }), ["z", "x", "y", "empty"]);
    let after = Some((30, "x".to_owned()));
    assert_eq!(names(StreamQuery { after: after.clone(), ..by_time.clone() }), ["z"]);
    assert_eq!(names(StreamQuery { after, descending: true, ..by_time.clone() }), ["y", "empty"]);
    let last = streams(by_time).pop().expect("there are some");
    assert_eq!((last.first_event, last.last_event), (Some(at(5)), Some(at(40))));
    assert_eq!(last.last_ingestion, Some(at(5_000)));
    for name in ["page/b", "page/a", "page/c", "q/page"] {
        assert!(store.delete_group(&scope, name).expect("the store works"));
    }
}

fn events_are_read_both_ways(store: &dyn LogStore) {
    let scope = Scope::default();
    let missing = Batch { create: false, ..batch("ways", "s", &[(1, "x")]) };
    assert_eq!(
        store.append(std::slice::from_ref(&missing), at(1)).expect("the store works"),
        [Found::NoGroup]
    );
    append(store, &[batch("ways", "other", &[(2, "not this")])]);
    assert_eq!(store.append(&[missing], at(1)).expect("the store works"), [Found::NoStream]);
    assert_eq!(
        store.read(&scope, "none", "s", ALL, From::Head, PAGE).expect("the store works"),
        Found::NoGroup
    );
    assert_eq!(
        store.read(&scope, "ways", "s", ALL, From::Head, PAGE).expect("the store works"),
        Found::NoStream
    );
    append(store, &[batch("ways", "s", &[(1, "a"), (2, "b"), (2, "c"), (4, "d")])]);
    // Late, and of the same time as two others: after them.
    append(store, &[batch("ways", "s", &[(2, "late")])]);
    let two = Page { events: 2, ..PAGE };
    let head = read(store, "ways", "s", From::Head, two);
    assert_eq!(texts(&head), ["a", "b"]);
    let next = read(store, "ways", "s", From::After(head[1].position), two);
    assert_eq!(texts(&next), ["c", "late"]);
    let end = read(store, "ways", "s", From::After(next[1].position), two);
    assert_eq!(texts(&end), ["d"]);
    assert!(read(store, "ways", "s", From::After(end[0].position), two).is_empty());
    let tail = read(store, "ways", "s", From::Tail, two);
    assert_eq!(texts(&tail), ["late", "d"]);
    assert_eq!(texts(&read(store, "ways", "s", From::Before(tail[0].position), PAGE)), ["a", "b", "c"]);
    let part = here(store.read(&scope, "ways", "s", 2..4, From::Head, PAGE).expect("the store works"));
    assert_eq!(texts(&part), ["b", "c", "late"]);
    assert_eq!(part[0].position.time_ms, 2);
    assert!(store.delete_group(&scope, "ways").expect("the store works"));
}

fn a_group_is_searched_in_order(store: &dyn LogStore) {
    let scope = Scope::default();
    append(
        store,
        &[
            batch("search", "x/1", &[(1, "a"), (3, "c"), (5, "e")]),
            batch("search", "x/2", &[(2, "b"), (5, "f")]),
            batch("search", "y", &[(4, "d")]),
        ],
    );
    let scan = |streams: &StreamFilter, times: std::ops::Range<i64>, after: Option<Position>, events| {
        here(
            store
                .scan(&scope, "search", streams, times, after, Page { events, ..PAGE })
                .expect("the store works"),
        )
    };
    let all = scan(&StreamFilter::All, ALL, None, 100);
    assert_eq!(texts(&all.events), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(all.resume, None);
    assert_eq!(all.events[3].stream, "y");
    assert_eq!(texts(&scan(&StreamFilter::All, 2..5, None, 100).events), ["b", "c", "d"]);
    let names = StreamFilter::Names(vec!["x/2".into(), "y".into(), "none".into()]);
    assert_eq!(texts(&scan(&names, ALL, None, 100).events), ["b", "d", "f"]);
    // Every event that is looked at counts, so that a page always ends.
    let prefix = StreamFilter::Prefixes(vec!["y".into()]);
    let mut found = Vec::new();
    let mut after = None;
    let mut pages = 0;
    loop {
        let page = scan(&prefix, ALL, after, 2);
        found.extend(page.events);
        pages += 1;
        after = page.resume;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((texts(&found), pages), (vec!["d"], 3));
    assert_eq!(
        store.scan(&scope, "none", &prefix, ALL, None, PAGE).expect("the store works"),
        Found::NoGroup
    );
    assert!(store.delete_group(&scope, "search").expect("the store works"));
}

fn pages_are_bounded(store: &dyn LogStore) {
    let scope = Scope::default();
    let large = "x".repeat(1000);
    append(store, &[batch("bounds", "s", &[(1, &large), (2, &large), (3, &large)])]);
    for (bytes, expected) in [(10, 1), (1026, 1), (2052, 2), (10_000, 3)] {
        let page = Page { events: 10, bytes };
        assert_eq!(read(store, "bounds", "s", From::Head, page).len(), expected, "{bytes}");
        assert_eq!(read(store, "bounds", "s", From::Tail, page).len(), expected, "{bytes}");
        let scanned =
            here(store.scan(&scope, "bounds", &StreamFilter::All, ALL, None, page).expect("the store works"));
        assert_eq!(scanned.events.len(), expected, "{bytes}");
        assert_eq!(scanned.resume.is_some(), expected < 3, "{bytes}");
    }
    assert!(store.delete_group(&scope, "bounds").expect("the store works"));
}

fn what_is_deleted_is_gone_and_its_name_begins_anew(store: &dyn LogStore) {
    let scope = Scope::default();
    append(store, &[batch("gone", "s", &[(1, "old")]), batch("gone", "t", &[(2, "kept")])]);
    assert_eq!(store.delete_stream(&scope, "gone", "s").expect("the store works"), Found::Here(()));
    assert_eq!(store.delete_stream(&scope, "gone", "s").expect("the store works"), Found::NoStream);
    assert_eq!(store.delete_stream(&scope, "none", "s").expect("the store works"), Found::NoGroup);
    let search =
        || here(store.scan(&scope, "gone", &StreamFilter::All, ALL, None, PAGE).expect("the store works"));
    assert_eq!(texts(&search().events), ["kept"]);
    append(store, &[batch("gone", "s", &[(3, "new")])]);
    assert_eq!(texts(&read(store, "gone", "s", From::Head, PAGE)), ["new"]);
    assert_eq!(texts(&search().events), ["kept", "new"]);
    settle(store, at(10_000));
    assert_eq!(texts(&search().events), ["kept", "new"]);
    assert_eq!(
        store.group(&scope, "gone").expect("the store works").expect("it is there").stored_bytes,
        26 * 2 + 7
    );

    assert!(store.delete_group(&scope, "gone").expect("the store works"));
    append(store, &[batch("gone", "t", &[(9, "other")])]);
    assert_eq!(texts(&search().events), ["other"]);
    assert_eq!(texts(&read(store, "gone", "t", From::Head, PAGE)), ["other"]);
    assert!(store.delete_group(&scope, "gone").expect("the store works"));
    settle(store, at(10_000));
    assert_eq!(store.stored_bytes().expect("the store works"), 0, "what is gone takes no room");
}

/// Maintains until there is nothing left to do.
fn settle(store: &dyn LogStore, now: Timestamp) {
    while store.maintain(now, u64::MAX, 3).expect("the store works").more {}
}

fn what_has_expired_goes_step_by_step(store: &dyn LogStore) {
    let scope = Scope::default();
    let now = at(0) + Duration::from_hours(24 * 10);
    let day = 86_400_000;
    let settings = GroupSettings { retention_days: Some(3), ..GroupSettings::default() };
    assert!(store.create_group(&scope, "expires", &settings, at(0)).expect("the store works"));
    let old: Vec<(i64, &str)> = (0..10).map(|it| (it * 1000, "old")).collect();
    let kept = batch("expires", "new", &[(7 * day, "at the edge"), (9 * day, "new")]);
    let forever = batch("stays", "s", &[(1, "never expires")]);
    append(store, &[batch("expires", "old", &old), kept, forever]);
    let first = store.maintain(now, u64::MAX, 4).expect("the store works");
    assert_eq!((first.expired, first.more), (4, true), "a step has its bound");
    settle(store, now);
    let found =
        here(store.scan(&scope, "expires", &StreamFilter::All, ALL, None, PAGE).expect("the store works"));
    assert_eq!(texts(&found.events), ["at the edge", "new"]);
    let group = store.group(&scope, "expires").expect("the store works").expect("it is there");
    assert_eq!(group.stored_bytes, 26 * 2 + 14);
    // The stream that lost everything is gone with it.
    let query = StreamQuery { max: 9, ..StreamQuery::default() };
    let streams = here(store.streams(&scope, "expires", &query).expect("the store works"));
    assert_eq!(streams.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["new"]);
    assert_eq!(texts(&read(store, "stays", "s", From::Head, PAGE)), ["never expires"]);
    for name in ["expires", "stays"] {
        assert!(store.delete_group(&scope, name).expect("the store works"));
    }
    settle(store, now);
}

fn the_oldest_go_when_it_is_full(store: &dyn LogStore) {
    let scope = Scope::default();
    for number in 0..20 {
        let text = format!("{number:04}");
        append(store, &[batch(if number % 2 == 0 { "even" } else { "odd" }, "s", &[(1, &text)])]);
    }
    assert_eq!(store.stored_bytes().expect("the store works"), 20 * 30);
    let step = store.maintain(at(6_000), 10 * 30, 4).expect("the store works");
    assert_eq!((step.evicted, step.more), (4, true));
    while store.maintain(at(6_000), 10 * 30, 4).expect("the store works").more {}
    assert_eq!(store.stored_bytes().expect("the store works"), 10 * 30);
    assert_eq!(texts(&read(store, "even", "s", From::Head, PAGE)), ["0010", "0012", "0014", "0016", "0018"]);
    // A stream without events goes an hour after the last one that it got, unless it gets another.
    let streams = |group| {
        let query = StreamQuery { max: 9, ..StreamQuery::default() };
        here(store.streams(&scope, group, &query).expect("the store works")).len()
    };
    while store.maintain(at(6_000), 0, 4).expect("the store works").more {}
    assert_eq!((streams("even"), streams("odd")), (1, 1));
    append(store, &[batch("odd", "s", &[(1, "again")])]);
    settle(store, at(5_000 + EMPTY_STREAM_MS));
    assert_eq!((streams("even"), streams("odd")), (0, 1));
    for name in ["even", "odd"] {
        assert!(store.delete_group(&scope, name).expect("the store works"));
    }
    settle(store, at(6_000));
}
