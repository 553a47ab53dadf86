//! Clients that take their time. The edge's own clock stands still but where a test moves it.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use lambfold_api::sqs::SQS_SEND_MESSAGE;
use lambfold_gateway::Options;
use lambfold_types::Clock;
use tonic::{Code, Status};

use crate::client::{Client, create_queue, request, sqs};
use crate::edge::{Edge, eventually, within};
use crate::h2;
use crate::log::{NOTHING, Policy};

/// Advances the edge's time until it has cut `client` off, in steps that are short beside every timeout, sending
/// `drip` before each. The time that passed.
async fn cut_off_after(edge: &Edge, client: &mut Client, step: Duration, drip: &[u8]) -> Duration {
    within(async {
        let mut passed = Duration::ZERO;
        loop {
            // Lets the edge do what it can at this time.
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            if client.is_cut_off() {
                return passed;
            }
            let _ = client.stream.try_write(drip);
            edge.clock.advance(step);
            passed += step;
        }
    })
    .await
}

#[tokio::test]
async fn a_first_head_has_its_time_and_no_more() {
    let options = Options::default();
    let edge = Edge::start().await;
    let step = options.header_timeout / 10;
    for (address, beginning, drip) in [
        (edge.http, &b""[..], &b""[..]),
        (edge.http, b"POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ", b""),
        // However often something comes.
        (edge.http, b"POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"x"),
        (edge.http, b"PRI * HT", b""),
        (edge.grpc, b"", b""),
        (edge.grpc, b"PRI * HT", b""),
    ] {
        let mut client = Client::connect(address).await;
        client.send(beginning).await;
        let passed = cut_off_after(&edge, &mut client, step, drip).await;
        let shown = String::from_utf8_lossy(beginning);
        assert!(passed >= options.header_timeout, "{shown:?} after {passed:?}");
        assert!(passed <= options.header_timeout * 2, "{shown:?} after {passed:?}");
        assert!(!client.seen().starts_with(b"HTTP/1.1 200"), "{shown:?}");
    }
    assert_eq!(edge.log.take(), NOTHING);
    assert!(edge.is_well().await);
}

#[tokio::test]
async fn a_next_head_has_the_time_of_an_idle_connection() {
    let options = Options::default();
    let edge = Edge::start().await;
    for beginning in [&b""[..], b"POST / HT"] {
        let mut client = edge.client().await;
        assert_eq!(client.ask("GET /livez HTTP/1.1", b"").await.status, 200);
        assert_eq!(client.ask(&sqs("ListQueues"), b"{}").await.status, 200);
        client.send(beginning).await;
        let passed = cut_off_after(&edge, &mut client, options.idle_timeout / 10, b"").await;
        assert!(passed >= options.idle_timeout && passed <= options.idle_timeout * 2, "{passed:?}");
    }
}

#[tokio::test]
async fn who_is_slow_but_in_time_is_served() {
    let options = Options::default();
    let edge = Edge::start().await;
    let mut client = edge.client().await;
    let whole = create_queue("slow");
    let body = whole.len() - 10;
    for (part, pause) in [
        (&whole[..20], options.header_timeout * 9 / 10),
        (&whole[20..body], options.body_timeout * 9 / 10),
        (&whole[body..], Duration::ZERO),
    ] {
        client.send(part).await;
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        edge.clock.advance(pause);
    }
    let answer = client.answer().await.expect("an answer");
    assert_eq!(answer.body, r#"{"QueueUrl":"http://edge:4566/000000000000/slow"}"#);
}

#[tokio::test]
async fn a_body_has_its_time_and_no_more() {
    let options = Options::default();
    let edge = Edge::start().await;
    let chunked = format!("{}\r\nTransfer-Encoding: chunked\r\n\r\n", sqs("CreateQueue"));
    let announced = format!("{}\r\nContent-Length: 1000\r\n\r\n{{", sqs("CreateQueue"));
    let package = "POST /2015-03-31/functions HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{";
    for (head, drip, shape) in [
        (announced.as_str(), &b""[..], "#RequestTimeout"),
        (&announced, b" ", "#RequestTimeout"),
        (&chunked, b"1\r\n \r\n", "#RequestTimeout"),
        (package, b" ", r#""Type":"User""#),
    ] {
        let mut client = edge.client().await;
        client.send(head.as_bytes()).await;
        let passed = cut_off_after(&edge, &mut client, options.body_timeout / 10, drip).await;
        assert!(passed >= options.body_timeout && passed <= options.body_timeout * 2, "{passed:?}");
        let told = String::from_utf8_lossy(client.seen()).into_owned();
        assert!(told.starts_with("HTTP/1.1 408") && told.contains(shape), "{told}");
    }
    assert_eq!(edge.log.take(), NOTHING);
}

#[tokio::test]
async fn a_call_has_its_time_and_no_more() {
    let edge = Edge::start().await;
    let mut client = edge.client().await;
    client.send(&request(&sqs("ReceiveMessage"), br#"{"QueueUrl":"q"}"#)).await;
    eventually("the call waits", || edge.log.pending() == 1).await;
    let timeout = Options::default().request_timeout;
    edge.clock.advance(timeout.saturating_sub(Duration::from_millis(1)));
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(edge.log.pending(), 1);
    edge.clock.advance(Duration::from_millis(1));
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status, edge.log.pending()), (408, 0));
    // The connection is none the worse for it.
    assert_eq!(client.ask("GET /livez HTTP/1.1", b"").await.status, 200);
}

#[tokio::test]
async fn an_invocation_has_a_time_of_its_own() {
    let options = Options { invoke_timeout: Duration::from_hours(2), ..Options::default() };
    let edge = Edge::with(Policy::Serve, options.clone()).await;
    let mut client = edge.client().await;
    let invoke = "POST /2015-03-31/functions/f/invocations HTTP/1.1".to_owned();
    for (head, expected) in [
        (invoke, options.invoke_timeout),
        ("GET /2015-03-31/functions/f HTTP/1.1".to_owned(), options.request_timeout),
        (sqs("ListQueues"), options.request_timeout),
    ] {
        client.ask(&head, b"{}").await;
        assert_eq!(edge.log.context().deadline, Some(edge.clock.now() + expected), "{head}");
    }
}

/// tonic's timers are the machine's: this one takes its time.
#[tokio::test]
async fn a_message_over_grpc_has_its_time() {
    let short = Duration::from_millis(50);
    let options = Options { body_timeout: short, invoke_timeout: short, ..Options::default() };
    let edge = Edge::with(Policy::Serve, options).await;
    let mut sender = h2::connect(edge.grpc).await;
    let body = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
    let request = h2::rpc_request(SQS_SEND_MESSAGE.rpc_path, &[], body.boxed());
    let answer = within(sender.send_request(request)).await.unwrap();
    let status = Status::from_header_map(answer.headers()).expect("a status");
    assert_eq!(status.code(), Code::Cancelled);
    assert_eq!(edge.log.take(), NOTHING);
}
