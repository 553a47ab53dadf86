//! AWS's Rust runtime client runs unchanged.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use aws_sdk_lambda::operation::invoke::InvokeOutput;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::LogType;
use lambfold_clock::SystemClock;
use lambfold_testkit::{Cluster, Function, Layout, zip_of};
use lambfold_types::Clock;
use serde_json::{Value, json};

async fn invoke(cluster: &Cluster, function: &str, event: Value) -> (InvokeOutput, Value) {
    let answer = cluster
        .lambda()
        .invoke()
        .function_name(function)
        .log_type(LogType::Tail)
        .payload(Blob::new(event.to_string()))
        .send()
        .await
        .unwrap();
    let payload = serde_json::from_slice(answer.payload().unwrap().as_ref()).unwrap();
    (answer, payload)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_errors_and_crashes() {
    let cluster = Cluster::start(Layout::OneNode).await;
    let bootstrap = std::fs::read(env!("CARGO_BIN_EXE_bootstrap")).unwrap();
    let function = Function { runtime: "provided.al2023", file: "bootstrap", source: "", environment: &[] }
        .deploy_archive(&cluster.lambda(), zip_of("bootstrap", &bootstrap))
        .await;

    let (_, first) = invoke(&cluster, &function, json!({"n": 1})).await;
    assert_eq!(first["payload"], json!({"n": 1}));
    assert_eq!(first["function"], json!(function));
    let deadline = first["deadline"].as_i64().unwrap();
    let now = SystemClock::new().now().millis();
    assert!((now - 60_000..now + 4_000).contains(&deadline), "{deadline} at {now}");
    assert_eq!(first["memory"], 128);
    let (answer, second) = invoke(&cluster, &function, json!({"n": 2})).await;
    assert_eq!(first["pid"], second["pid"], "the environment was used again");
    assert_ne!(first["request"], second["request"]);
    assert!(answer.log_result().is_some());

    let (answer, error) = invoke(&cluster, &function, json!({"fail": "no such thing"})).await;
    assert_eq!(answer.function_error(), Some("Unhandled"));
    assert_eq!(error["errorMessage"], "no such thing");

    let (answer, error) = invoke(&cluster, &function, json!({"crash": true})).await;
    assert_eq!(answer.function_error(), Some("Unhandled"));
    assert_eq!(error["errorType"], "Runtime.ExitError");
    let (answer, third) = invoke(&cluster, &function, json!({"n": 3})).await;
    assert_eq!(answer.function_error(), None);
    assert_eq!(third["payload"], json!({"n": 3}));
    cluster.stop().await;
}
