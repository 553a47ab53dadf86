//! The watch of the data plane: everything there is, then every change, in order.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambfold_api::control::watch_event::Event;
use lambfold_api::control::{
    Control, EventSourceMapping, FunctionSettings, FunctionVersion, Mark, ScopeRevision, WatchRequest,
};
use lambfold_control::store::LOG_LENGTH;
use serde_json::json;

use crate::rig::{FUNCTION, Rig, Store, Watch, shown, text, zip};

over_each_store! {
    first_all_there_is_then_every_change_in_order
    while_an_update_is_on_its_way_the_version_before_is_told
    a_deletion_is_answered_when_the_data_plane_has_it
    an_update_is_done_when_the_data_plane_has_it
    a_watcher_that_comes_back_hears_what_it_missed
    every_scope_is_told_with_its_own_revisions
    a_watch_ends_with_the_service
}

async fn function(watch: &mut Watch) -> FunctionVersion {
    let event = watch.next().await.unwrap();
    let what = shown(&event);
    let Some(Event::Function(told)) = event.event else { panic!("{what} is no function") };
    told
}

async fn first_all_there_is_then_every_change_in_order(rig: Rig) {
    let mut watch = rig.watch(None).await;
    assert_eq!(watch.until("synced").await, ["synced"], "nothing is there");
    let settings = json!({
        "Timeout": 5, "Environment": {"Variables": {"KEY": "v"}}, "LoggingConfig": {"LogFormat": "JSON"},
        "EphemeralStorage": {"Size": 600},
    });
    let active = rig.here.active("f", settings).await;
    let queue = rig.here.queue("jobs").await;
    let mapping = json!({
        "EventSourceArn": queue, "FunctionName": "f:$LATEST", "BatchSize": 11, "MaximumBatchingWindowInSeconds": 2,
        "ScalingConfig": {"MaximumConcurrency": 3}, "FunctionResponseTypes": ["ReportBatchItemFailures"],
    });
    let uuid = text(&rig.here.create_event_source_mapping(mapping).await.unwrap()["UUID"]);
    let all = rig.watch(None).await.until("synced").await;
    assert_eq!(all, ["f Active", "mapping 1 Enabled", "3 synced", "synced"]);
    rig.reached(&uuid, 1, "Enabled").await;
    rig.here.delete_event_source_mapping(json!({"UUID": uuid})).await.unwrap();
    rig.reached(&uuid, 2, "Deleted").await;
    rig.here.delete_function(json!({"FunctionName": "f"})).await.unwrap();
    let events = watch.until("7 function removed").await;
    assert_eq!(
        events,
        [
            "1 f Pending",
            "2 f Active",
            "3 mapping 1 Enabled",
            "4 mapping 1 Enabled",
            "5 mapping 2 Deleted",
            "6 mapping removed",
            "7 function removed",
        ]
    );
    // A second look finds nothing but where it stands.
    assert_eq!(rig.watch(None).await.until("synced").await, ["7 synced", "synced"]);
    // What was told, in full: from the log, as it was then.
    let mut watch = rig.watch(Some(1)).await;
    let told = function(&mut watch).await;
    let expected = FunctionVersion {
        account: "000000000000".into(),
        region: "us-east-1".into(),
        function_name: "f".into(),
        version: "$LATEST".into(),
        incarnation: told.incarnation.clone(),
        configuration_id: told.configuration_id.clone(),
        state: "Active".into(),
        runtime: "python3.12".into(),
        handler: "index.handler".into(),
        code_sha256: text(&active["CodeSha256"]),
        environment: [("KEY".to_owned(), "v".to_owned())].into(),
        timeout_seconds: 5,
        memory_size_mb: 128,
        ephemeral_storage_mb: 600,
        log_format: "JSON".into(),
        application_log_level: "INFO".into(),
        system_log_level: "INFO".into(),
        log_group: "/aws/lambda/f".into(),
        architecture: "x86_64".into(),
        role: "arn:aws:iam::000000000000:role/r".into(),
        tracing_mode: "PassThrough".into(),
        settings: Some(FunctionSettings::default()),
        ..FunctionVersion::default()
    };
    assert_eq!(told, expected);
    assert!(!told.incarnation.is_empty() && !told.configuration_id.is_empty());
    let Some(Event::EventSourceMapping(told)) = watch.next().await.unwrap().event else {
        panic!("no mapping")
    };
    let expected = EventSourceMapping {
        account: "000000000000".into(),
        region: "us-east-1".into(),
        uuid,
        generation: 1,
        event_source_arn: queue,
        function_name: "f".into(),
        qualifier: "$LATEST".into(),
        desired_state: "Enabled".into(),
        batch_size: 11,
        maximum_batching_window_seconds: 2,
        maximum_concurrency: 3,
        report_batch_item_failures: true,
        filter_patterns: vec![],
    };
    assert_eq!(told, expected);
    // Another life of the name is another incarnation.
    watch.until("7 function removed").await;
    rig.here.create("f", json!({})).await.unwrap();
    watch.until("synced").await;
    assert_ne!(function(&mut watch).await.incarnation, function_of(&rig, 1).await.incarnation);
}

/// The first event behind a revision.
async fn function_of(rig: &Rig, revision: u64) -> FunctionVersion {
    function(&mut rig.watch(Some(revision)).await).await
}

async fn while_an_update_is_on_its_way_the_version_before_is_told(mut rig: Rig) {
    rig.here.active("f", json!({})).await;
    let idle = rig.restart_idle().await;
    let mut watch = rig.watch(None).await;
    let before = function(&mut watch).await;
    watch.until("synced").await;
    let code = json!({"FunctionName": "f", "ZipFile": STANDARD.encode(zip("2"))});
    let updating = rig.here.update_function_code(code).await.unwrap();
    assert_eq!(function(&mut watch).await, before);
    rig.run(idle);
    let after = function(&mut watch).await;
    assert_eq!(after.code_sha256, text(&updating["CodeSha256"]));
    assert_ne!(after.configuration_id, before.configuration_id);
    assert_eq!((after.incarnation, after.state.as_str()), (before.incarnation, "Active"));
    // Tags are nothing that environments are made of.
    let tags = json!({"Resource": format!("{FUNCTION}f"), "Tags": {"k": "v"}});
    rig.here.tag_resource(tags).await.unwrap();
    assert_eq!(function(&mut watch).await.configuration_id, after.configuration_id);
}

/// A watch that acknowledges.
async fn audience(rig: &Rig) -> Watch {
    let request = WatchRequest { functions: true, acknowledges: true, ..WatchRequest::default() };
    Watch(rig.control.watch(&rig.here.ctx, request).await.unwrap())
}

/// The mark behind the first event that is `wanted`, which may be that mark.
async fn mark_after(watch: &mut Watch, wanted: &dyn Fn(&Event) -> bool) -> Mark {
    let mut found = false;
    loop {
        let event = watch.next().await.unwrap().event.unwrap();
        found |= wanted(&event);
        match event {
            Event::Mark(mark) if found => return mark,
            _ => {}
        }
    }
}

/// Acknowledges `mark` and all that come: a change may be told before it is counted, and then be told of by two marks.
async fn acknowledge_all(rig: &Rig, watch: &mut Watch, mut mark: Mark) {
    loop {
        rig.control.acknowledge_mark(&rig.here.ctx, mark).await.unwrap();
        mark = mark_after(watch, &|_| true).await;
    }
}

async fn a_deletion_is_answered_when_the_data_plane_has_it(rig: Rig) {
    rig.here.active("f", json!({})).await;
    rig.here.publish_version(json!({"FunctionName": "f"})).await.unwrap();
    rig.here.settled("f:1").await;
    let mut watch = audience(&rig).await;
    mark_after(&mut watch, &|event| matches!(event, Event::Synced(_))).await;
    let acknowledged = std::cell::Cell::new(0);
    for (number, qualifier) in [Some("1"), None].into_iter().enumerate() {
        let delete = async {
            let input = json!({"FunctionName": "f", "Qualifier": qualifier});
            rig.here.delete_function(input).await.unwrap();
            assert_eq!(acknowledged.get(), number + 1);
        };
        let acknowledge = async {
            let mark = mark_after(&mut watch, &|event| matches!(event, Event::FunctionRemoved(_))).await;
            for _ in 0..2_000 {
                tokio::task::yield_now().await;
            }
            acknowledged.set(number + 1);
            acknowledge_all(&rig, &mut watch, mark).await;
        };
        tokio::select! {
            () = delete => {}
            () = acknowledge => {}
        }
    }
}

async fn an_update_is_done_when_the_data_plane_has_it(rig: Rig) {
    rig.here.active("f", json!({})).await;
    let mut watch = audience(&rig).await;
    let runs = |timeout| move |event: &Event| matches!(event, Event::Function(told) if told.timeout_seconds == timeout);
    let first = mark_after(&mut watch, &|event| matches!(event, Event::Synced(_))).await;
    let update = async |timeout: u32| {
        let input = json!({"FunctionName": "f", "Timeout": timeout});
        rig.here.update_function_configuration(input).await.unwrap();
    };
    let status = async || {
        for _ in 0..2_000 {
            tokio::task::yield_now().await;
        }
        let shown = rig.here.get_function_configuration(json!({"FunctionName": "f"})).await.unwrap();
        text(&shown["LastUpdateStatus"])
    };
    update(7).await;
    let mark = mark_after(&mut watch, &runs(7)).await;
    rig.control.acknowledge_mark(&rig.here.ctx, first).await.unwrap();
    assert_eq!(status().await, "InProgress", "what came before is acknowledged, not the update");
    tokio::select! {
        settled = rig.here.settled("f") => assert_eq!(settled["LastUpdateStatus"], "Successful"),
        () = acknowledge_all(&rig, &mut watch, mark) => {}
    }
    // One that does not answer holds nothing up for long.
    update(8).await;
    mark_after(&mut watch, &runs(8)).await;
    assert_eq!(status().await, "InProgress");
    let settled = rig.here.settled("f");
    let time_passes = async {
        loop {
            rig.clock.advance(std::time::Duration::from_millis(100));
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        settled = settled => assert_eq!(settled["LastUpdateStatus"], "Successful"),
        () = time_passes => {}
    }
    drop(watch);
}

async fn a_watcher_that_comes_back_hears_what_it_missed(mut rig: Rig) {
    rig.here.active("f", json!({})).await;
    rig.here.active("g", json!({})).await;
    drop(rig.restart_idle().await);
    assert_eq!(rig.watch(Some(4)).await.until("synced").await, ["synced"]);
    assert_eq!(rig.watch(Some(2)).await.until("synced").await, ["3 g Pending", "4 g Active", "synced"]);
    rig.here.delete_function(json!({"FunctionName": "f"})).await.unwrap();
    let mut watch = rig.watch(Some(3)).await;
    assert_eq!(watch.until("synced").await, ["4 g Active", "5 function removed", "synced"]);
    rig.here.delete_function(json!({"FunctionName": "g"})).await.unwrap();
    assert_eq!(shown(&watch.next().await.unwrap()), "6 function removed");
    // Only of the kind that is asked for.
    let all = vec![ScopeRevision { account: "000000000000".into(), region: "us-east-1".into(), revision: 0 }];
    let request = WatchRequest { seen: all.clone(), event_source_mappings: true, ..WatchRequest::default() };
    let mut mappings = Watch(rig.control.watch(&rig.here.ctx, request).await.unwrap());
    assert_eq!(mappings.until("synced").await, ["synced"]);
    let nobody = ScopeRevision { account: "nobody".into(), ..all[0].clone() };
    let request = WatchRequest {
        seen: vec![nobody],
        functions: true,
        event_source_mappings: true,
        ..WatchRequest::default()
    };
    let refused = rig.control.watch(&rig.here.ctx, request).await.err().unwrap();
    assert_eq!((refused.code(), refused.http_status()), ("SerializationException", 400));
}

#[tokio::test]
async fn a_watcher_that_was_away_too_long_lists_anew() {
    let rig = Rig::start(Store::Memory);
    rig.here.active("f", json!({})).await;
    rig.here.active("g", json!({})).await;
    let arn = format!("{FUNCTION}f");
    for n in 0..LOG_LENGTH {
        let tags = json!({"Resource": arn, "Tags": {"n": n.to_string()}});
        rig.here.tag_resource(tags).await.unwrap();
    }
    let last = 4 + LOG_LENGTH;
    let mut watch = rig.watch(Some(4)).await;
    let missed = watch.until("synced").await;
    assert_eq!(missed.len() as u64, LOG_LENGTH + 1, "the log reaches back so far");
    assert_eq!(missed[missed.len() - 2], format!("{last} f Active"));
    let mut watch = rig.watch(Some(3)).await;
    let synced = format!("{last} synced");
    assert_eq!(watch.until(&synced).await, ["reset", "f Active", "g Active", &synced]);
    rig.here.delete_function(json!({"FunctionName": "g"})).await.unwrap();
    let removed = format!("{} function removed", last + 1);
    let then = watch.until(&removed).await;
    assert!(then[..then.len() - 1].iter().all(|event| event == "synced"), "{then:?}");
}

async fn every_scope_is_told_with_its_own_revisions(rig: Rig) {
    let others = [rig.caller("123456789012", "us-east-1"), rig.caller("000000000000", "eu-west-1")];
    rig.here.active("f", json!({})).await;
    for other in &others {
        other.active("f", json!({})).await;
    }
    let at = |account: &str, region: &str, revision| ScopeRevision {
        account: account.into(),
        region: region.into(),
        revision,
    };
    let seen = vec![at("000000000000", "us-east-1", 2), at("123456789012", "us-east-1", 1)];
    let request =
        WatchRequest { seen, functions: true, event_source_mappings: true, ..WatchRequest::default() };
    let mut watch = Watch(rig.control.watch(&rig.here.ctx, request).await.unwrap());
    let mut told = Vec::new();
    loop {
        let event = watch.next().await.unwrap();
        let Some(Event::Function(function)) = event.event else { break };
        let at = event.at.unwrap();
        assert_eq!((&at.account, &at.region), (&function.account, &function.region));
        told.push((function.account, function.region, at.revision, function.state));
    }
    told.sort();
    let expected = [
        ("000000000000", "eu-west-1", 1, "Pending"),
        ("000000000000", "eu-west-1", 2, "Active"),
        ("123456789012", "us-east-1", 2, "Active"),
    ];
    assert_eq!(
        told,
        expected.map(|(account, region, at, state)| (account.into(), region.into(), at, state.into()))
    );
}

async fn a_watch_ends_with_the_service(mut rig: Rig) {
    rig.here.active("f", json!({})).await;
    let mut watch = rig.watch(None).await;
    assert_eq!(watch.until("synced").await, ["f Active", "2 synced", "synced"]);
    rig.stop().await;
    assert!(watch.next().await.is_none());
}
