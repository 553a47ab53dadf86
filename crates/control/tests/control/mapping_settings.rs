//! What event source mappings take and refuse (facts, Lambda API §9 and §16).

use lambfold_api::lambda::{CreateEventSourceMappingRequest, Lambda};
use serde_json::{Value, json};

use crate::rig::{Answer, QUEUE, Rig, Store, answer, invalid, not_yet, text, violation, with};

/// Function `f`, queue `jobs`, and the request that maps them.
async fn start() -> (Rig, Value) {
    let rig = Rig::start(Store::Memory);
    rig.here.active("f", json!({})).await;
    let queue = rig.here.queue("jobs").await;
    (rig, json!({"EventSourceArn": queue, "FunctionName": "f"}))
}

/// What a creation and an update of an enabled mapping say to the same settings.
async fn refused(rig: &Rig, settings: Value) -> [Answer; 2] {
    let found = rig.here.list_event_source_mappings(json!({})).await.unwrap();
    let queue = rig.here.queue("unmapped").await;
    let create = with(json!({"EventSourceArn": queue, "FunctionName": "f"}), settings.clone());
    let update = with(json!({"UUID": found["EventSourceMappings"][0]["UUID"]}), settings);
    [rig.here.create_event_source_mapping(create).await, rig.here.update_event_source_mapping(update).await]
}

#[tokio::test]
async fn the_source_is_a_queue_that_is_there() {
    let (rig, mapping) = start().await;
    let create = async |source: Value| {
        rig.here.create_event_source_mapping(with(mapping.clone(), json!({"EventSourceArn": source}))).await
    };
    for source in [Value::Null, json!("arn:aws:sqs:::jobs"), json!("arn:aws:sqs:us-east-1::jobs")] {
        assert_eq!(create(source).await, invalid("Unrecognized event source."));
    }
    let missing = "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. SQS \
                   Error Message: The specified queue does not exist.";
    for queue in ["other", "JOBS", "a.b", "jobs:1"] {
        assert_eq!(create(json!(format!("{QUEUE}{queue}"))).await, invalid(missing), "{queue}");
    }
    assert_eq!(create(json!("arn:aws:sqs:us-east-1:123456789012:jobs")).await, invalid(missing));
    assert_eq!(create(json!("arn:aws:sqs:eu-west-1:000000000000:jobs")).await, invalid(missing));
    assert_eq!(create(json!(format!("{QUEUE}jobs.fifo"))).await, not_yet("FIFO queues"));
    let stream = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
    assert_eq!(create(json!(stream)).await, not_yet("kinesis event sources"));
    for source in ["jobs", "http://localhost:4566/000000000000/jobs"] {
        let (code, status, message) = create(json!(source)).await.unwrap_err();
        assert_eq!((code.as_str(), status), ("ValidationException", 400));
        assert!(message.contains(&format!("Value '{source}' at 'eventSourceArn' failed")), "{message}");
    }
    assert_eq!(rig.here.list_event_source_mappings(json!({})).await, Ok(json!({"EventSourceMappings": []})));
}

#[tokio::test]
async fn the_function_is_there_and_leaves_the_queue_time() {
    let (rig, mapping) = start().await;
    let create = async |function: &str| {
        rig.here.create_event_source_mapping(with(mapping.clone(), json!({"FunctionName": function}))).await
    };
    for function in ["missing", "f:7", "f:live"] {
        assert_eq!(create(function).await, invalid("Function does not exist"));
    }
    rig.here.active("slow", json!({"Timeout": 31})).await;
    let late = "Queue visibility timeout: 30 seconds is less than Function timeout: 31 seconds";
    assert_eq!(create("slow").await, invalid(late));
    rig.here.active("just", json!({"Timeout": 30})).await;
    assert!(create("just").await.is_ok());
    let elsewhere = create("arn:aws:lambda:us-east-1:123456789012:function:f").await;
    assert_eq!(elsewhere, Err(("AccessDeniedException".into(), 403, String::new())));
    let qualified = create("000000000000:function:f:$LATEST").await.unwrap();
    assert_eq!(qualified["FunctionArn"], "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST");
}

#[tokio::test]
async fn batches_and_windows_have_bounds_and_go_together() {
    let (rig, mapping) = start().await;
    let uuid = text(&rig.here.create_event_source_mapping(mapping.clone()).await.unwrap()["UUID"]);
    rig.reached(&uuid, 1, "Enabled").await;
    let rule = |value: i64, path: &str, rule: &str| {
        violation(&format!(
            "Value '{value}' at '{path}' failed to satisfy constraint: Member must have value {rule}"
        ))
    };
    let window = "maximumBatchingWindowInSeconds";
    let apart = || {
        invalid(
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10",
        )
    };
    for (settings, refusal) in [
        (json!({"BatchSize": 0}), rule(0, "batchSize", "greater than or equal to 1")),
        (json!({"BatchSize": 10_001}), rule(10_001, "batchSize", "less than or equal to 10000")),
        (json!({"MaximumBatchingWindowInSeconds": -1}), rule(-1, window, "greater than or equal to 0")),
        (json!({"MaximumBatchingWindowInSeconds": 301}), rule(301, window, "less than or equal to 300")),
        (json!({"BatchSize": 11}), apart()),
        (json!({"BatchSize": 10_000, "MaximumBatchingWindowInSeconds": 0}), apart()),
    ] {
        for answer in refused(&rig, settings.clone()).await {
            assert_eq!(answer, refusal, "{settings}");
        }
    }
    for (n, (size, window)) in [(1, 0), (10, 0), (11, 1), (10_000, 300)].into_iter().enumerate() {
        let settings = json!({"BatchSize": size, "MaximumBatchingWindowInSeconds": window});
        let queue = rig.here.queue(&format!("jobs{n}")).await;
        let create = with(json!({"EventSourceArn": queue, "FunctionName": "f"}), settings.clone());
        let made = rig.here.create_event_source_mapping(create).await.unwrap();
        let changed = rig
            .here
            .update_event_source_mapping(with(json!({"UUID": uuid}), settings.clone()))
            .await
            .unwrap();
        rig.reached(&uuid, n as u64 + 2, "Enabled").await;
        for shown in [made, changed] {
            assert_eq!(shown, with(shown.clone(), settings.clone()));
        }
    }
    // What is there already counts: a window of 300 s cannot go while the batch has 10,000.
    let no_window = json!({"UUID": uuid, "MaximumBatchingWindowInSeconds": 0});
    assert_eq!(rig.here.update_event_source_mapping(no_window).await, apart());
    // Inside, where peers call past the edge, the service keeps to the same bounds.
    for (size, seconds, message) in [
        (0, 0, "Batch size must be between 1 and 10000."),
        (10_001, 1, "Batch size must be between 1 and 10000."),
        (1, 301, "Maximum batch window in seconds must be between 0 and 300."),
    ] {
        let settings = json!({"BatchSize": size, "MaximumBatchingWindowInSeconds": seconds});
        let input: CreateEventSourceMappingRequest =
            serde_json::from_value(with(mapping.clone(), settings)).unwrap();
        let refusal = rig.control.create_event_source_mapping(&rig.here.ctx, input).await;
        assert_eq!(answer(refusal), invalid(message));
    }
}

#[tokio::test]
async fn the_other_settings_are_kept_or_refused() {
    let (rig, mapping) = start().await;
    let settings = json!({"ScalingConfig": {"MaximumConcurrency": 2}, "FunctionResponseTypes": ["ReportBatchItemFailures"]});
    let made = rig.here.create_event_source_mapping(with(mapping.clone(), settings.clone())).await.unwrap();
    assert_eq!(made, with(made.clone(), settings));
    let uuid = text(&made["UUID"]);
    rig.reached(&uuid, 1, "Enabled").await;
    for (settings, what) in [
        (json!({"FilterCriteria": {"Filters": [{"Pattern": "{\"body\": [1]}"}]}}), "FilterCriteria"),
        (json!({"ProvisionedPollerConfig": {"MinimumPollers": 2}}), "ProvisionedPollerConfig"),
        (json!({"KMSKeyArn": "arn:aws:kms:us-east-1:000000000000:key/k"}), "KMSKeyArn"),
        (json!({"MetricsConfig": {"Metrics": ["EventCount"]}}), "MetricsConfig"),
        (json!({"LoggingConfig": {"SystemLogLevel": "DEBUG"}}), "LoggingConfig"),
    ] {
        for refusal in refused(&rig, settings).await {
            assert_eq!(refusal, not_yet(what));
        }
    }
    let foreign =
        |name: &str| invalid(format!("Unsupported {name} parameter for given event source mapping type."));
    let destination = json!({"Destination": format!("{QUEUE}jobs")});
    for (name, value) in [
        ("DestinationConfig", json!({"OnFailure": destination})),
        ("DestinationConfig", json!({"OnSuccess": destination})),
        ("ParallelizationFactor", json!(2)),
        ("MaximumRecordAgeInSeconds", json!(60)),
        ("MaximumRetryAttempts", json!(1)),
        ("BisectBatchOnFunctionError", json!(true)),
        ("TumblingWindowInSeconds", json!(1)),
        ("SourceAccessConfigurations", json!([{"Type": "VPC_SUBNET", "URI": "subnet:s"}])),
    ] {
        for refusal in refused(&rig, json!({name: value})).await {
            assert_eq!(refusal, foreign(name));
        }
    }
    for (name, value) in
        [("StartingPosition", json!("LATEST")), ("Topics", json!(["topic"])), ("Queues", json!(["queue"]))]
    {
        let create = with(mapping.clone(), json!({name: value}));
        assert_eq!(rig.here.create_event_source_mapping(create).await, foreign(name));
    }
    for limit in [1, 1001] {
        for refusal in refused(&rig, json!({"ScalingConfig": {"MaximumConcurrency": limit}})).await {
            let (code, status, message) = refusal.unwrap_err();
            assert_eq!((code.as_str(), status), ("ValidationException", 400));
            assert!(message.contains("at 'scalingConfig.maximumConcurrency' failed"), "{message}");
        }
    }
    assert_eq!(rig.here.state(&uuid).await, "Enabled", "none of it was begun");
    // Empty ones and defaults ask for nothing; an empty limit takes the limit away.
    let empty = json!({
        "UUID": uuid, "FilterCriteria": {"Filters": []}, "DestinationConfig": {"OnFailure": {}}, "KMSKeyArn": "",
        "ParallelizationFactor": 1, "MaximumRetryAttempts": -1, "FunctionResponseTypes": [], "ScalingConfig": {},
    });
    let changed = rig.here.update_event_source_mapping(empty).await.unwrap();
    assert_eq!((changed.get("ScalingConfig"), &changed["FunctionResponseTypes"]), (None, &json!([])));
}
