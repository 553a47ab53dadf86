//! Health and metrics: there for everybody, whoever may do what.

use std::sync::atomic::Ordering;

use lambfold_gateway::Options;
use serde_json::{Value, json};

use crate::client::{FORM, sqs};
use crate::edge::Edge;
use crate::log::{NOTHING, Policy};

#[tokio::test]
async fn health_is_told_to_everybody() {
    let edge = Edge::with(Policy::Deny, Options::default()).await;
    let mut client = edge.client().await;
    for is_ready in [true, false, true] {
        edge.ready.store(is_ready, Ordering::SeqCst);
        for query in ["", "?verbose=1"] {
            let live = client.ask(&format!("GET /livez{query} HTTP/1.1"), b"").await;
            assert_eq!((live.status, &*live.body), (200, "live\n"), "alive, ready or not");
            let ready = client.ask(&format!("GET /readyz{query} HTTP/1.1"), b"").await;
            let expected = if is_ready { (200, "ready\n") } else { (503, "not ready\n") };
            assert_eq!((ready.status, &*ready.body), expected);
        }
    }
    let health = client.ask("GET /_localstack/health HTTP/1.1", b"").await;
    assert_eq!(health.header("content-type"), Some("application/json"));
    let health: Value = serde_json::from_str(&health.body).unwrap();
    assert_eq!(health["services"], json!({ "sqs": "available", "lambda": "available", "logs": "available" }));
    for page in ["/livez", "/readyz", "/metrics", "/_localstack/health"] {
        for method in ["POST", "PUT", "DELETE"] {
            let answer = client.ask(&format!("{method} {page} HTTP/1.1"), b"").await;
            assert_eq!(answer.status, 405, "{method} {page}");
        }
    }
    assert_eq!(client.ask("GET /livezz HTTP/1.1", b"").await.status, 403, "AWS's, not ours");
    assert_eq!(edge.log.take(), NOTHING);
}

#[tokio::test]
async fn metrics_count_what_was_answered_under_names_of_the_table_only() {
    let edge = Edge::start().await;
    let mut client = edge.client().await;
    for _ in 0..3 {
        client.ask(&sqs("ListQueues"), b"{}").await;
    }
    client.ask(FORM, b"Action=PurgeQueue&QueueUrl=q").await;
    client.ask(&sqs("Invented"), b"{}").await;
    client.ask(FORM, b"Action=Invented").await;
    client.ask("GET /2015-03-31/functions/invented/configuration HTTP/1.1", b"").await;
    client.ask("GET /invented HTTP/1.1", b"").await;
    let page = client.ask("GET /metrics HTTP/1.1", b"").await;
    assert!(page.header("content-type").unwrap().starts_with("application/openmetrics-text; version=1.0.0"));
    let page = page.body;
    for (labels, count) in [
        (r#"service="sqs",operation="ListQueues",protocol="http",status="200""#, 3),
        (r#"service="sqs",operation="PurgeQueue",protocol="http",status="500""#, 1),
        (r#"service="lambda",operation="GetFunctionConfiguration",protocol="http",status="200""#, 1),
        (r#"service="none",operation="none",protocol="http",status="400""#, 2),
        (r#"service="none",operation="none",protocol="http",status="403""#, 1),
    ] {
        let line = format!("lambfold_gateway_requests_total{{{labels}}} {count}\n");
        assert!(page.contains(&line), "{line}{page}");
    }
    assert!(page.contains("\nlambfold_gateway_requests_in_flight 0\n"), "{page}");
    assert!(!page.to_lowercase().contains("invented"), "{page}");
    assert!(page.ends_with("# EOF\n"), "{page}");
}
