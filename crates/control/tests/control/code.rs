//! Packages that are no packages (facts, Lambda API §4 and §16).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::rig::{Answer, Rig, Store, invalid, not_yet, zip, zip_of};

const NO_ZIP: &str = "Could not unzip uploaded file. Please check your file, then try to upload again.";

fn package(bytes: &[u8]) -> Value {
    json!({"ZipFile": STANDARD.encode(bytes)})
}

/// What a creation and an update say to the same code.
async fn refused(rig: &Rig, code: Value) -> [Answer; 2] {
    let mut update = code.clone();
    update["FunctionName"] = json!("f");
    [rig.here.create("new", json!({"Code": code})).await, rig.here.update_function_code(update).await]
}

#[tokio::test]
async fn what_cannot_be_a_package_is_refused_and_leaves_nothing() {
    let rig = Rig::start(Store::Memory);
    let before = rig.here.active("f", json!({})).await;
    let whole = zip("1");
    let mut broken = whole.clone();
    broken[35] ^= 0xFF;
    for bytes in [
        &b"no zip"[..],
        b"",
        &whole[..whole.len() - 1],
        &broken,
        &zip_of(&[("../escaped.py", b"1")]),
        &zip_of(&[("a/../../escaped.py", b"1")]),
        &zip_of(&[("/etc/passwd", b"1")]),
    ] {
        for refusal in refused(&rig, package(bytes)).await {
            assert_eq!(refusal, invalid(NO_ZIP), "{}", String::from_utf8_lossy(bytes));
        }
    }
    for refusal in refused(&rig, json!({})).await {
        assert_eq!(refusal, invalid("Please provide a source for function code."));
    }
    assert_eq!(rig.here.settled("f").await, before);
    assert!(rig.here.get_function(json!({"FunctionName": "new"})).await.is_err());
    assert!(rig.here.create("new", json!({})).await.is_ok(), "the name is free");
}

#[tokio::test]
async fn sizes_are_bounded_zipped_and_unzipped() {
    let rig = Rig::start(Store::Memory);
    rig.here.active("f", json!({})).await;
    let most = vec![0; 52_428_800];
    for refusal in refused(&rig, package(&most)).await {
        assert_eq!(refusal, invalid(NO_ZIP), "the largest that is looked into");
    }
    let more = [most, vec![0]].concat();
    for refusal in refused(&rig, package(&more)).await {
        let (code, status, message) = refusal.unwrap_err();
        assert_eq!((code.as_str(), status), ("RequestEntityTooLargeException", 413));
        assert_eq!(message, "Zipped size must be smaller than 52428800 bytes");
    }
    // A quarter of a gigabyte in a quarter of a megabyte.
    let half = vec![0; 131_072_000];
    let bomb = zip_of(&[("a", &half), ("b", &half), ("c", b"1")]);
    assert!(bomb.len() < 1_000_000);
    for refusal in refused(&rig, package(&bomb)).await {
        assert_eq!(refusal, invalid("Unzipped size must be smaller than 262144000 bytes"));
    }
}

#[tokio::test]
async fn code_from_elsewhere_is_not_there_yet() {
    let rig = Rig::start(Store::Memory);
    rig.here.active("f", json!({})).await;
    let [create, update] = refused(&rig, json!({"S3Bucket": "bucket", "S3Key": "key"})).await;
    assert_eq!(create, not_yet("code from S3 (Code.S3Bucket)"));
    assert_eq!(update, not_yet("code from S3 (S3Bucket)"));
    let [create, update] = refused(&rig, json!({"ImageUri": "000000000000.dkr.ecr/x"})).await;
    assert_eq!(create, invalid("Please provide a source for function code."), "of a package");
    let text = "Please don't provide ImageUri when updating a function with packageType Zip.";
    assert_eq!(update, invalid(text));
    let mut sealed = package(&zip("1"));
    sealed["SourceKMSKeyArn"] = json!("arn:aws:kms:us-east-1:000000000000:key/k");
    let [create, update] = refused(&rig, sealed).await;
    assert_eq!(create, not_yet("Code.SourceKMSKeyArn"));
    assert_eq!(update, not_yet("SourceKMSKeyArn"));
}
