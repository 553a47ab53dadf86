//! What every store must do; run over each of them.

use lambfold_types::Scope;
use std::collections::BTreeMap;

use super::{ControlStore, Decision, Event, LOG_LENGTH, LayerFilter, MappingFilter, Publication};
use crate::record::{
    Configuration, Desired, FORMAT, Function, FunctionLayer, FunctionRecord, LayerPackage, LayerPermission,
    LayerVersionRecord, Logging, Mapping, MappingRecord, State, VersionRecord,
};

/// Runs the suite on an empty store. Panics where the store is wrong.
pub fn run(store: &dyn ControlStore) {
    functions_are_kept_apart_by_scope(store);
    edits_are_kept_left_or_removed(store);
    versions_are_numbered_and_go_with_their_function(store);
    mappings_have_no_twins(store);
    lists_are_paged(store);
    layer_numbers_are_never_given_again(store);
    layers_are_listed_by_what_they_are_for(store);
    changes_come_in_order_and_the_log_is_bounded(store);
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

/// A function to store.
pub fn function(scope: &Scope, name: &str, description: &str) -> Function {
    let logging = Logging { format: "Text".into(), application_level: None, system_level: None, group: None };
    Function {
        scope: scope.clone(),
        name: name.parse().expect("a name"),
        record: FunctionRecord {
            format: FORMAT,
            incarnation: format!("{scope}/{name}"),
            state: State::Pending,
            last_update: None,
            revision_id: "r1".into(),
            last_modified: "now".into(),
            configuration: Configuration {
                configuration_id: "c1".into(),
                runtime: "python3.12".into(),
                handler: "index.handler".into(),
                role: "arn:aws:iam::111111111111:role/r".into(),
                description: description.into(),
                timeout: 3,
                memory_size: 128,
                ephemeral_storage: 512,
                architecture: "x86_64".into(),
                code_sha256: "sha".into(),
                code_size: 7,
                unzipped_bytes: 9,
                hot_reload: None,
                layers: vec![FunctionLayer { arn: "arn".into(), package: layer("").package }],
                image: None,
                environment: None,
                logging,
                snap_start: false,
            },
            serving: None,
            urls: BTreeMap::new(),
            tags: [("team".to_owned(), "blue".to_owned())].into(),
            versions: crate::record::Versions::default(),
            aliases: [].into(),
            concurrency: crate::record::FunctionConcurrency::default(),
        },
    }
}

fn mapping(scope: &Scope, uuid: &str, function: &str) -> Mapping {
    Mapping {
        scope: scope.clone(),
        uuid: uuid.into(),
        record: MappingRecord {
            format: FORMAT,
            event_source_arn: format!("arn:aws:sqs:{}:{}:q", scope.region, scope.account),
            function_name: function.into(),
            qualifier: None,
            generation: 1,
            desired: Desired::Enabled,
            transition: Some("Creating".into()),
            batch_size: 10,
            window_seconds: 0,
            maximum_concurrency: None,
            report_batch_item_failures: false,
            last_modified_ms: 1,
            last_processing_result: None,
            tags: [].into(),
        },
    }
}

fn layer(runtime: &str) -> LayerVersionRecord {
    LayerVersionRecord {
        format: FORMAT,
        description: "d".into(),
        created_date: "now".into(),
        license_info: Some("MIT".into()),
        compatible_runtimes: (!runtime.is_empty()).then(|| vec![runtime.into()]),
        compatible_architectures: None,
        package: LayerPackage { code_sha256: "sha".into(), code_size: 3, unzipped_bytes: 5 },
        revision_id: "r1".into(),
        permissions: vec![LayerPermission {
            statement_id: "s".into(),
            principal: "*".into(),
            organization_id: None,
        }],
    }
}

fn versions_are_numbered_and_go_with_their_function(store: &dyn ControlStore) {
    let [scope, other, _] = scopes();
    let made = function(&scope, "versioned", "d");
    store.create_function(&made).expect("it works");
    store.create_function(&function(&other, "versioned", "d")).expect("it works");
    let publish = |publication: fn(VersionRecord) -> Publication| {
        let found = store.publish_version(&scope, &made.name, &mut |function, last| {
            assert_eq!(last.is_some(), function.versions.last > 0, "the last one, if there is one");
            function.versions.last += 1;
            publication(VersionRecord {
                format: FORMAT,
                incarnation: format!("v{}", function.versions.last),
                state: State::Pending,
                revision_id: "r".into(),
                last_modified: "now".into(),
                configuration: function.configuration.clone(),
            })
        });
        assert!(found.expect("it works"));
    };
    publish(|version| Publication::Publish(Box::new(version)));
    publish(|version| Publication::Publish(Box::new(version)));
    publish(|_| Publication::Leave);
    let numbers = |after, max| {
        let page = store.function_versions(&scope, &made.name, after, max).expect("it works");
        page.iter().map(|it| it.number).collect::<Vec<_>>()
    };
    assert_eq!((numbers(0, 9), numbers(0, 1), numbers(1, 9)), (vec![1, 2], vec![1], vec![2]));
    let before = store.snapshot().expect("it works");
    assert_eq!(before.versions.len(), 2);
    let activated = store.edit_version(&scope, &made.name, 1, &mut |_, version| {
        version.state = State::Active;
        Decision::Keep
    });
    assert!(activated.expect("it works"));
    let removed = store.edit_version(&scope, &made.name, 2, &mut |function, _| {
        function.versions.pending.insert(7);
        Decision::Remove
    });
    assert!(removed.expect("it works"));
    assert!(!store.edit_version(&scope, &made.name, 2, &mut |_, _| Decision::Remove).expect("it works"));
    let after = store.function(&scope, &made.name).expect("it works").expect("it is there");
    assert!(after.versions.last == 2 && after.versions.pending.contains(&7), "left is left, removed is kept");
    store.edit_function(&scope, &made.name, &mut |_| Decision::Remove).expect("it works");
    assert_eq!(store.function_version(&scope, &made.name, 1).expect("it works"), None);
    assert!(!store.publish_version(&scope, &made.name, &mut |_, _| Publication::Keep).expect("it works"));
    let events = store.changes(&before.revisions).expect("it works").expect("it reaches back");
    let told: Vec<String> = events
        .into_iter()
        .map(|change| match change.event {
            Event::Version(version) => format!("{}:{}", version.name, version.number),
            Event::Function(function) => function.name.to_string(),
            Event::FunctionRemoved(incarnation) => format!("-{incarnation}"),
            _ => String::new(),
        })
        .collect();
    let whole = format!("-{}", made.record.incarnation);
    assert_eq!(told, ["versioned:1", "versioned", "-v2", "-v1", &whole]);
    store.edit_function(&other, &made.name, &mut |_| Decision::Remove).expect("it works");
}

fn layer_numbers_are_never_given_again(store: &dyn ControlStore) {
    let [scope, other, _] = scopes();
    let name = "same".parse().expect("a name");
    let publish = |scope: &Scope| store.publish_layer_version(scope, &name, &layer("")).expect("it works");
    let packages = || store.layer_packages().expect("it works").len();
    let before = packages();
    assert_eq!((publish(&scope), publish(&scope), publish(&other)), (1, 2, 1));
    let remove = |version| store.edit_layer_version(&scope, &name, version, &mut |_| Decision::Remove);
    assert!(remove(2).expect("it works") && !remove(2).expect("it works"), "gone is gone");
    assert!(remove(1).expect("it works"));
    assert_eq!(publish(&scope), 3, "also when nothing is left");
    assert_eq!(store.layer_version(&scope, &name, 2).expect("it works"), None);
    assert_eq!(
        store.layer_version(&other, &name, 1).expect("it works"),
        Some(layer("")),
        "the other account's stays"
    );
    assert_eq!(packages(), before + 2, "those of all accounts");
    let edit = |decision| {
        let edit = &mut |record: &mut LayerVersionRecord| {
            record.permissions.clear();
            decision
        };
        assert!(store.edit_layer_version(&scope, &name, 3, edit).expect("it works"));
        store.layer_version(&scope, &name, 3).expect("it works").expect("it is there").permissions.len()
    };
    assert_eq!((edit(Decision::Leave), edit(Decision::Keep)), (1, 0));
}

fn layers_are_listed_by_what_they_are_for(store: &dyn ControlStore) {
    let scope = scopes()[2].clone();
    for (name, runtime) in
        [("b", "python3.12"), ("b", "ruby3.3"), ("a", "ruby3.3"), ("c", ""), ("b", "python3.12")]
    {
        store
            .publish_layer_version(&scope, &name.parse().expect("a name"), &layer(runtime))
            .expect("it works");
    }
    let listed = |runtime: Option<&str>, after: Option<&str>, max| -> Vec<(String, u64)> {
        let filter = LayerFilter { runtime: runtime.map(Into::into), architecture: None };
        let after = after.map(|after| after.parse().expect("a name"));
        let found = store.layers(&scope, &filter, after.as_ref(), max).expect("it works");
        found.into_iter().map(|it| (it.name.to_string(), it.version)).collect()
    };
    assert_eq!(listed(None, None, 2), [("a".to_owned(), 1), ("b".to_owned(), 3)]);
    assert_eq!(listed(None, Some("b"), 2), [("c".to_owned(), 1)]);
    assert_eq!(listed(Some("ruby3.3"), None, 9), [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    assert_eq!(listed(Some("java21"), None, 9), []);
    let versions = |runtime: Option<&str>, before, max| -> Vec<u64> {
        let filter = LayerFilter { runtime: runtime.map(Into::into), architecture: None };
        let name = "b".parse().expect("a name");
        let found = store.layer_versions(&scope, &name, &filter, before, max).expect("it works");
        found.into_iter().map(|it| it.version).collect()
    };
    assert_eq!(versions(None, None, 2), [3, 2]);
    assert_eq!(versions(None, Some(2), 2), [1]);
    assert_eq!(versions(Some("python3.12"), None, 9), [3, 1]);
    let arm = LayerFilter { runtime: None, architecture: Some("arm64".into()) };
    assert!(store.layers(&scope, &arm, None, 9).expect("it works").is_empty());
}

fn functions_are_kept_apart_by_scope(store: &dyn ControlStore) {
    for scope in &scopes() {
        let made = function(scope, "same", &scope.to_string());
        assert!(store.create_function(&made).expect("it works"), "{scope}");
        assert!(!store.create_function(&made).expect("it works"), "a name is taken once");
    }
    for scope in &scopes() {
        let found =
            store.function(scope, &"same".parse().expect("a name")).expect("it works").expect("it is there");
        assert_eq!(found, function(scope, "same", &scope.to_string()).record);
    }
    let other = scopes()[0].clone();
    assert_eq!(store.function(&other, &"missing".parse().expect("a name")).expect("it works"), None);
}

fn edits_are_kept_left_or_removed(store: &dyn ControlStore) {
    let [scope, other, _] = scopes();
    let name = "same".parse().expect("a name");
    let edit = |decision: Decision, text: &str| {
        let text = text.to_owned();
        store.edit_function(&scope, &name, &mut move |record| {
            record.configuration.description.clone_from(&text);
            decision
        })
    };
    let description = || {
        let found = store.function(&scope, &name).expect("it works");
        found.map(|record| record.configuration.description)
    };
    assert!(edit(Decision::Keep, "kept").expect("it works"));
    assert_eq!(description().as_deref(), Some("kept"));
    assert!(edit(Decision::Leave, "left").expect("it works"));
    assert_eq!(description().as_deref(), Some("kept"));
    assert!(edit(Decision::Remove, "").expect("it works"));
    assert_eq!(description(), None);
    assert!(!edit(Decision::Keep, "").expect("it works"), "nothing is left to edit");
    assert!(store.function(&other, &name).expect("it works").is_some(), "the other account's is untouched");
}

fn mappings_have_no_twins(store: &dyn ControlStore) {
    let [scope, other, _] = scopes();
    assert_eq!(store.create_mapping(&mapping(&scope, "m1", "f")).expect("it works"), None);
    assert_eq!(store.create_mapping(&mapping(&scope, "m2", "f")).expect("it works"), Some("m1".to_owned()));
    assert_eq!(store.create_mapping(&mapping(&scope, "m3", "g")).expect("it works"), None);
    assert_eq!(store.create_mapping(&mapping(&other, "m4", "f")).expect("it works"), None);
    assert!(
        store.mapping(&other, "m1").expect("it works").is_none(),
        "UUIDs of another account are not found"
    );
    let filter = MappingFilter { function_name: Some("f".into()), event_source_arn: None };
    let found = store.mappings(&scope, &filter, None, 10).expect("it works");
    assert_eq!(found, [mapping(&scope, "m1", "f")]);
    let gone = store.edit_mapping(&scope, "m1", &mut |_| Decision::Remove).expect("it works");
    assert!(gone && store.mapping(&scope, "m1").expect("it works").is_none());
    assert_eq!(
        store.create_mapping(&mapping(&scope, "m2", "f")).expect("it works"),
        None,
        "the twin may come now"
    );
}

fn lists_are_paged(store: &dyn ControlStore) {
    let scope = scopes()[0].clone();
    for name in ["c", "a", "b"] {
        assert!(store.create_function(&function(&scope, name, "")).expect("it works"));
    }
    let names = |after: Option<&str>, max| -> Vec<String> {
        let after = after.map(|after| after.parse().expect("a name"));
        let found = store.functions(&scope, after.as_ref(), max).expect("it works");
        found.into_iter().map(|function| function.name.to_string()).collect()
    };
    assert_eq!(names(None, 2), ["a", "b"]);
    assert_eq!(names(Some("b"), 2), ["c"]);
    let page = store.mappings(&scope, &MappingFilter::default(), Some("m2"), 10).expect("it works");
    assert_eq!(page.into_iter().map(|mapping| mapping.uuid).collect::<Vec<_>>(), ["m3"]);
}

fn changes_come_in_order_and_the_log_is_bounded(store: &dyn ControlStore) {
    let snapshot = store.snapshot().expect("it works");
    assert_eq!(snapshot.functions.len(), 5);
    let seen = snapshot.revisions;
    assert_eq!(store.changes(&seen).expect("it works").expect("nothing is forgotten"), []);
    let ahead: Vec<_> = seen.iter().map(|(scope, revision)| (scope.clone(), revision + 1)).collect();
    assert_eq!(store.changes(&ahead).expect("it works"), None, "seen in a future that a backup took back");
    let scope = scopes()[2].clone();
    let before = seen.iter().find(|(of, _)| *of == scope).expect("it has changes").1;
    assert!(store.create_function(&function(&scope, "late", "")).expect("it works"));
    assert!(
        store
            .edit_function(&scope, &"late".parse().expect("a name"), &mut |_| Decision::Remove)
            .expect("it works")
    );
    let changes = store.changes(&seen).expect("it works").expect("nothing is forgotten");
    let shown: Vec<_> = changes.iter().map(|change| (change.scope.clone(), change.revision)).collect();
    assert_eq!(shown, [(scope.clone(), before + 1), (scope.clone(), before + 2)]);
    assert!(
        matches!(&changes[1].event, Event::FunctionRemoved(incarnation) if incarnation.ends_with("/late"))
    );
    let all = store.changes(&[]).expect("it works").expect("nothing is forgotten");
    assert!(all.len() > changes.len(), "an unnamed scope is seen at 0");
    for round in 0..=LOG_LENGTH {
        let edit = &mut |record: &mut FunctionRecord| {
            record.revision_id = round.to_string();
            Decision::Keep
        };
        store.edit_function(&scope, &"same".parse().expect("a name"), edit).expect("it works");
    }
    assert_eq!(store.changes(&seen).expect("it works"), None, "a watcher that was away too long lists again");
}
