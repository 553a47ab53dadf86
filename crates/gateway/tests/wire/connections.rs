//! Many requests on one connection: one after the other, ahead of their answers, and beside each other.

use std::collections::BTreeSet;

use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;

use crate::client::{FORM, create_queue, request, sqs};
use crate::edge::{Edge, eventually, within};
use crate::h2;

#[tokio::test]
async fn a_connection_is_kept_whatever_is_answered_on_it() {
    let edge = Edge::start().await;
    let mut client = edge.client().await;
    let mut ids = BTreeSet::new();
    for round in 0..40 {
        for (head, body, status) in [
            (sqs("CreateQueue"), r#"{"QueueName":"q"}"#, 200),
            (sqs("CreateQueue"), "{", 400),
            (sqs("MakeCoffee"), "{}", 400),
            (sqs("GetQueueUrl"), r#"{"QueueName":"none"}"#, 400),
            (sqs("PurgeQueue"), r#"{"QueueUrl":"q"}"#, 500),
            (FORM.to_owned(), "Action=CreateQueue&QueueName=q", 200),
            (FORM.to_owned(), "Version=2012-11-05", 400),
            ("GET /2015-03-31/functions HTTP/1.1".to_owned(), "", 200),
            ("GET /nowhere HTTP/1.1".to_owned(), "", 403),
        ] {
            let answer = client.ask(&head, body.as_bytes()).await;
            assert_eq!(answer.status, status, "{round}: {head} {answer:?}");
            assert!(ids.insert(answer.request_id()), "no request id comes twice");
        }
        assert_eq!(client.ask("GET /livez HTTP/1.1", b"").await.status, 200);
    }
    let page = client.ask("GET /metrics HTTP/1.1", b"").await;
    assert!(page.body.contains("lambfold_gateway_connections{listener=\"http\"} 1\n"), "{}", page.body);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let edge = Edge::start().await;
    let mut client = edge.client().await;
    let mut bytes = Vec::new();
    for n in 0..50 {
        bytes.extend(create_queue(&format!("q{n}")));
        bytes.extend(request("GET /readyz HTTP/1.1", b""));
        bytes.extend(request(&sqs("CreateQueue"), b"[]"));
    }
    client.send(&bytes).await;
    for n in 0..50 {
        let url = format!(r#"{{"QueueUrl":"http://edge:4566/000000000000/q{n}"}}"#);
        assert_eq!(client.answer().await.unwrap().body, url);
        assert_eq!(client.answer().await.unwrap().body, "ready\n");
        assert_eq!(client.answer().await.unwrap().status, 400);
    }
}

#[tokio::test]
async fn a_body_is_not_taken_for_the_next_request() {
    let edge = Edge::start().await;
    let inner = request("GET /readyz HTTP/1.1", b"");
    // Read, refused by its route before it is read, and of one of our own pages.
    for head in [sqs("CreateQueue"), "POST /nowhere HTTP/1.1".to_owned(), "GET /livez HTTP/1.1".to_owned()] {
        let mut client = edge.client().await;
        client.send(&request(&head, &inner)).await;
        client.stream.shutdown().await.unwrap();
        let told = String::from_utf8(client.rest().await).unwrap();
        assert_eq!(told.matches("HTTP/1.1 ").count(), 1, "{told}");
        assert!(!told.contains("ready\n"), "{told}");
    }
}

#[tokio::test]
async fn a_client_that_wants_to_part_is_let_go() {
    let edge = Edge::start().await;
    for head in ["GET /livez HTTP/1.0", "GET /livez HTTP/1.1\r\nConnection: close"] {
        let mut client = edge.client().await;
        assert_eq!(client.ask(head, b"").await.status, 200);
        assert_eq!(client.rest().await, b"");
    }
}

#[tokio::test]
async fn streams_of_http2_do_not_wait_for_each_other() {
    let edge = Edge::start().await;
    let mut sender = h2::connect(edge.http).await;
    let poll = sender.send_request(h2::sqs("ReceiveMessage", r#"{"QueueUrl":"q"}"#));
    let poll = tokio::spawn(poll);
    eventually("the long poll waits", || edge.log.pending() == 1).await;
    let asked: Vec<_> = (0..50)
        .map(|n| sender.send_request(h2::sqs("CreateQueue", &format!(r#"{{"QueueName":"q{n}"}}"#))))
        .collect();
    let mut ids = BTreeSet::new();
    for (n, answer) in asked.into_iter().enumerate() {
        let answer = within(answer).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(ids.insert(answer.headers()["x-amzn-requestid"].clone()));
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, format!(r#"{{"QueueUrl":"http://over-h2:4566/000000000000/q{n}"}}"#));
    }
    assert!(!poll.is_finished());
}
