//! Settings of functions that are out of range, or that nothing would act on (facts, Lambda API §4, §7 and §16).

use std::collections::BTreeMap;
use std::time::Duration;

use lambfold_api::control::{Control, ReportWorkerRequest};
use serde_json::{Value, json};

use crate::rig::{Answer, Rig, Store, invalid, not_yet, violation, with};

/// What a creation and an update say to the same settings; the update has no effect.
async fn refused(rig: &Rig, settings: Value) -> [Answer; 2] {
    let create = rig.here.create("new", settings.clone()).await;
    let update = rig.here.update_function_configuration(with(json!({"FunctionName": "f"}), settings)).await;
    [create, update]
}

#[tokio::test]
async fn what_nothing_would_act_on_is_refused_unless_it_asks_for_nothing() {
    let rig = Rig::start(Store::Memory);
    let before = rig.here.active("f", json!({})).await;
    for (settings, what) in [
        (json!({"VpcConfig": {"SubnetIds": ["subnet-1"]}}), "VpcConfig"),
        (json!({"VpcConfig": {"SecurityGroupIds": ["sg-1"]}}), "VpcConfig"),
        (
            json!({"DeadLetterConfig": {"TargetArn": "arn:aws:sqs:us-east-1:000000000000:q"}}),
            "DeadLetterConfig",
        ),
        (
            json!({"FileSystemConfigs": [{
                "Arn": "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0",
                "LocalMountPath": "/mnt/x",
            }]}),
            "FileSystemConfigs",
        ),
        (json!({"KMSKeyArn": "arn:aws:kms:us-east-1:000000000000:key/k"}), "KMSKeyArn"),
        (json!({"TracingConfig": {"Mode": "Active"}}), "TracingConfig Active"),
        (json!({"DurableConfig": {"ExecutionTimeout": 60}}), "DurableConfig"),
    ] {
        for refusal in refused(&rig, settings).await {
            assert_eq!(refusal, not_yet(what));
        }
    }
    for (settings, what) in [
        (json!({"PublishTo": "LATEST_PUBLISHED"}), "publishing to $LATEST.PUBLISHED (PublishTo)"),
        (json!({"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}), "TenancyConfig"),
        (
            json!({"CodeSigningConfigArn":
                "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdef0"}),
            "CodeSigningConfigArn",
        ),
    ] {
        assert_eq!(rig.here.create("new", settings).await, not_yet(what));
    }
    let foreign = rig.here.create("new", json!({"Architectures": ["arm64"]})).await;
    let text = "Functions for arm64 cannot run here: this machine is x86_64. Build the package for x86_64 and say so in \
                Architectures.";
    assert_eq!(foreign, invalid(text));
    assert_eq!(rig.here.settled("f").await, before);
    // What tools send although it asks for nothing.
    let empty = json!({
        "Layers": [], "VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []}, "DeadLetterConfig": {},
        "FileSystemConfigs": [], "SnapStart": {"ApplyOn": "None"}, "KMSKeyArn": "",
        "TracingConfig": {"Mode": "PassThrough"}, "Publish": false, "Architectures": ["x86_64"],
    });
    for answer in refused(&rig, empty).await {
        assert!(answer.is_ok(), "{answer:?}");
    }
}

#[tokio::test]
async fn runtimes_are_offered_not_there_yet_retired_or_unknown() {
    let rig = Rig::start(Store::Memory);
    rig.here.active("f", json!({})).await;
    for runtime in ["java11", "dotnet8", "python3.8"] {
        for refusal in refused(&rig, json!({"Runtime": runtime})).await {
            assert_eq!(refusal, not_yet(&format!("the runtime {runtime}")));
        }
    }
    for runtime in ["python3.7", "nodejs14.x", "go1.x", "provided"] {
        for refusal in refused(&rig, json!({"Runtime": runtime})).await {
            let text = format!(
                "The runtime parameter of {runtime} is no longer supported for creating or updating AWS Lambda \
                 functions. We recommend you use a supported runtime while creating or updating functions."
            );
            assert_eq!(refusal, invalid(text));
        }
    }
    for (name, runtime) in [("g", "java21"), ("h", "ruby3.4"), ("i", "provided.al2023")] {
        assert_eq!(rig.here.active(name, json!({"Runtime": runtime})).await["Runtime"], runtime);
    }
    for refusal in refused(&rig, json!({"Runtime": "cobol"})).await {
        let (code, status, message) = refusal.unwrap_err();
        assert_eq!((code.as_str(), status), ("InvalidParameterValueException", 400));
        let start =
            "Value cobol at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [";
        assert!(message.starts_with(start) && message.ends_with("] or be a valid ARN"), "{message}");
    }
    let missing =
        "Runtime and Handler are mandatory parameters for functions created with deployment packages.";
    for absent in ["Runtime", "Handler"] {
        assert_eq!(rig.here.create("new", json!({absent: null})).await, invalid(missing));
    }
}

#[tokio::test]
async fn what_no_worker_runs_is_refused_once_workers_were_told_of() {
    let rig = Rig::start(Store::Memory);
    rig.here.active("f", json!({"Runtime": "ruby3.4"})).await;
    let runtimes = vec!["provided.al2023".to_owned(), "python3.12".to_owned()];
    let report = ReportWorkerRequest { incarnation: "w".into(), runtimes };
    rig.control.report_worker(&rig.here.ctx, report).await.unwrap();
    for refusal in refused(&rig, json!({"Runtime": "ruby3.4"})).await {
        let text = "No worker can run ruby3.4: Ruby 3.4 is not installed (workers run: provided.al2023, python3.12). Install \
                    it, put it on the PATH that the worker is started with, or let another version do \
                    (worker.nearest_version).";
        assert_eq!(refusal, invalid(text));
    }
    rig.here.active("g", json!({"Runtime": "python3.12"})).await;
    // The others of the function can still be changed, and after a while nobody knows of workers.
    rig.here.update_function_configuration(json!({"FunctionName": "f", "Timeout": 9})).await.unwrap();
    rig.here.settled("f").await;
    rig.clock.advance(Duration::from_secs(61));
    rig.here.active("h", json!({"Runtime": "ruby3.4"})).await;
}

#[tokio::test]
async fn ranges_are_those_of_aws_and_their_ends_are_inside() {
    let rig = Rig::start(Store::Memory);
    rig.here.active("f", json!({})).await;
    let rule = |value: i64, path: &str, rule: &str| {
        violation(&format!(
            "Value '{value}' at '{path}' failed to satisfy constraint: Member must have value {rule}"
        ))
    };
    for (settings, refusal) in [
        (json!({"Timeout": 0}), rule(0, "timeout", "greater than or equal to 1")),
        (json!({"Timeout": 901}), rule(901, "timeout", "less than or equal to 900")),
        (json!({"MemorySize": 127}), rule(127, "memorySize", "greater than or equal to 128")),
        (json!({"MemorySize": 10_241}), rule(10_241, "memorySize", "less than or equal to 10240")),
        (
            json!({"EphemeralStorage": {"Size": 511}}),
            rule(511, "ephemeralStorage.size", "greater than or equal to 512"),
        ),
        (
            json!({"EphemeralStorage": {"Size": 10_241}}),
            rule(10_241, "ephemeralStorage.size", "less than or equal to 10240"),
        ),
    ] {
        for answer in refused(&rig, settings.clone()).await {
            assert_eq!(answer, refusal, "{settings}");
        }
    }
    for (n, (timeout, memory, storage)) in [(1, 128, 512), (900, 10_240, 10_240)].into_iter().enumerate() {
        let settings =
            json!({"Timeout": timeout, "MemorySize": memory, "EphemeralStorage": {"Size": storage}});
        let made = rig.here.active(&format!("g{n}"), settings.clone()).await;
        assert_eq!(made, with(made.clone(), settings));
    }
}

#[tokio::test]
async fn environment_variables_are_bounded_and_some_are_reserved() {
    let rig = Rig::start(Store::Memory);
    rig.here.active("f", json!({})).await;
    let of = |length: usize| json!({"Environment": {"Variables": {"KEY": "v".repeat(length)}}});
    // Measured as JSON: {"KEY":"…"}
    let [most, more] = [4096, 4097].map(|length| of(length - r#"{"KEY":""}"#.len()));
    let made = rig.here.active("most", most.clone()).await;
    assert_eq!(made["Environment"], most["Environment"]);
    let start = "Lambda was unable to configure your environment variables because the environment variables you have \
                 provided ";
    for refusal in refused(&rig, more.clone()).await {
        let measured = more["Environment"]["Variables"].to_string();
        assert_eq!(refusal, invalid(format!("{start}exceeded the 4KB limit. String measured: {measured}")));
    }
    let reserved: BTreeMap<_, _> =
        ["AWS_REGION", "MINE", "LAMBDA_TASK_ROOT", "AWS_LAMBDA_RUNTIME_API"].map(|key| (key, "x")).into();
    for refusal in refused(&rig, json!({"Environment": {"Variables": reserved}})).await {
        let text = format!(
            "{start}contains reserved keys that are currently not supported for modification. Reserved keys used in this \
             request: AWS_LAMBDA_RUNTIME_API, AWS_REGION, LAMBDA_TASK_ROOT"
        );
        assert_eq!(refusal, invalid(text));
    }
    let allowed = json!({"Environment": {"Variables": {"TZ": ":UTC", "PATH": "/x", "PYTHONPATH": "/y"}}});
    assert!(rig.here.create("allowed", allowed).await.is_ok());
    let levels = json!({"LoggingConfig": {"LogFormat": "Text", "ApplicationLogLevel": "WARN"}});
    for refusal in refused(&rig, levels).await {
        assert_eq!(
            refusal,
            invalid("ApplicationLogLevel and SystemLogLevel can only be set with the log format JSON.")
        );
    }
}
