//! Answers that come piece by piece.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lambfold_api::authorize::AllowAll;
use lambfold_api::logs::LOGS_START_LIVE_TAIL;
use lambfold_gateway::Options;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fake_logs::FLOOD_BYTES;
use crate::server::{Server, eventually, pause, start, start_with, target_of, within};

async fn tail(server: &Server, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    let head = target_of(&LOGS_START_LIVE_TAIL);
    let request = format!("{head}\r\nHost: edge:4566\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn read_until(stream: &mut TcpStream, seen: &mut Vec<u8>, wanted: &[u8]) {
    let reading = async {
        while !seen.windows(wanted.len()).any(|window| window == wanted) {
            assert_ne!(
                stream.read_buf(seen).await.unwrap(),
                0,
                "ended after {}",
                String::from_utf8_lossy(seen)
            );
        }
    };
    within(reading).await;
}

#[tokio::test]
async fn frames_are_written_as_they_come_and_the_stream_ends_with_the_server() {
    let server = start().await;
    let mut stream = tail(&server, r#"{"logGroupIdentifiers":["g"]}"#).await;
    let mut seen = Vec::new();
    // The second frame is an hour away: this one was not kept back for it.
    read_until(&mut stream, &mut seen, b"sessionStart").await;
    let text = String::from_utf8_lossy(&seen).to_ascii_lowercase();
    assert!(text.starts_with("http/1.1 200 ok"), "{text}");
    assert!(text.contains("transfer-encoding: chunked"), "{text}");
    assert!(text.contains("content-type: application/vnd.amazon.eventstream"), "{text}");
    assert!(text.contains("initial-response"), "{text}");
    server.stop.cancel();
    // The last chunk: an end, not a broken connection.
    read_until(&mut stream, &mut seen, b"\r\n0\r\n\r\n").await;
    within(server.running).await.unwrap();
}

#[tokio::test]
async fn who_does_not_read_is_not_written_to() {
    let server = start().await;
    let mut stream = tail(&server, r#"{"logGroupIdentifiers":["g"],"logEventFilterPattern":"flood"}"#).await;
    let mut seen = Vec::new();
    read_until(&mut stream, &mut seen, b"sessionStart").await;
    let asked_for = || server.logs.asked_for.load(Ordering::SeqCst);
    // The sockets' own buffers fill, and then nothing more is asked of the service.
    let mut before = 0;
    while asked_for() != before {
        before = asked_for();
        pause(Duration::from_millis(300)).await;
    }
    assert!(before * FLOOD_BYTES < 64 << 20, "{before} frames were taken");
    // Who goes away ends the stream.
    let frames = Arc::downgrade(&server.logs.asked_for);
    let held = frames.strong_count();
    drop(stream);
    eventually("the stream let go of", || frames.strong_count() < held).await;
}

#[tokio::test]
async fn who_takes_nothing_for_too_long_gets_no_more() {
    let body_timeout = Duration::from_millis(300);
    let options = Options { body_timeout, ..Options::default() };
    let server = start_with(options, Arc::new(AllowAll)).await;
    let mut quiet = tail(&server, r#"{"logGroupIdentifiers":["g"]}"#).await;
    let mut seen = Vec::new();
    read_until(&mut quiet, &mut seen, b"sessionStart").await;
    let frames = Arc::downgrade(&server.logs.asked_for);
    let held = frames.strong_count();
    let stalled = tail(&server, r#"{"logGroupIdentifiers":["g"],"logEventFilterPattern":"flood"}"#).await;
    eventually("the stream began", || frames.strong_count() > held).await;
    // It is still connected, and reads nothing.
    eventually("the stream let go of", || frames.strong_count() == held).await;
    drop(stalled);
    // Who waits for more, and would take it, is not meant, however long that is.
    pause(body_timeout * 2).await;
    assert_eq!(frames.strong_count(), held);
}
