//! Functions from their creation to their end (facts, Lambda API §4).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::rig::{FUNCTION, Rig, conflict, function, invalid, not_found, text, with, zip};

over_each_store! {
    a_new_function_is_pending_with_every_default_and_then_active
    get_function_adds_code_and_tags
    an_update_goes_through_in_progress_and_another_one_waits
    settings_that_an_update_does_not_name_stay
    new_code_is_what_was_sent
    a_stale_revision_changes_nothing
    lists_are_paged_by_name_and_omit_states
    what_is_deleted_is_gone
    of_two_creations_one_is_too_late
}

fn sha256(bytes: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(bytes))
}

async fn a_new_function_is_pending_with_every_default_and_then_active(rig: Rig) {
    let package = zip("1");
    let pending = rig.here.create("f", json!({})).await.unwrap();
    let expected = json!({
        "FunctionName": "f",
        "FunctionArn": format!("{FUNCTION}f"),
        "Runtime": "python3.12",
        "Role": "arn:aws:iam::000000000000:role/r",
        "Handler": "index.handler",
        "CodeSize": package.len(),
        "CodeSha256": sha256(&package),
        "Description": "",
        "Timeout": 3,
        "MemorySize": 128,
        "EphemeralStorage": {"Size": 512},
        "Architectures": ["x86_64"],
        "PackageType": "Zip",
        "TracingConfig": {"Mode": "PassThrough"},
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/f"},
        "LastModified": "2023-11-14T22:13:20.000+0000",
        "Version": "$LATEST",
        "RevisionId": pending["RevisionId"],
        "State": "Pending",
        "StateReason": "The function is being created.",
        "StateReasonCode": "Creating",
    });
    assert_eq!(pending, expected);
    let active = rig.here.settled("f").await;
    assert_ne!(active["RevisionId"], pending["RevisionId"]);
    let changed = json!({
        "State": "Active", "StateReason": null, "StateReasonCode": null, "LastUpdateStatus": "Successful",
        "RevisionId": active["RevisionId"],
    });
    assert_eq!(active, with(expected, changed));
}

async fn get_function_adds_code_and_tags(rig: Rig) {
    rig.here.active("plain", json!({})).await;
    rig.here.active("tagged", json!({"Tags": {"team": "blue"}})).await;
    let plain = rig.here.get_function(json!({"FunctionName": "plain"})).await.unwrap();
    let keys: Vec<_> = plain.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["Code", "Configuration"], "neither tags nor concurrency are set");
    let hex = hex::encode(Sha256::digest(zip("1")));
    let location = format!("http://localhost:4566/_lambfold/packages/{hex}");
    assert_eq!(plain["Code"], json!({"RepositoryType": "S3", "Location": location}));
    assert_eq!(rig.control.package(&hex).await.unwrap().unwrap(), zip("1"));
    assert_eq!(rig.control.package(&hex.replace('0', "1")).await.unwrap(), None);
    let tagged = rig.here.get_function(json!({"FunctionName": "tagged"})).await.unwrap();
    assert_eq!(tagged["Tags"], json!({"team": "blue"}));
    let alone = rig.here.get_function_configuration(json!({"FunctionName": "plain"})).await.unwrap();
    assert_eq!(plain["Configuration"], alone);
}

async fn an_update_goes_through_in_progress_and_another_one_waits(mut rig: Rig) {
    let before = rig.here.active("f", json!({})).await;
    let idle = rig.restart_idle().await;
    let longer = json!({"FunctionName": "f", "Timeout": 9});
    let updating = rig.here.update_function_configuration(longer.clone()).await.unwrap();
    let expected = json!({
        "Timeout": 9,
        "LastUpdateStatus": "InProgress",
        "LastUpdateStatusReason": "The function is being created.",
        "LastUpdateStatusReasonCode": "Creating",
        "RevisionId": updating["RevisionId"],
    });
    assert_eq!(updating, with(before.clone(), expected));
    let code = json!({"FunctionName": "f", "ZipFile": STANDARD.encode(zip("2"))});
    let busy = format!(
        "The operation cannot be performed at this time. An update is in progress for resource: {FUNCTION}f"
    );
    assert_eq!(rig.here.update_function_configuration(longer.clone()).await, conflict(busy.clone()));
    assert_eq!(rig.here.update_function_code(code.clone()).await, conflict(busy));
    // A creation on its way is in the way, too.
    rig.here.create("g", json!({})).await.unwrap();
    let pending = "The operation cannot be performed at this time. The function is currently in the following state: Pending";
    for refused in [
        rig.here.update_function_configuration(with(longer.clone(), json!({"FunctionName": "g"}))).await,
        rig.here.update_function_code(with(code.clone(), json!({"FunctionName": "g"}))).await,
    ] {
        assert_eq!(refused, conflict(pending));
    }
    rig.run(idle);
    let after = rig.here.settled("f").await;
    assert_eq!((&after["Timeout"], &after["LastUpdateStatus"]), (&json!(9), &json!("Successful")));
    let revisions = [&before, &updating, &after].map(|it| text(&it["RevisionId"]));
    assert!(revisions[0] != revisions[1] && revisions[1] != revisions[2]);
    // An update that changes nothing is one as well.
    let same = rig.here.update_function_configuration(longer).await.unwrap();
    assert_eq!(same["LastUpdateStatus"], "InProgress");
}

async fn settings_that_an_update_does_not_name_stay(rig: Rig) {
    let settings = json!({
        "Description": "d", "Timeout": 5, "MemorySize": 256, "EphemeralStorage": {"Size": 1024},
        "Environment": {"Variables": {"KEY": "v"}},
        "LoggingConfig": {"LogFormat": "JSON", "SystemLogLevel": "WARN", "LogGroup": "g"},
    });
    let before = rig.here.active("f", settings).await;
    assert_eq!(before["Environment"], json!({"Variables": {"KEY": "v"}}));
    let logging = json!({"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "WARN", "LogGroup": "g"});
    assert_eq!(before["LoggingConfig"], logging, "the level that is not given is the default");
    let update = async |settings: Value| {
        rig.clock.advance(std::time::Duration::from_millis(1500));
        let input = with(json!({"FunctionName": "f"}), settings);
        rig.here.update_function_configuration(input).await.unwrap();
        rig.here.settled("f").await
    };
    let after = update(json!({"Handler": "a.b"})).await;
    let changed = json!({
        "Handler": "a.b",
        "LastModified": "2023-11-14T22:13:21.500+0000",
        "RevisionId": after["RevisionId"],
    });
    assert_eq!(after, with(before, changed));
    let after = update(json!({"Environment": {}, "LoggingConfig": {"LogFormat": "Text"}})).await;
    assert_eq!(after["Environment"], json!({"Variables": {}}));
    assert_eq!(after["LoggingConfig"], json!({"LogFormat": "Text", "LogGroup": "g"}));
}

async fn new_code_is_what_was_sent(rig: Rig) {
    let before = rig.here.active("f", json!({"Timeout": 7})).await;
    let package = zip("a longer source");
    let input = json!({"FunctionName": "f", "ZipFile": STANDARD.encode(&package)});
    let would_be = rig.here.update_function_code(with(input.clone(), json!({"DryRun": true}))).await.unwrap();
    let code = json!({"CodeSha256": sha256(&package), "CodeSize": package.len()});
    assert_eq!(would_be, with(before.clone(), code.clone()));
    let hex = hex::encode(Sha256::digest(&package));
    assert_eq!(rig.control.package(&hex).await.unwrap(), None, "a dry run stores nothing");
    assert_eq!(rig.here.settled("f").await, before, "and changes nothing");
    rig.here.update_function_code(input).await.unwrap();
    let after = rig.here.settled("f").await;
    assert_eq!(after, with(with(before, code), json!({"RevisionId": after["RevisionId"]})));
    assert_eq!(rig.control.package(&hex).await.unwrap().unwrap(), package);
}

async fn a_stale_revision_changes_nothing(rig: Rig) {
    let before = rig.here.active("f", json!({})).await;
    let configuration = json!({"FunctionName": "f", "Timeout": 9});
    let code = json!({"FunctionName": "f", "ZipFile": STANDARD.encode(zip("2"))});
    let stale = json!({"RevisionId": "00000000-0000-0000-0000-000000000000"});
    for refused in [
        rig.here.update_function_configuration(with(configuration.clone(), stale.clone())).await,
        rig.here.update_function_code(with(code.clone(), stale.clone())).await,
        rig.here.update_function_code(with(with(code, stale), json!({"DryRun": true}))).await,
    ] {
        let (code, status, message) = refused.unwrap_err();
        assert_eq!((code.as_str(), status), ("PreconditionFailedException", 412));
        assert_eq!(
            message,
            "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to \
             retrieve the latest Revision Id"
        );
    }
    assert_eq!(rig.here.settled("f").await, before);
    let fresh = json!({"RevisionId": before["RevisionId"]});
    rig.here.update_function_configuration(with(configuration.clone(), fresh.clone())).await.unwrap();
    rig.here.settled("f").await;
    let (code, ..) = rig.here.update_function_configuration(with(configuration, fresh)).await.unwrap_err();
    assert_eq!(code, "PreconditionFailedException", "a revision is good for one update");
}

async fn lists_are_paged_by_name_and_omit_states(rig: Rig) {
    assert_eq!(rig.here.list_functions(json!({})).await, Ok(json!({"Functions": []})));
    for n in (0..51).rev() {
        rig.here.create(&format!("f{n:02}"), json!({})).await.unwrap();
    }
    let names = |page: &Value| -> Vec<String> {
        page["Functions"].as_array().unwrap().iter().map(|item| text(&item["FunctionName"])).collect()
    };
    // However many are asked for, an effective page has 50 at most.
    let first = rig.here.list_functions(json!({"MaxItems": 10_000})).await.unwrap();
    assert_eq!(names(&first), (0..50).map(|n| format!("f{n:02}")).collect::<Vec<_>>());
    let last = rig.here.list_functions(json!({"Marker": first["NextMarker"]})).await.unwrap();
    assert_eq!((names(&last), last.get("NextMarker")), (vec!["f50".to_owned()], None));
    let mut found = Vec::new();
    let mut marker = Value::Null;
    for _ in 0..17 {
        let page =
            rig.here.list_functions(with(json!({"MaxItems": 3}), json!({"Marker": marker}))).await.unwrap();
        assert_eq!(names(&page).len(), 3);
        found.extend(names(&page));
        marker = page.get("NextMarker").cloned().unwrap_or_default();
    }
    assert_eq!((found.len(), marker), (51, Value::Null), "a full last page has no marker");
    let whole = rig.here.settled("f00").await;
    let omitted = json!({"State": null, "LastUpdateStatus": null});
    let all = rig.here.list_functions(json!({"FunctionVersion": "ALL", "MaxItems": 1})).await.unwrap();
    let qualified = json!({"FunctionArn": format!("{FUNCTION}f00:$LATEST")});
    assert_eq!(all["Functions"], json!([with(with(whole, omitted), qualified)]));
    assert_eq!(rig.here.list_functions(json!({"Marker": "?"})).await, invalid("The Marker is malformed."));
}

async fn what_is_deleted_is_gone(rig: Rig) {
    rig.here.active("f", json!({"Tags": {"team": "blue"}})).await;
    let whole = json!({"FunctionName": "f"});
    let latest = rig.here.delete_function(json!({"FunctionName": "f", "Qualifier": "$LATEST"})).await;
    assert_eq!(latest, invalid("$LATEST version cannot be deleted without deleting the function."));
    let version = rig.here.delete_function(json!({"FunctionName": "f", "Qualifier": "7"})).await;
    assert_eq!(version, Ok(json!({"StatusCode": 204})), "a version that is not there");
    assert!(rig.here.get_function(whole.clone()).await.is_ok());
    assert_eq!(rig.here.delete_function(whole.clone()).await, Ok(json!({"StatusCode": 204})));
    let gone = not_found(format!("Function not found: {FUNCTION}f"));
    let code = json!({"FunctionName": "f", "ZipFile": STANDARD.encode(zip("2"))});
    for refused in [
        rig.here.get_function(whole.clone()).await,
        rig.here.get_function_configuration(whole.clone()).await,
        rig.here.update_function_configuration(whole.clone()).await,
        rig.here.update_function_code(code).await,
        rig.here.delete_function(whole.clone()).await,
        rig.here.delete_function(json!({"FunctionName": "f", "Qualifier": "7"})).await,
        rig.here.list_tags(json!({"Resource": format!("{FUNCTION}f")})).await,
    ] {
        assert_eq!(refused, gone);
    }
    rig.here.active("f", json!({})).await;
    let tags = rig.here.list_tags(json!({"Resource": format!("{FUNCTION}f")})).await;
    assert_eq!(tags, Ok(json!({"Tags": {}})), "nothing is left of the first life");
}

async fn of_two_creations_one_is_too_late(rig: Rig) {
    let exists = conflict("Function already exist: f");
    let (first, second) = tokio::join!(
        rig.here.create("f", json!({"Description": "first"})),
        rig.here.create("f", json!({"Description": "second"})),
    );
    let (made, refused) = if first.is_ok() { (first, second) } else { (second, first) };
    assert_eq!(refused, exists);
    assert_eq!(rig.here.settled("f").await["Description"], made.unwrap()["Description"]);
    assert_eq!(rig.here.create_function(function("f", json!({}))).await, exists);
}
