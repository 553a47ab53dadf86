//! What a crash or a stop leaves behind, and packages that are lost.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::rig::{Rig, with, zip};

over_each_store! {
    what_was_on_its_way_when_the_service_ended_arrives_later
    a_lost_package_fails_the_creation_or_the_update_and_no_more
}

const MISSING: &str = "The package of the function is missing; update its code.";

async fn what_was_on_its_way_when_the_service_ended_arrives_later(mut rig: Rig) {
    let updated = rig.here.active("updated", json!({})).await;
    // Nothing runs in the background of this one: what it takes in stays where it is, as in a crash.
    let crashed = rig.restart_idle().await;
    let created =
        rig.here.create("created", json!({"Environment": {"Variables": {"KEY": "v"}}})).await.unwrap();
    rig.here.update_function_configuration(json!({"FunctionName": "updated", "Timeout": 9})).await.unwrap();
    let queue = rig.here.queue("jobs").await;
    let uuid = rig.here.map(&queue, "created").await;
    drop(crashed);
    let service = rig.restart_idle().await;
    let pending = rig.here.get_function_configuration(json!({"FunctionName": "created"})).await.unwrap();
    assert_eq!(pending, created, "all that was told is still there");
    assert_eq!(rig.here.state(&uuid).await, "Creating");
    rig.run(service);
    let active = rig.here.settled("created").await;
    assert_eq!((&active["State"], &active["LastUpdateStatus"]), (&json!("Active"), &json!("Successful")));
    assert_eq!(active["Environment"], json!({"Variables": {"KEY": "v"}}));
    let after = rig.here.settled("updated").await;
    let changed = json!({"Timeout": 9, "RevisionId": after["RevisionId"]});
    assert_eq!(after, with(updated, changed));
}

async fn a_lost_package_fails_the_creation_or_the_update_and_no_more(mut rig: Rig) {
    let before = rig.here.active("updated", json!({})).await;
    let service = rig.restart_idle().await;
    rig.here.create("created", json!({"Code": {"ZipFile": STANDARD.encode(zip("lost"))}})).await.unwrap();
    let code = json!({"FunctionName": "updated", "ZipFile": STANDARD.encode(zip("lost"))});
    rig.here.update_function_code(code).await.unwrap();
    let lost = format!("packages/{}", hex::encode(Sha256::digest(zip("lost"))));
    rig.objects.delete(&Path::from(lost)).await.unwrap();
    rig.run(service);
    let created = rig.here.settled("created").await;
    let failed =
        json!({"State": "Failed", "StateReason": MISSING, "StateReasonCode": "InvalidZipFileException"});
    assert_eq!(created, with(created.clone(), failed));
    let updated = rig.here.settled("updated").await;
    let failed = json!({
        "State": "Active", "LastUpdateStatus": "Failed", "LastUpdateStatusReason": MISSING,
        "LastUpdateStatusReasonCode": "InvalidZipFileException",
    });
    assert_eq!(updated, with(updated.clone(), failed));
    // Meanwhile the data plane runs what was there before, or nothing.
    let mut watch = rig.watch(None).await;
    assert!(watch.until("synced").await.contains(&"created Failed".to_owned()));
    drop(watch);
    for name in ["created", "updated"] {
        let code = json!({"FunctionName": name, "ZipFile": STANDARD.encode(zip("1"))});
        rig.here.update_function_code(code).await.unwrap();
        let whole = rig.here.settled(name).await;
        assert_eq!((&whole["State"], &whole["LastUpdateStatus"]), (&json!("Active"), &json!("Successful")));
        assert_eq!((whole.get("StateReason"), whole.get("LastUpdateStatusReason")), (None, None));
        assert_eq!(whole["CodeSha256"], before["CodeSha256"]);
    }
}
