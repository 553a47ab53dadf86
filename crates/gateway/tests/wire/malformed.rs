//! What is no request, or not a whole one.

use tokio::io::AsyncWriteExt;

use crate::client::{Client, create_queue, request, sqs};
use crate::edge::Edge;
use crate::log::NOTHING;

#[tokio::test]
async fn what_is_no_http_is_told_so_and_hung_up_on() {
    let edge = Edge::start().await;
    let long_target = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    let large_header = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    for (bytes, status) in [
        (&[0; 64][..], 400),
        (b"\xff\xfe\xfd\xfc\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nna me: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nx: \0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03TLS\r\n\r\n", 400),
        (long_target.as_bytes(), 414),
        (many_headers.as_bytes(), 431),
        (large_header.as_bytes(), 431),
    ] {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        let mut client = edge.client().await;
        // The edge may have had enough before it has everything.
        let _ = client.stream.write_all(bytes).await;
        let answer = client.answer().await.unwrap_or_else(|| panic!("an answer to {shown:?}"));
        assert_eq!(answer.status, status, "{shown:?}");
        assert_eq!(client.rest().await, b"", "nothing follows {shown:?}");
        assert_eq!(edge.log.take(), NOTHING, "{shown:?}");
        assert!(edge.is_well().await, "after {shown:?}");
    }
}

#[tokio::test]
async fn what_only_begins_like_http2_is_hung_up_on() {
    let edge = Edge::start().await;
    let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for address in [edge.http, edge.grpc] {
        for then in [
            &b"nonsense-nonsense-nonsense"[..],
            // A frame larger than any that was allowed.
            b"\xff\xff\xff\x04\0\0\0\0\0",
            // HEADERS on stream 0.
            b"\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x04\0\0\0\0\x82",
            // HEADERS that no HPACK table decodes.
            b"\0\0\0\x04\0\0\0\0\0\0\0\x02\x01\x05\0\0\0\x01\xff\xff",
        ] {
            let mut client = Client::connect(address).await;
            client.send(&[preface, then].concat()).await;
            client.rest().await;
            assert!(edge.is_well().await, "after {then:?}");
        }
    }
    assert_eq!(edge.log.take(), NOTHING);
}

/// Cut off at every byte: nothing of it reaches a service, and only the whole does.
#[tokio::test]
async fn half_a_request_is_none() {
    let edge = Edge::start().await;
    let chunked = format!("{}\r\nTransfer-Encoding: chunked\r\n\r\n", sqs("CreateQueue"));
    let chunked = format!("{chunked}a\r\n{{\"QueueNam\r\n8\r\ne\":\"q\"}} \r\n0\r\n\r\n").into_bytes();
    let form = request(crate::client::FORM, b"Action=CreateQueue&QueueName=queue");
    for whole in [create_queue("q"), chunked, form] {
        for end in 0..whole.len() {
            let mut client = edge.client().await;
            client.send(&whole[..end]).await;
            client.stream.shutdown().await.unwrap();
            let told = client.rest().await;
            assert!(
                told.is_empty() || told.starts_with(b"HTTP/1.1 400"),
                "{}",
                String::from_utf8_lossy(&told)
            );
            assert_eq!(edge.log.take(), NOTHING, "{}", String::from_utf8_lossy(&whole[..end]));
        }
        let mut client = edge.client().await;
        client.send(&whole).await;
        assert_eq!(client.answer().await.unwrap().status, 200);
        assert_eq!(edge.log.take(), ["ask sqs:CreateQueue", "call sqs:CreateQueue"]);
    }
    assert!(edge.is_well().await);
}

#[tokio::test]
async fn chunks_that_are_none_are_told_so() {
    let edge = Edge::start().await;
    for chunks in
        ["zz\r\n{}\r\n0\r\n\r\n", "ffffffffffffffffff\r\n{}", "2\r\n{}x\r\n0\r\n\r\n", "-1\r\n{}\r\n"]
    {
        let mut client = edge.client().await;
        let head = format!("{}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}", sqs("CreateQueue"));
        client.send(head.as_bytes()).await;
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.status, 400, "{chunks:?}");
        assert!(answer.body.contains("#SerializationException"), "{answer:?}");
        assert_eq!(client.rest().await, b"", "{chunks:?}");
    }
    assert_eq!(edge.log.take(), NOTHING);
    assert!(edge.is_well().await);
}
