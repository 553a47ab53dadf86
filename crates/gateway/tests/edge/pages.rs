//! Our own pages.

use crate::server::{Answer, Server, send, start};

async fn get(server: &Server, path: &str) -> Answer {
    send(server.http, &format!("GET {path} HTTP/1.1"), b"").await
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
