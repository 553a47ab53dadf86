//! Clients that are broken, slow, greedy or gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lambfold_api::authorize::AllowAll;
use lambfold_gateway::Options;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{ask, eventually, pause, read_answer, send, sqs, start, start_with, within};

/// Whether the connection ends without a further byte being sent.
async fn is_hung_up_on(mut stream: TcpStream) -> bool {
    let mut rest = Vec::new();
    within(stream.read_to_end(&mut rest)).await.is_ok_and(|_| !rest.starts_with(b"HTTP/1.1 200"))
}

#[tokio::test]
async fn malformed_bodies_are_told_so() {
    let server = start().await;
    let deep = "{\"a\":".repeat(50_000);
    for body in ["", "{", "[]", "null", "\"text\"", "\u{0}", r#"{"QueueName":7}"#, &deep] {
        let answer = send(server.http, &sqs("CreateQueue"), body.as_bytes()).await;
        assert_eq!(answer.status, 400, "{body:.20}");
        assert!(
            answer.text().contains("com.amazon.coral.service#SerializationException"),
            "{}",
            answer.text()
        );
        assert!(answer.header("x-amzn-requestid").is_some());
    }
    let answer = send(server.http, &sqs("SendMessage"), br#"{"QueueUrl":"q"}"#).await;
    assert_eq!(answer.header("x-amzn-query-error"), Some("MissingParameter;Sender"));
    for target in ["MakeCoffee", ""] {
        let answer = send(server.http, &sqs(target), b"{}").await;
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("UnknownOperationException"), "{}", answer.text());
    }
    assert_eq!(send(server.http, "GET /nonsense HTTP/1.1", b"").await.status, 403);
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused() {
    let options = Options { max_body_bytes: 100_000, ..Options::default() };
    let server = start_with(options, Arc::new(AllowAll)).await;
    // One that is announced and does not come: answered at once.
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    let head = format!("{}\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n", sqs("SendMessage"));
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = within(read_answer(&mut stream)).await.unwrap();
    assert_eq!(answer.status, 413);
    assert!(answer.text().contains("RequestEntityTooLargeException"), "{}", answer.text());
    // One that comes: read past, so that its sender hears the answer.
    let answer = send(server.http, &sqs("SendMessage"), &vec![b' '; 1_000_000]).await;
    assert_eq!(answer.status, 413);
    // In chunks, without an announcement.
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    let head = format!("{}\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", sqs("SendMessage"));
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..200 {
        stream.write_all(format!("3e8\r\n{}\r\n", " ".repeat(1000)).as_bytes()).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(within(read_answer(&mut stream)).await.unwrap().status, 413);
    // A client that asks first is spared the sending.
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    let head = format!(
        "{}\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 200000\r\n\r\n",
        sqs("SendMessage")
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(within(read_answer(&mut stream)).await.unwrap().status, 413);
}

#[tokio::test]
async fn large_bodies_within_the_limit_arrive_whole() {
    let server = start().await;
    let zip = "A".repeat(20_000_000);
    let body = format!(
        r#"{{"FunctionName":"f","Role":"arn:aws:iam::000000000000:role/r","Code":{{"ZipFile":"{zip}"}}}}"#
    );
    let answer = send(server.http, "POST /2015-03-31/functions HTTP/1.1", body.as_bytes()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.text(), r#"{"CodeSize":15000000}"#);
}

#[tokio::test]
async fn stopping_ends_long_polls_and_finishes_what_runs() {
    let server = start().await;
    let waiting = server.sqs.waiting.clone();
    let http = server.http;
    let polling =
        tokio::spawn(async move { send(http, &sqs("ReceiveMessage"), br#"{"QueueUrl":"q"}"#).await });
    let idle = TcpStream::connect(server.http).await.unwrap();
    let input = br#"{"QueueUrl":"q","TagKeys":["k"]}"#;
    let busy = tokio::spawn(async move { send(http, &sqs("UntagQueue"), input).await });
    eventually("both are under way", || waiting.load(Ordering::SeqCst) == 2).await;
    server.stop.cancel();
    let answer = polling.await.unwrap();
    assert_eq!((answer.status, answer.text()), (200, "{}"));
    // Longer than a connection that has nothing to do may take to say goodbye.
    pause(Duration::from_millis(1500)).await;
    assert!(!busy.is_finished());
    server.sqs.go_on.notify_one();
    assert_eq!(busy.await.unwrap().status, 200);
    within(server.running).await.unwrap();
    assert!(is_hung_up_on(idle).await);
    assert!(TcpStream::connect(server.http).await.is_err());
}

#[tokio::test]
async fn connections_over_the_bound_wait_for_room() {
    let server = start_with(Options { max_connections: 1, ..Options::default() }, Arc::new(AllowAll)).await;
    let mut first = TcpStream::connect(server.http).await.unwrap();
    assert_eq!(ask(&mut first, "GET /livez HTTP/1.1", b"").await.status, 200);
    let http = server.http;
    let second = tokio::spawn(async move { send(http, "GET /livez HTTP/1.1", b"").await });
    // The first is still served while the second waits, which has time enough for an answer if it got one.
    for _ in 0..100 {
        assert_eq!(ask(&mut first, "GET /livez HTTP/1.1", b"").await.status, 200);
    }
    assert!(!second.is_finished());
    drop(first);
    assert_eq!(within(second).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_failing_or_panicking_service_takes_down_one_request_only() {
    let server = start().await;
    let answer = send(server.http, &sqs("PurgeQueue"), br#"{"QueueUrl":"q"}"#).await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.header("x-amzn-query-error"), Some("InternalFailure;Receiver"));
    server.sqs.panics.store(true, Ordering::SeqCst);
    let answer = send(server.http, &sqs("PurgeQueue"), br#"{"QueueUrl":"q"}"#).await;
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("#InternalFailure"), "{}", answer.text());
}
