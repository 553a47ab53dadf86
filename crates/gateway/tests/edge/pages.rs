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

#[tokio::test]
async fn messages_are_shown_as_localstack_shows_them() {
    let server = start().await;
    let url = "http%3A%2F%2Fx%2F000000000000%2Fq";
    let json = async |path: &str| {
        let head = format!("GET /_aws/sqs/messages{path} HTTP/1.1\r\nAccept: application/json");
        let page = send(server.http, &head, b"").await;
        assert_eq!(page.header("content-type"), Some("application/json"));
        let page: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
        page["ReceiveMessageResponse"]["ReceiveMessageResult"]["Message"].clone()
    };
    let one = json(&format!("?QueueUrl={url}")).await;
    assert_eq!(one["Body"], "one of http://x/000000000000/q in us-east-1", "one alone is no list");
    assert_eq!(one["ReceiptHandle"], "SQS/BACKDOOR/ACCESS");
    assert_eq!(one["Attribute"]["Name"], "SentTimestamp");
    let all = json(&format!("?QueueUrl={url}&ShowInvisible=true&ShowDelayed=true")).await;
    assert_eq!(all.as_array().map(Vec::len), Some(3));
    let path = json("/eu-west-1/123456789012/q").await["Body"].as_str().unwrap().to_owned();
    assert!(path.ends_with("/123456789012/q in eu-west-1"), "{path}");
    let xml = get(&server, &format!("/_aws/sqs/messages?QueueUrl={url}")).await;
    assert!(xml.text().contains("<ReceiveMessageResult><Message>"), "{}", xml.text());
    let refused = get(&server, "/_aws/sqs/messages").await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("<Code>MissingParameter</Code>"), "{}", refused.text());
    assert_eq!(send(server.http, "POST /_aws/sqs/messages HTTP/1.1", b"").await.status, 405);
}
