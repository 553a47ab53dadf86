//! Objects that nothing names any more go; what anything names stays.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::rig::{Rig, zip, zip_of};

over_each_store! {
    what_nothing_names_for_an_hour_is_removed
    what_was_left_before_a_start_is_removed_at_once
    what_is_named_again_in_time_stays
}

const HOUR: Duration = Duration::from_hours(1);
/// Objects are dated by the machine's clock, which is ahead of the rig's.
const UNTIL_OBJECTS_ARE_OLD: Duration = Duration::from_hours(100 * 366 * 24);

fn package(content: &[u8]) -> String {
    format!("packages/{}", hex::encode(Sha256::digest(content)))
}

async fn objects(rig: &Rig) -> BTreeSet<String> {
    let found: Vec<_> = rig.objects.list(None).try_collect().await.unwrap();
    found.into_iter().map(|it| it.location.to_string()).collect()
}

/// Lets hours pass until these are there, and no others.
async fn until(rig: &Rig, expected: &[String]) {
    let expected: BTreeSet<String> = expected.iter().cloned().collect();
    for _ in 0..1000 {
        if objects(rig).await == expected {
            return;
        }
        rig.clock.advance(HOUR);
        pause().await;
    }
    assert_eq!(objects(rig).await, expected);
}

/// Gives the sweep the time that it would need.
async fn pause() {
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
}

async fn new_code(rig: &Rig, name: &str, source: &str) {
    let code = json!({"FunctionName": name, "ZipFile": STANDARD.encode(zip(source))});
    rig.here.update_function_code(code).await.unwrap();
    rig.here.settled(name).await;
}

async fn what_nothing_names_for_an_hour_is_removed(rig: Rig) {
    let here = &rig.here;
    let layers = ["used", "listed", "gone"].map(|name| zip_of(&[("python/m.py", name.as_bytes())]));
    for (name, zip) in ["used", "listed", "gone"].into_iter().zip(&layers) {
        let content = json!({"LayerName": name, "Content": {"ZipFile": STANDARD.encode(zip)}});
        here.publish_layer_version(content).await.unwrap();
    }
    let used = "arn:aws:lambda:us-east-1:000000000000:layer:used:1";
    here.active("f", json!({"Layers": [used]})).await;
    here.publish_version(json!({"FunctionName": "f"})).await.unwrap();
    new_code(&rig, "f", "2").await;
    new_code(&rig, "f", "3").await;
    here.active("g", json!({"Code": {"ZipFile": STANDARD.encode(zip("g"))}})).await;
    // Of an image of which nobody knows.
    for name in ["images/0a", "images/0a.json"] {
        rig.objects.put(&Path::from(name), PutPayload::from_static(b"x")).await.unwrap();
    }
    for name in ["used", "gone"] {
        here.delete_layer_version(json!({"LayerName": name, "VersionNumber": 1})).await.unwrap();
    }
    here.delete_function(json!({"FunctionName": "g"})).await.unwrap();
    let before = objects(&rig).await;
    assert_eq!(before.len(), 9);
    rig.clock.advance(HOUR * 5);
    pause().await;
    assert_eq!(objects(&rig).await, before, "too young");
    rig.clock.advance(UNTIL_OBJECTS_ARE_OLD);
    pause().await;
    assert_eq!(objects(&rig).await, before, "who was told of them may still ask for them");
    // The version's, the function's, and the layers that are listed or used.
    let named = [package(&zip("1")), package(&zip("3")), package(&layers[0]), package(&layers[1])];
    until(&rig, &named).await;
    here.delete_function(json!({"FunctionName": "f"})).await.unwrap();
    until(&rig, &[package(&layers[1])]).await;
}

async fn what_was_left_before_a_start_is_removed_at_once(mut rig: Rig) {
    rig.here.active("f", json!({})).await;
    let service = rig.restart_idle().await;
    // As if the process had ended between the upload and the function.
    let left = Path::from(package(b"left"));
    rig.objects.put(&left, PutPayload::from_static(b"left")).await.unwrap();
    rig.clock.advance(UNTIL_OBJECTS_ARE_OLD);
    rig.run(service);
    until(&rig, &[package(&zip("1"))]).await;
}

async fn what_is_named_again_in_time_stays(rig: Rig) {
    rig.here.active("f", json!({})).await;
    new_code(&rig, "f", "2").await;
    rig.clock.advance(UNTIL_OBJECTS_ARE_OLD);
    pause().await;
    new_code(&rig, "f", "1").await;
    rig.clock.advance(HOUR);
    pause().await;
    // Nothing named this one for as short as that.
    assert_eq!(objects(&rig).await.len(), 2);
    until(&rig, &[package(&zip("1"))]).await;
}
