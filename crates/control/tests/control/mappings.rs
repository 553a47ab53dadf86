//! Event source mappings from their creation to their end (facts, Lambda API §9).

use serde_json::{Value, json};

use crate::rig::{Answer, FUNCTION, QUEUE, Rig, conflict, not_found, text, with};

over_each_store! {
    a_mapping_is_shown_as_it_was_made
    states_follow_what_the_poller_reports
    nothing_is_changed_while_another_change_is_on_its_way
    a_source_and_a_function_are_mapped_once
    lists_are_filtered_and_paged
    mappings_outlive_their_function
}

const NONE: &str = "The resource you requested does not exist.";

fn in_use(what: &str) -> Answer {
    let message = format!("Cannot {what} the event source mapping because it is in use.");
    Err(("ResourceInUseException".into(), 400, message))
}

async fn a_mapping_is_shown_as_it_was_made(rig: Rig) {
    rig.here.active("f", json!({})).await;
    let queue = rig.here.queue("jobs").await;
    let made =
        rig.here.create_event_source_mapping(json!({"EventSourceArn": queue, "FunctionName": "f"})).await;
    let made = made.unwrap();
    let uuid = text(&made["UUID"]);
    assert_eq!(uuid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    let expected = json!({
        "UUID": uuid,
        "EventSourceMappingArn": format!("arn:aws:lambda:us-east-1:000000000000:event-source-mapping:{uuid}"),
        "EventSourceArn": format!("{QUEUE}jobs"),
        "FunctionArn": format!("{FUNCTION}f"),
        "BatchSize": 10,
        "MaximumBatchingWindowInSeconds": 0,
        "FunctionResponseTypes": [],
        "LastModified": 1_700_000_000.0,
        "State": "Creating",
        "StateTransitionReason": "USER_INITIATED",
    });
    assert_eq!(made, expected);
    assert_eq!(rig.here.get_event_source_mapping(json!({"UUID": uuid})).await, Ok(expected.clone()));
    rig.clock.advance(std::time::Duration::from_millis(1250));
    rig.report(&uuid, 1, "Enabled", "No records processed").await;
    let enabled = json!({"State": "Enabled", "LastProcessingResult": "No records processed"});
    let shown = rig.here.get_event_source_mapping(json!({"UUID": uuid})).await.unwrap();
    assert_eq!(shown, with(expected, enabled));
    let updated = rig.here.update_event_source_mapping(json!({"UUID": uuid, "BatchSize": 5})).await.unwrap();
    let changed = json!({"BatchSize": 5, "State": "Updating", "LastModified": 1_700_000_001.25});
    assert_eq!(updated, with(shown, changed));
}

async fn states_follow_what_the_poller_reports(rig: Rig) {
    rig.here.active("f", json!({})).await;
    let queue = rig.here.queue("jobs").await;
    let off = json!({"EventSourceArn": queue, "FunctionName": "f", "Enabled": false});
    let made = rig.here.create_event_source_mapping(off).await.unwrap();
    assert_eq!(made["State"], "Disabled", "at once: there is nothing to wait for");
    let uuid = text(&made["UUID"]);
    let update = async |settings: Value| {
        let input = with(json!({"UUID": uuid}), settings);
        text(&rig.here.update_event_source_mapping(input).await.unwrap()["State"])
    };
    assert_eq!(update(json!({"Enabled": true})).await, "Enabling");
    // Neither what was wished before nor another state is the one that is waited for.
    rig.reached(&uuid, 1, "Enabled").await;
    rig.reached(&uuid, 2, "Disabled").await;
    assert_eq!(rig.here.state(&uuid).await, "Enabling");
    rig.reached(&uuid, 2, "Enabled").await;
    assert_eq!(rig.here.state(&uuid).await, "Enabled");
    assert_eq!(update(json!({"BatchSize": 1})).await, "Updating");
    rig.reached(&uuid, 3, "Enabled").await;
    assert_eq!(update(json!({"Enabled": false})).await, "Disabling");
    assert_eq!(update(json!({"Enabled": true})).await, "Enabling", "a wish may be taken back");
    assert_eq!(update(json!({"Enabled": false})).await, "Disabling");
    rig.reached(&uuid, 6, "Disabled").await;
    assert_eq!(rig.here.state(&uuid).await, "Disabled");
    assert_eq!(update(json!({"BatchSize": 2})).await, "Updating");
    rig.reached(&uuid, 7, "Disabled").await;
    let deleted = rig.here.delete_event_source_mapping(json!({"UUID": uuid})).await.unwrap();
    assert_eq!((&deleted["State"], &deleted["BatchSize"]), (&json!("Deleting"), &json!(2)));
    rig.reached(&uuid, 7, "Deleted").await;
    assert_eq!(rig.here.state(&uuid).await, "Deleting");
    rig.reached(&uuid, 8, "Deleted").await;
    for gone in [
        rig.here.get_event_source_mapping(json!({"UUID": uuid})).await,
        rig.here.update_event_source_mapping(json!({"UUID": uuid})).await,
        rig.here.delete_event_source_mapping(json!({"UUID": uuid})).await,
    ] {
        assert_eq!(gone, not_found(NONE));
    }
    // The last words of a batch that ran on find nobody, which is no fault of the poller's.
    rig.report(&uuid, 8, "", "OK").await;
}

async fn nothing_is_changed_while_another_change_is_on_its_way(rig: Rig) {
    rig.here.active("f", json!({})).await;
    let queue = rig.here.queue("jobs").await;
    let uuid = rig.here.map(&queue, "f").await;
    let update = async || rig.here.update_event_source_mapping(json!({"UUID": uuid, "BatchSize": 3})).await;
    let delete = async || rig.here.delete_event_source_mapping(json!({"UUID": uuid})).await;
    for (generation, state) in [(1, "Creating"), (2, "Updating")] {
        assert_eq!(rig.here.state(&uuid).await, state);
        assert_eq!((update().await, delete().await), (in_use("update"), in_use("delete")), "{state}");
        rig.reached(&uuid, generation, "Enabled").await;
        if generation == 1 {
            update().await.unwrap();
        }
    }
    delete().await.unwrap();
    assert_eq!((update().await, delete().await), (in_use("update"), in_use("delete")));
}

async fn a_source_and_a_function_are_mapped_once(rig: Rig) {
    for name in ["f", "g"] {
        rig.here.active(name, json!({})).await;
    }
    let [jobs, others] = [rig.here.queue("jobs").await, rig.here.queue("others").await];
    let first = rig.here.map(&jobs, "f").await;
    let exists = |queue: &str, function: &str, uuid: &str| {
        conflict(format!(
            "An event source mapping with SQS arn (\" {queue} \") and function (\" {function} \") already exists. \
             Please update or delete the existing mapping with UUID {uuid}"
        ))
    };
    for form in ["f", "000000000000:f", &format!("{FUNCTION}f")] {
        let again = json!({"EventSourceArn": jobs, "FunctionName": form, "Enabled": false});
        assert_eq!(rig.here.create_event_source_mapping(again).await, exists(&jobs, "f", &first));
    }
    let second = rig.here.map(&jobs, "g").await;
    let third = rig.here.map(&others, "g").await;
    for uuid in [&second, &third] {
        rig.reached(uuid, 1, "Enabled").await;
    }
    // An update cannot make a twin either; it can give the mapping another function, or its own.
    let to_f = |uuid: &str| json!({"UUID": uuid, "FunctionName": "f"});
    assert_eq!(rig.here.update_event_source_mapping(to_f(&second)).await, exists(&jobs, "f", &first));
    assert_eq!(rig.here.state(&second).await, "Enabled");
    let moved = rig.here.update_event_source_mapping(to_f(&third)).await.unwrap();
    assert_eq!(moved["FunctionArn"], format!("{FUNCTION}f"));
    rig.reached(&third, 2, "Enabled").await;
    assert!(rig.here.update_event_source_mapping(to_f(&third)).await.is_ok());
    // Until a mapping is gone, it is there.
    rig.reached(&first, 1, "Enabled").await;
    rig.here.delete_event_source_mapping(json!({"UUID": first})).await.unwrap();
    let again = json!({"EventSourceArn": jobs, "FunctionName": "f"});
    assert_eq!(rig.here.create_event_source_mapping(again).await, exists(&jobs, "f", &first));
    rig.reached(&first, 2, "Deleted").await;
    assert_ne!(rig.here.map(&jobs, "f").await, first);
}

async fn lists_are_filtered_and_paged(rig: Rig) {
    for name in ["f", "g"] {
        rig.here.active(name, json!({})).await;
    }
    let mut of_f = Vec::new();
    for n in 0..101 {
        let queue = rig.here.queue(&format!("jobs{n:03}")).await;
        of_f.push(rig.here.map(&queue, "f").await);
    }
    let of_g = rig.here.map(&format!("{QUEUE}jobs000"), "g").await;
    let list = async |filter: Value| {
        let page = rig.here.list_event_source_mappings(filter).await.unwrap();
        let uuids = page["EventSourceMappings"].as_array().unwrap().iter().map(|it| text(&it["UUID"]));
        (uuids.collect::<Vec<_>>(), page.get("NextMarker").cloned())
    };
    // However many are asked for, an effective page has 100 at most.
    let (mut found, marker) = list(json!({"FunctionName": "f", "MaxItems": 10_000})).await;
    assert_eq!(found.len(), 100);
    let (rest, end) = list(json!({"FunctionName": "f", "Marker": marker.unwrap()})).await;
    assert_eq!((rest.len(), end), (1, None));
    found.extend(rest);
    found.sort();
    of_f.sort();
    assert_eq!(found, of_f);
    for form in ["g", "000000000000:function:g", &format!("{FUNCTION}g")] {
        assert_eq!(list(json!({"FunctionName": form})).await, (vec![of_g.clone()], None));
    }
    let source = format!("{QUEUE}jobs000");
    let (first, marker) = list(json!({"EventSourceArn": source, "MaxItems": 1})).await;
    let (second, end) =
        list(json!({"EventSourceArn": source, "MaxItems": 1, "Marker": marker.unwrap()})).await;
    assert_eq!((first.len(), second.len(), end), (1, 1, None));
    assert!(first != second && (first[0] == of_g || second[0] == of_g));
    assert_eq!(list(json!({"EventSourceArn": source, "FunctionName": "g"})).await, (vec![of_g], None));
    for nowhere in [json!({"FunctionName": "missing"}), json!({"EventSourceArn": format!("{QUEUE}missing")})]
    {
        assert_eq!(
            rig.here.list_event_source_mappings(nowhere).await,
            Ok(json!({"EventSourceMappings": []}))
        );
    }
}

async fn mappings_outlive_their_function(rig: Rig) {
    rig.here.active("f", json!({})).await;
    let queue = rig.here.queue("jobs").await;
    let uuid = rig.here.map(&queue, "f").await;
    rig.reached(&uuid, 1, "Enabled").await;
    rig.here.delete_function(json!({"FunctionName": "f"})).await.unwrap();
    assert_eq!(rig.here.state(&uuid).await, "Enabled");
    let found = rig.here.list_event_source_mappings(json!({"FunctionName": "f"})).await.unwrap();
    assert_eq!(found["EventSourceMappings"][0]["UUID"], uuid);
    let deleted = rig.here.delete_event_source_mapping(json!({"UUID": uuid})).await.unwrap();
    assert_eq!(deleted["State"], "Deleting");
}
