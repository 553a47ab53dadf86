//! The forms of a function's name (facts, Lambda API §3), and that accounts and regions never see each other.

use serde_json::json;

use crate::rig::{Answer, FUNCTION, Rig, invalid, not_found, text, violation, with};

over_each_store! {
    every_form_names_the_function
    the_same_names_in_two_accounts_and_two_regions
}

const OTHER_ACCOUNT: &str = "123456789012";

async fn every_form_names_the_function(rig: Rig) {
    rig.here.active("f", json!({})).await;
    for form in [
        "f",
        "function:f",
        "000000000000:f",
        "000000000000:function:f",
        "us-east-1:000000000000:function:f",
        "arn:aws:lambda:us-east-1:000000000000:function:f",
    ] {
        for (input, arn) in [
            (json!({"FunctionName": form}), "f"),
            (json!({"FunctionName": form, "Qualifier": "$LATEST"}), "f:$LATEST"),
            (json!({"FunctionName": format!("{form}:$LATEST")}), "f:$LATEST"),
            (json!({"FunctionName": format!("{form}:$LATEST"), "Qualifier": "$LATEST"}), "f:$LATEST"),
        ] {
            let found = rig.here.get_function_configuration(input.clone()).await.unwrap();
            assert_eq!(found["FunctionArn"], format!("{FUNCTION}{arn}"), "{input}");
            assert_eq!((&found["FunctionName"], &found["Version"]), (&json!("f"), &json!("$LATEST")));
        }
        rig.here.update_function_configuration(json!({"FunctionName": form, "Timeout": 4})).await.unwrap();
        rig.here.settled(form).await;
        rig.here.delete_function(json!({"FunctionName": form})).await.unwrap();
        let made = rig.here.create(form, json!({})).await.unwrap();
        assert_eq!(made["FunctionArn"], format!("{FUNCTION}f"));
        rig.here.settled("f").await;
    }
    // Names that hold what prefixes are made of.
    for name in ["my-function", "function", "210987654321"] {
        rig.here.active(name, json!({})).await;
        let found = rig.here.get_function(json!({"FunctionName": format!("{name}:$LATEST")})).await.unwrap();
        assert_eq!(found["Configuration"]["FunctionArn"], format!("{FUNCTION}{name}:$LATEST"));
    }
}

#[tokio::test]
async fn what_is_elsewhere_unclear_or_no_name_is_refused() {
    let rig = Rig::start(crate::rig::Store::Memory);
    rig.here.active("f", json!({})).await;
    let get = async |name: &str, qualifier: Option<&str>| {
        let input = with(json!({"FunctionName": name}), json!({"Qualifier": qualifier}));
        rig.here.get_function_configuration(input).await
    };
    let denied = || -> Answer { Err(("AccessDeniedException".into(), 403, String::new())) };
    // An account comes before a region, a region before a qualifier, a qualifier before existence.
    for prefix in ["", "eu-west-1:", "arn:aws:lambda:eu-west-1:"] {
        assert_eq!(
            get(&format!("{prefix}{OTHER_ACCOUNT}:function:f:1"), Some("2")).await,
            denied(),
            "{prefix}"
        );
    }
    assert_eq!(get(&format!("{OTHER_ACCOUNT}:f"), None).await, denied());
    let far = not_found("Functions from 'eu-west-1' are not reachable in this region ('us-east-1')");
    assert_eq!(get("arn:aws:lambda:eu-west-1:000000000000:function:f:1", Some("2")).await, far);
    assert_eq!(get("eu-west-1:000000000000:function:f", None).await, far);
    let disagree =
        invalid("The derived qualifier from the function name does not match the specified qualifier.");
    assert_eq!(get("f:1", Some("2")).await, disagree);
    assert_eq!(get(&format!("{FUNCTION}missing:1"), Some("$LATEST")).await, disagree);
    for (name, qualifier, shown) in [
        ("missing", None, "missing"),
        ("missing", Some("$LATEST"), "missing:$LATEST"),
        ("f:7", None, "f:7"),
        ("f", Some("live"), "f:live"),
        ("with.dot", None, "with.dot"),
    ] {
        assert_eq!(get(name, qualifier).await, not_found(format!("Function not found: {FUNCTION}{shown}")));
    }
    // 64 characters are a name; 65 are one that nobody has, or can have; 141 are no parameter of a write.
    let [most, more, most_of_all] = [64, 65, 141].map(|length| "n".repeat(length));
    rig.here.active(&most, json!({})).await;
    assert!(get(&most, None).await.is_ok());
    assert_eq!(get(&more, None).await, not_found(format!("Function not found: {FUNCTION}{more}")));
    let long = "1 validation error detected: Value '{}' at 'functionName' failed to satisfy constraint: Member must \
                have length less than or equal to 64";
    for form in ["", "000000000000:function:", FUNCTION] {
        let refused = rig.here.create(&format!("{form}{more}"), json!({})).await;
        assert_eq!(refused, invalid(long.replace("{}", &more)));
    }
    let text = format!(
        "Value '{most_of_all}' at 'functionName' failed to satisfy constraint: Member must have length less than or \
         equal to 140"
    );
    assert_eq!(rig.here.create(&most_of_all, json!({})).await, violation(&text));
    for name in ["a b", "a/b", "f:$OLDEST", "a:b:c:d", "arn:aws:sqs:us-east-1:000000000000:function:f"] {
        let (code, status, message) = get(name, None).await.unwrap_err();
        assert_eq!((code.as_str(), status), ("ValidationException", 400), "{name}: {message}");
        assert!(
            message.contains("at 'functionName' failed to satisfy constraint: Member must satisfy regular")
        );
    }
}

async fn the_same_names_in_two_accounts_and_two_regions(rig: Rig) {
    let callers =
        [rig.here.clone(), rig.caller(OTHER_ACCOUNT, "us-east-1"), rig.caller("000000000000", "eu-west-1")];
    let mut arns = Vec::new();
    let mut uuids = Vec::new();
    for (n, caller) in callers.iter().enumerate() {
        let made = caller.active("f", json!({"Timeout": n + 10, "Tags": {"n": n.to_string()}})).await;
        arns.push(text(&made["FunctionArn"]));
        let queue = caller.queue("jobs").await;
        uuids.push(caller.map(&queue, "f").await);
    }
    assert_eq!(arns[1], "arn:aws:lambda:us-east-1:123456789012:function:f");
    assert_eq!(arns[2], "arn:aws:lambda:eu-west-1:000000000000:function:f");
    for (n, caller) in callers.iter().enumerate() {
        let functions = caller.list_functions(json!({})).await.unwrap();
        assert_eq!(functions["Functions"].as_array().unwrap().len(), 1);
        assert_eq!(functions["Functions"][0]["Timeout"], n + 10);
        let mappings = caller.list_event_source_mappings(json!({"FunctionName": "f"})).await.unwrap();
        assert_eq!(mappings["EventSourceMappings"].as_array().unwrap().len(), 1);
        assert_eq!(mappings["EventSourceMappings"][0]["UUID"], uuids[n]);
        assert_eq!(mappings["EventSourceMappings"][0]["FunctionArn"], arns[n]);
        for (other, arn) in arns.iter().enumerate().filter(|(other, _)| *other != n) {
            let function = json!({"FunctionName": arn});
            let uuid = json!({"UUID": uuids[other]});
            let mapping_arn = arn.replace("function:f", &format!("event-source-mapping:{}", uuids[other]));
            let tags = json!({"Resource": mapping_arn, "Tags": {"stolen": "1"}, "TagKeys": ["n"]});
            let refusals = [
                caller.get_function(function.clone()).await,
                caller.update_function_configuration(function.clone()).await,
                caller.delete_function(function.clone()).await,
                caller.list_event_source_mappings(function).await,
                caller.list_tags(json!({"Resource": arn})).await,
                caller.list_tags(tags.clone()).await,
                caller.tag_resource(tags.clone()).await,
                caller.untag_resource(tags).await,
                caller.get_event_source_mapping(uuid.clone()).await,
                caller.update_event_source_mapping(uuid.clone()).await,
                caller.delete_event_source_mapping(uuid).await,
            ];
            for (which, refusal) in refusals.into_iter().enumerate() {
                let (_, status, _) = refusal.unwrap_err();
                assert!(status == 403 || status == 404, "{which} of {other} for {n}: {status}");
            }
        }
    }
    callers[1].delete_function(json!({"FunctionName": "f"})).await.unwrap();
    for (n, caller) in [(0, &callers[0]), (2, &callers[2])] {
        let found = caller.get_function(json!({"FunctionName": "f"})).await.unwrap();
        assert_eq!(
            (&found["Configuration"]["Timeout"], &found["Tags"]["n"]),
            (&json!(n + 10), &json!(n.to_string()))
        );
    }
}
