//! Our own pages.

use std::sync::atomic::Ordering;

use crate::server::{Answer, Server, send, sqs, start};

async fn get(server: &Server, path: &str) -> Answer {
    send(server.http, &format!("GET {path} HTTP/1.1"), b"").await
}

#[tokio::test]
async fn health_is_told() {
    let server = start().await;
    assert_eq!(get(&server, "/livez").await.status, 200);
    assert_eq!(get(&server, "/readyz").await.status, 200);
    server.ready.store(false, Ordering::SeqCst);
    assert_eq!(get(&server, "/readyz").await.status, 503);
    let health = get(&server, "/_localstack/health").await;
    assert!(health.text().contains(r#""sqs": "available""#), "{}", health.text());
    assert_eq!(send(server.http, "POST /livez HTTP/1.1", b"").await.status, 405);
}

#[tokio::test]
async fn what_is_answered_is_counted() {
    let server = start().await;
    send(server.http, &sqs("CreateQueue"), br#"{"QueueName":"q"}"#).await;
    send(server.http, &sqs("CreateQueue"), b"{}").await;
    send(server.http, "GET /nonsense HTTP/1.1", b"").await;
    let page = get(&server, "/metrics").await;
    assert!(page.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    for line in [
        r#"lambfold_gateway_requests_total{service="sqs",operation="CreateQueue",protocol="http",status="200"} 1"#,
        r#"lambfold_gateway_requests_total{service="sqs",operation="CreateQueue",protocol="http",status="400"} 1"#,
        r#"lambfold_gateway_requests_total{service="none",operation="none",protocol="http",status="403"} 1"#,
        r#"lambfold_gateway_request_duration_seconds_count{service="sqs",operation="CreateQueue"} 2"#,
        "lambfold_gateway_requests_in_flight 0",
        "# EOF",
    ] {
        assert!(page.text().contains(line), "{line}\n{}", page.text());
    }
}

#[tokio::test]
async fn traces_and_packages_are_shown() {
    let server = start().await;
    let id = "5759e988bd862e3fe1be46a994272793";
    for path in [
        format!("/_lambfold/traces/{id}"),
        "/_lambfold/traces/1-5759e988-bd862e3fe1be46a994272793".to_owned(),
    ] {
        let page = get(&server, &path).await;
        let page: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
        assert_eq!(page["spans"][0]["name"], "queue.send");
        assert_eq!(page["spans"][0]["trace_id"], id);
        assert_eq!(page["spans"][0]["start_us"], 7);
    }
    let package = get(&server, &format!("/_lambfold/packages/{}.zip?token=x", "AB".repeat(32))).await;
    assert_eq!((package.status, package.body.as_slice()), (200, &b"PK"[..]));
    for path in
        ["/_lambfold/", "/_lambfold/traces/x", "/_lambfold/packages/../../etc/passwd", "/_localstack/x"]
    {
        assert_eq!(get(&server, path).await.status, 404, "{path}");
    }
    let missing = format!("/_lambfold/packages/{}", "0".repeat(64));
    assert_eq!(get(&server, &missing).await.status, 404);
}
