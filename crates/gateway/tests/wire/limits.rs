//! Bodies that are too large.

use lambfold_api::sqs::{SQS_SEND_MESSAGE, SendMessageRequest};
use lambfold_gateway::Options;
use prost::Message;
use tokio::io::AsyncWriteExt;
use tonic::Code;

use crate::client::{FORM, sqs};
use crate::edge::{Edge, within};
use crate::h2;
use crate::log::{NOTHING, Policy};

async fn small() -> Edge {
    Edge::with(Policy::Serve, Options { max_body_bytes: 10_000, ..Options::default() }).await
}

const CREATE_FUNCTION: &str = "POST /2015-03-31/functions HTTP/1.1";

/// Announced and never sent: the answer does not wait for it, and comes in the words of the protocol.
#[tokio::test]
async fn an_announcement_is_enough_to_be_refused() {
    let edge = small().await;
    let json = sqs("SendMessage");
    for (head, shape) in [
        (json.as_str(), "com.amazon.coral.service#RequestEntityTooLargeException"),
        (FORM, "<Type>Sender</Type><Code>RequestEntityTooLarge</Code>"),
        (CREATE_FUNCTION, r#""Type":"User","Message":"Request must be smaller than 10000 bytes"#),
    ] {
        for announcement in ["Content-Length: 999999999999", "Expect: 100-continue\r\nContent-Length: 10001"]
        {
            let mut client = edge.client().await;
            client.send(format!("{head}\r\n{announcement}\r\n\r\n").as_bytes()).await;
            let answer = client.answer().await.unwrap();
            assert_eq!(answer.status, 413, "{head} {announcement}");
            assert!(answer.body.contains(shape), "{answer:?}");
            assert_eq!(client.rest().await, b"", "what may come yet is not read");
        }
    }
    assert_eq!(edge.log.take(), NOTHING);
}

#[tokio::test]
async fn a_body_up_to_the_limit_is_taken_and_one_byte_more_is_not() {
    let edge = small().await;
    let json = r#"{"QueueName":"q"}"#;
    for (size, status) in [(10_000, 200), (10_001, 413)] {
        let body = format!("{json:size$}");
        let mut client = edge.client().await;
        assert_eq!(client.ask(&sqs("CreateQueue"), body.as_bytes()).await.status, status);
        // In pieces that nobody announced.
        let mut client = edge.client().await;
        client.send(format!("{}\r\nTransfer-Encoding: chunked\r\n\r\n", sqs("CreateQueue")).as_bytes()).await;
        for piece in body.as_bytes().chunks(999) {
            client.send(format!("{:x}\r\n", piece.len()).as_bytes()).await;
            client.send(&[piece, b"\r\n"].concat()).await;
        }
        client.send(b"0\r\n\r\n").await;
        assert_eq!(client.answer().await.unwrap().status, status);
    }
}

/// A client that sends without end is listened to for a while, so that it may hear the answer, and then no more.
#[tokio::test]
async fn an_endless_body_is_not_read_to_its_end() {
    const ENOUGH: usize = 128 << 20;
    let edge = small().await;
    let mut client = edge.client().await;
    client.send(format!("{}\r\nTransfer-Encoding: chunked\r\n\r\n", sqs("SendMessage")).as_bytes()).await;
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    let mut sent = 0;
    while sent < ENOUGH && within(client.stream.write_all(&chunk)).await.is_ok() {
        sent += chunk.len();
    }
    assert!(sent < ENOUGH, "the edge still listens after {sent} bytes");
    assert_eq!(edge.log.take(), NOTHING);
    assert!(edge.is_well().await);
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on() {
    let edge = Edge::start().await;
    let mut client = edge.client().await;
    let head = format!("{}\r\nExpect: 100-continue\r\nContent-Length: 17\r\n\r\n", sqs("CreateQueue"));
    client.send(head.as_bytes()).await;
    assert_eq!(client.answer().await.unwrap().status, 100);
    client.send(br#"{"QueueName":"q"}"#).await;
    assert_eq!(client.answer().await.unwrap().status, 200);
}

#[tokio::test]
async fn a_message_over_grpc_has_the_limit_of_its_operation() {
    let edge = Edge::start().await;
    let sender = h2::connect(edge.grpc).await;
    let (most, path) = (SQS_SEND_MESSAGE.max_request_bytes, SQS_SEND_MESSAGE.rpc_path);
    for (extra, code) in [(0, Code::Ok), (1, Code::ResourceExhausted)] {
        let mut input =
            SendMessageRequest { queue_url: Some("q".to_owned()), ..SendMessageRequest::default() };
        // A tag and three bytes of length stand before the text.
        input.message_body = Some("b".repeat(most + extra - input.encoded_len() - 4));
        assert_eq!(input.encoded_len(), most + extra);
        let answer = h2::rpc(sender.clone(), path, &[], &input.encode_to_vec()).await;
        assert_eq!(answer.map_or_else(|status| status.code(), |_| Code::Ok), code);
    }
    assert_eq!(edge.log.take(), ["ask sqs:SendMessage", "call sqs:SendMessage"]);
}
