//! Layers and functions that have them (facts, Lambda API §6 and §16).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambfold_api::control::watch_event::Event;
use serde_json::{Value, json};

use crate::rig::{Answer, Caller, Rig, conflict, invalid, not_found, with, zip_of};

over_each_store! {
    versions_are_published_shown_listed_and_deleted
    functions_have_layers_in_order_and_keep_deleted_ones
    layers_that_do_not_fit_are_refused
    other_accounts_need_a_permission
}

const LAYER: &str = "arn:aws:lambda:us-east-1:000000000000:layer:";

async fn publish(caller: &Caller, name: &str, content: &str, settings: Value) -> Value {
    let zip = STANDARD.encode(zip_of(&[("python/shared.py", content.as_bytes())]));
    let request = json!({"LayerName": name, "Content": {"ZipFile": zip}});
    caller.publish_layer_version(with(request, settings)).await.unwrap()
}

async fn versions_are_published_shown_listed_and_deleted(rig: Rig) {
    let here = &rig.here;
    let first = publish(here, "l", "1", json!({})).await;
    assert_eq!(
        (first["LayerArn"].clone(), first["LayerVersionArn"].clone(), first["Version"].clone()),
        (json!(format!("{LAYER}l")), json!(format!("{LAYER}l:1")), json!(1))
    );
    assert_eq!(first["Description"], "");
    for absent in ["CompatibleRuntimes", "CompatibleArchitectures", "LicenseInfo"] {
        assert_eq!(first.get(absent), None);
    }
    let settings = json!({"Description": "d", "LicenseInfo": "MIT", "CompatibleRuntimes": ["python3.12"],
        "CompatibleArchitectures": []});
    let second = publish(here, "l", "2", settings).await;
    assert_eq!((&second["Version"], &second["LicenseInfo"]), (&json!(2), &json!("MIT")));
    assert_eq!(second["CompatibleArchitectures"], json!([]), "given empty is not the same as not given");
    let get = json!({"LayerName": "l", "VersionNumber": 2});
    assert_eq!(here.get_layer_version(get.clone()).await.unwrap(), second);
    let by_arn = json!({"Arn": format!("{LAYER}l:2")});
    assert_eq!(here.get_layer_version_by_arn(by_arn).await.unwrap(), second);
    let by_layer_arn = json!({"LayerName": format!("{LAYER}l"), "VersionNumber": 2});
    assert_eq!(here.get_layer_version(by_layer_arn).await.unwrap(), second);
    // The link has the archive.
    let location = second["Content"]["Location"].as_str().unwrap();
    let archive = rig.control.package(location.rsplit('/').next().unwrap()).await.unwrap().unwrap();
    assert_eq!(second["Content"]["CodeSize"], archive.len());

    publish(here, "k", "1", json!({"CompatibleArchitectures": ["arm64"]})).await;
    let names = |answer: Answer| -> Vec<(String, u64)> {
        let layers = answer.unwrap()["Layers"].as_array().unwrap().clone();
        let one = |it: &Value| {
            (
                it["LayerName"].as_str().unwrap().to_owned(),
                it["LatestMatchingVersion"]["Version"].as_u64().unwrap(),
            )
        };
        layers.iter().map(one).collect()
    };
    assert_eq!(names(here.list_layers(json!({})).await), [("k".into(), 1), ("l".into(), 2)]);
    assert_eq!(names(here.list_layers(json!({"CompatibleArchitecture": "arm64"})).await), [("k".into(), 1)]);
    assert_eq!(names(here.list_layers(json!({"CompatibleRuntime": "python3.12"})).await), [("l".into(), 2)]);
    let page = here.list_layers(json!({"MaxItems": 1})).await.unwrap();
    let next = json!({"MaxItems": 1, "Marker": page["NextMarker"]});
    assert_eq!(names(here.list_layers(next.clone()).await), [("l".into(), 2)]);
    assert_eq!(here.list_layers(next).await.unwrap().get("NextMarker"), None);
    let versions = here.list_layer_versions(json!({"LayerName": "l"})).await.unwrap();
    assert_eq!(versions["LayerVersions"][0]["LayerVersionArn"], format!("{LAYER}l:2"));
    assert_eq!(versions["LayerVersions"].as_array().unwrap().len(), 2);
    let unknown = here.list_layer_versions(json!({"LayerName": "unknown"})).await.unwrap();
    assert_eq!(unknown["LayerVersions"], json!([]));

    for _ in 0..2 {
        assert!(here.delete_layer_version(get.clone()).await.is_ok(), "also what is deleted already");
    }
    let missing = not_found("The resource you requested does not exist.");
    assert_eq!(here.get_layer_version(get).await, missing);
    let below = invalid("Layer Version Cannot be less than 1");
    assert_eq!(here.delete_layer_version(json!({"LayerName": "l", "VersionNumber": 0})).await, below);
    assert_eq!(publish(here, "l", "3", json!({})).await["Version"], 3, "numbers are not given again");
    let broken = json!({"LayerName": "l", "Content": {"ZipFile": STANDARD.encode("no zip")}});
    let text = "Could not unzip uploaded file. Please check your file, then try to upload again.";
    assert_eq!(here.publish_layer_version(broken).await, invalid(text));
}

async fn functions_have_layers_in_order_and_keep_deleted_ones(rig: Rig) {
    let here = &rig.here;
    let (one, two) = (publish(here, "one", "1", json!({})).await, publish(here, "two", "2", json!({})).await);
    let layers = json!([two["LayerVersionArn"], one["LayerVersionArn"]]);
    let active = here.active("f", json!({"Layers": layers})).await;
    let shown = json!([
        {"Arn": two["LayerVersionArn"], "CodeSize": two["Content"]["CodeSize"]},
        {"Arn": one["LayerVersionArn"], "CodeSize": one["Content"]["CodeSize"]},
    ]);
    assert_eq!(active["Layers"], shown);
    here.delete_layer_version(json!({"LayerName": "one", "VersionNumber": 1})).await.unwrap();
    here.update_function_configuration(json!({"FunctionName": "f", "Description": "d"})).await.unwrap();
    assert_eq!(here.settled("f").await["Layers"], shown, "a deleted version stays where it is");
    // The data plane is told the archives in that order.
    let mut watch = rig.watch(None).await;
    let told = loop {
        if let Some(Event::Function(told)) = watch.next().await.unwrap().event {
            break told;
        }
    };
    assert_eq!(json!(told.layers), json!([two["Content"]["CodeSha256"], one["Content"]["CodeSha256"]]));
    // Who does not go on listening would hold updates up.
    drop(watch);
    let text = format!("Layer version {LAYER}one:1 does not exist.");
    assert_eq!(here.create("g", json!({"Layers": [one["LayerVersionArn"]]})).await, invalid(text));
    here.update_function_configuration(json!({"FunctionName": "f", "Layers": []})).await.unwrap();
    assert_eq!(here.settled("f").await.get("Layers"), None);
}

async fn layers_that_do_not_fit_are_refused(rig: Rig) {
    let here = &rig.here;
    for _ in 0..2 {
        publish(here, "l", "1", json!({})).await;
    }
    let six: Vec<String> = (1..=6).map(|n| format!("{LAYER}l{n}:1")).collect();
    assert_eq!(
        here.create("f", json!({"Layers": six})).await,
        invalid("Cannot reference more than 5 layers.")
    );
    let (one, two) = (format!("{LAYER}l:1"), format!("{LAYER}l:2"));
    let text = format!(
        "Two different versions of the same layer are not allowed to be referenced in the same function. {one} and {two} are \
         versions of the same layer."
    );
    assert_eq!(here.create("f", json!({"Layers": [one, two]})).await, invalid(text));
    let elsewhere = "arn:aws:lambda:eu-west-1:000000000000:layer:l:1";
    let text =
        "Layers are not in the same region as the function. Layers are expected to be in region us-east-1.";
    assert_eq!(here.create("f", json!({"Layers": [elsewhere]})).await, invalid(text));

    // Two of 100 MB fit, three do not; nor do two beside code of 100 MB.
    let zeros = vec![0; 100_000_000];
    let big = STANDARD.encode(zip_of(&[("zeros", &zeros)]));
    let mut arns = Vec::new();
    for name in ["a", "b", "c"] {
        let request = json!({"LayerName": name, "Content": {"ZipFile": big}});
        arns.push(here.publish_layer_version(request).await.unwrap()["LayerVersionArn"].clone());
    }
    let text = "Layers consume more than the available size of 262144000 bytes";
    assert_eq!(here.create("f", json!({"Layers": arns})).await, invalid(text));
    here.active("f", json!({"Layers": arns[..2]})).await;
    let update = here.update_function_code(json!({"FunctionName": "f", "ZipFile": big})).await;
    let text = "Function code combined with layers exceeds the maximum allowed size of 262144000 bytes. The actual size is \
                300000000 bytes.";
    assert_eq!(update, invalid(text));
    let update = here.update_function_configuration(json!({"FunctionName": "f", "Layers": arns})).await;
    assert!(update.unwrap_err().2.starts_with("Layers consume more"));
}

async fn other_accounts_need_a_permission(rig: Rig) {
    let here = &rig.here;
    let other = rig.caller("222222222222", "us-east-1");
    let arn = publish(here, "l", "1", json!({})).await["LayerVersionArn"].as_str().unwrap().to_owned();
    let refused: Answer = Err((
        "AccessDeniedException".into(),
        403,
        format!(
            "User: arn:aws:iam::222222222222:root is not authorized to perform: lambda:GetLayerVersion on resource: {arn} \
             because no resource-based policy allows the lambda:GetLayerVersion action"
        ),
    ));
    let get = json!({"Arn": arn});
    assert_eq!(other.get_layer_version_by_arn(get.clone()).await, refused);
    assert_eq!(other.create("f", json!({"Layers": [arn]})).await, refused);
    let version = json!({"LayerName": "l", "VersionNumber": 1});
    let none = not_found("No policy is associated with the given resource.");
    assert_eq!(here.get_layer_version_policy(version.clone()).await, none);
    let permission =
        json!({"StatementId": "s", "Action": "lambda:GetLayerVersion", "Principal": "222222222222"});
    let add = with(version.clone(), permission);
    let added = here.add_layer_version_permission(add.clone()).await.unwrap();
    let statement = json!({
        "Sid": "s", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::222222222222:root"},
        "Action": "lambda:GetLayerVersion", "Resource": arn,
    });
    let read = |text: &Value| serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap();
    assert_eq!(read(&added["Statement"]), statement);
    let policy = here.get_layer_version_policy(version.clone()).await.unwrap();
    assert_eq!(
        read(&policy["Policy"]),
        json!({"Version": "2012-10-17", "Id": "default", "Statement": [statement]})
    );
    assert_eq!(policy["RevisionId"], added["RevisionId"]);
    let twice = "The statement id (s) provided already exists. Please provide a new statement id, or remove the existing \
                 statement.";
    assert_eq!(here.add_layer_version_permission(add).await, conflict(twice));
    other.active("f", json!({"Layers": [arn]})).await;
    assert_eq!(other.get_layer_version_by_arn(get.clone()).await.unwrap()["Version"], 1);
    let stranger = rig.caller("333333333333", "us-east-1");
    assert!(stranger.get_layer_version_by_arn(get).await.is_err());
    assert_eq!(
        other
            .delete_layer_version(json!({"LayerName": format!("{LAYER}l"), "VersionNumber": 1}))
            .await
            .unwrap_err()
            .0,
        "AccessDeniedException"
    );
    let stale = with(version.clone(), json!({"StatementId": "s", "RevisionId": "r"}));
    let text = "The Revision Id provided does not match the latest Revision Id. Call the GetLayerPolicy API to retrieve the \
                latest Revision Id";
    let refusal = Err(("PreconditionFailedException".into(), 412, text.into()));
    assert_eq!(here.remove_layer_version_permission(stale).await, refusal);
    let remove = with(version, json!({"StatementId": "s"}));
    here.remove_layer_version_permission(remove.clone()).await.unwrap();
    let gone = not_found("Statement s is not found in resource policy.");
    assert_eq!(here.remove_layer_version_permission(remove).await, gone);
    let nowhere = json!({"LayerName": "l", "VersionNumber": 7, "StatementId": "s"});
    let text = format!("Layer version {LAYER}l:7 does not exist.");
    assert_eq!(here.remove_layer_version_permission(nowhere).await, not_found(text));
}
