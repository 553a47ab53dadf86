//! Tags of functions and mappings (facts, Lambda API §13).

use serde_json::{Map, Value, json};

use crate::rig::{FUNCTION, Rig, invalid, not_found, not_yet, text};

over_each_store! {
    tags_are_set_replaced_and_removed
    there_are_fifty_at_most
}

const MAPPING: &str = "arn:aws:lambda:us-east-1:000000000000:event-source-mapping:";

/// A function and a mapping of it, both without tags: their ARNs.
async fn resources(rig: &Rig) -> [String; 2] {
    rig.here.active("f", json!({})).await;
    let queue = rig.here.queue("jobs").await;
    let uuid = rig.here.map(&queue, "f").await;
    [format!("{FUNCTION}f"), format!("{MAPPING}{uuid}")]
}

fn numbered(tags: std::ops::Range<usize>) -> Value {
    tags.map(|n| (format!("k{n:03}"), json!("v"))).collect::<Map<_, _>>().into()
}

async fn tags_are_set_replaced_and_removed(rig: Rig) {
    for arn in resources(&rig).await {
        let tags = async || rig.here.list_tags(json!({"Resource": arn})).await.unwrap()["Tags"].clone();
        assert_eq!(tags().await, json!({}));
        for given in [json!({"team": "blue", "stage": "test"}), json!({"team": "red", "": ""})] {
            let answer = rig.here.tag_resource(json!({"Resource": arn, "Tags": given})).await;
            if given.get("").is_some() {
                assert!(answer.is_err(), "a key has a character at least, and all or nothing is set");
            } else {
                assert_eq!(answer, Ok(json!({})));
            }
        }
        rig.here.tag_resource(json!({"Resource": arn, "Tags": {"team": "green"}})).await.unwrap();
        assert_eq!(tags().await, json!({"team": "green", "stage": "test"}));
        let untag = json!({"Resource": arn, "TagKeys": ["team", "never given"]});
        assert_eq!(rig.here.untag_resource(untag).await, Ok(json!({})));
        assert_eq!(tags().await, json!({"stage": "test"}));
        let none = rig.here.tag_resource(json!({"Resource": arn, "Tags": {}})).await;
        assert_eq!(none, invalid("An error occurred and the request cannot be processed."));
        let (code, status, _) = rig.here.untag_resource(json!({"Resource": arn})).await.unwrap_err();
        assert_eq!((code.as_str(), status), ("ValidationException", 400));
    }
    let before = rig.here.settled("f").await;
    rig.here.tag_resource(json!({"Resource": format!("{FUNCTION}f"), "Tags": {"x": ""}})).await.unwrap();
    let after = rig.here.settled("f").await;
    assert_ne!(before["RevisionId"], after["RevisionId"]);
    assert_eq!(before["LastModified"], after["LastModified"]);
}

async fn there_are_fifty_at_most(rig: Rig) {
    let too_many = || invalid("Number of tags exceeds resource tag limit.");
    for arn in resources(&rig).await {
        assert_eq!(
            rig.here.tag_resource(json!({"Resource": arn, "Tags": numbered(0..51)})).await,
            too_many()
        );
        rig.here.tag_resource(json!({"Resource": arn, "Tags": numbered(0..50)})).await.unwrap();
        assert_eq!(
            rig.here.tag_resource(json!({"Resource": arn, "Tags": {"one more": ""}})).await,
            too_many()
        );
        rig.here.tag_resource(json!({"Resource": arn, "Tags": {"k000": "another"}})).await.unwrap();
        let tags = rig.here.list_tags(json!({"Resource": arn})).await.unwrap();
        assert_eq!(tags["Tags"].as_object().unwrap().len(), 50);
        assert_eq!(text(&tags["Tags"]["k000"]), "another");
    }
    assert_eq!(rig.here.create("g", json!({"Tags": numbered(0..51)})).await, too_many());
    let queue = rig.here.queue("others").await;
    let mapping = json!({"EventSourceArn": queue, "FunctionName": "f", "Tags": numbered(0..51)});
    assert_eq!(rig.here.create_event_source_mapping(mapping).await, too_many());
    rig.here.active("i", json!({})).await;
    for (key, value) in [("k".repeat(129), String::new()), ("k".into(), "v".repeat(257))] {
        let refused =
            rig.here.tag_resource(json!({"Resource": format!("{FUNCTION}i"), "Tags": {key: value}})).await;
        assert_eq!(refused, invalid("Tag keys are 1 to 128 characters long, tag values up to 256."));
    }
    let longest = json!({"Tags": {"k".repeat(128): "v".repeat(256)}});
    assert!(rig.here.create("h", longest).await.is_ok());
}

#[tokio::test]
async fn only_what_can_carry_tags_and_is_there_has_some() {
    let rig = Rig::start(crate::rig::Store::Memory);
    rig.here.active("f", json!({})).await;
    let uuid = "00000000-0000-4000-8000-000000000000";
    let of_functions =
        "Tags on function aliases and versions are not supported. Please specify a function ARN.";
    for (arn, refusal) in [
        (format!("{FUNCTION}f:1"), invalid(of_functions)),
        (format!("{FUNCTION}f:$LATEST"), invalid(of_functions)),
        (format!("{FUNCTION}g"), not_found(format!("Function not found: {FUNCTION}g"))),
        (format!("{MAPPING}{uuid}"), not_found(format!("Event source mapping not found: {MAPPING}{uuid}"))),
        (
            "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdef0".into(),
            not_yet("tags on this kind of resource"),
        ),
    ] {
        let input = json!({"Resource": arn, "Tags": {"k": "v"}, "TagKeys": ["k"]});
        assert_eq!(rig.here.list_tags(input.clone()).await, refusal);
        assert_eq!(rig.here.tag_resource(input.clone()).await, refusal);
        assert_eq!(rig.here.untag_resource(input).await, refusal);
    }
    for arn in ["f", "arn:aws:sqs:us-east-1:000000000000:jobs"] {
        let (code, status, _) = rig.here.list_tags(json!({"Resource": arn})).await.unwrap_err();
        assert_eq!((code.as_str(), status), ("ValidationException", 400));
    }
}
