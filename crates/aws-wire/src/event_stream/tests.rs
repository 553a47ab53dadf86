use futures_util::FutureExt;
use lambfold_api::logs::start_live_tail_response_stream::Frame as LiveTailFrame;
use lambfold_api::logs::{LOGS_START_LIVE_TAIL, LiveTailSessionStart, StartLiveTailResponseStream};

use super::*;
use crate::AwsJson;

/// Takes one message apart, with a reader's checks.
fn read(bytes: &mut &[u8]) -> (Vec<(String, String)>, Vec<u8>) {
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let (total, headers) = (number(0) as usize, number(4) as usize);
    assert_eq!(number(8), crc32fast::hash(&bytes[..8]));
    assert_eq!(number(total - 4), crc32fast::hash(&bytes[..total - 4]));
    let (message, rest) = bytes.split_at(total);
    *bytes = rest;
    let mut left = &message[12..12 + headers];
    let mut found = Vec::new();
    while let [length, after @ ..] = left {
        let (name, after) = after.split_at(usize::from(*length));
        assert_eq!(after[0], 7);
        let length = usize::from(u16::from_be_bytes([after[1], after[2]]));
        found.push((
            String::from_utf8(name.to_vec()).unwrap(),
            String::from_utf8(after[3..3 + length].to_vec()).unwrap(),
        ));
        left = &after[3 + length..];
    }
    (found, message[12 + headers..total - 4].to_vec())
}

/// The message without headers and payload that the specification's test suite calls `empty_message`.
#[test]
fn the_empty_message_is_as_published() {
    assert_eq!(
        message(&[], b"").unwrap(),
        [0, 0, 0, 16, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff].as_slice()
    );
}

#[test]
fn what_is_too_large_is_not_written() {
    assert!(message(&[("n", &"v".repeat(1 << 16))], b"").is_none());
    assert!(message(&[], &vec![0; MOST_PAYLOAD_BYTES + 1]).is_none());
}

#[test]
fn a_stream_begins_with_the_response_and_ends_with_its_failure() {
    let start = LiveTailSessionStart { session_id: Some("s".into()), ..LiveTailSessionStart::default() };
    let frames = [
        Ok(StartLiveTailResponseStream { frame: Some(LiveTailFrame::SessionStart(start)) }),
        Err(Fault::new(lambfold_api::logs::ErrorCode::SessionTimeoutException, "over")),
        Ok(StartLiveTailResponseStream::default()),
    ];
    let answer = EventStreams::rpc(AwsJson)
        .encode_stream(&LOGS_START_LIVE_TAIL, Box::pin(futures_util::stream::iter(frames)))
        .now_or_never()
        .unwrap()
        .unwrap();
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/vnd.amazon.eventstream");
    let Answer::Stream(body) = answer.into_body() else { panic!("a stream") };
    let written: Vec<Bytes> = body.map(Result::unwrap).collect().now_or_never().unwrap();
    let whole = written.concat();
    let mut bytes = whole.as_slice();
    let text = |value: &str| value.to_owned();
    let (headers, payload) = read(&mut bytes);
    assert_eq!(headers[0], (text(":event-type"), text("initial-response")));
    assert_eq!(payload, b"{}");
    let (headers, payload) = read(&mut bytes);
    assert_eq!(headers[0], (text(":event-type"), text("sessionStart")));
    assert_eq!(payload, br#"{"sessionId":"s"}"#);
    let (headers, payload) = read(&mut bytes);
    assert_eq!(headers[0], (text(":exception-type"), text("SessionTimeoutException")));
    assert_eq!(payload, br#"{"message":"over"}"#);
    assert!(bytes.is_empty(), "nothing follows an exception");
}

proptest::proptest! {
    #[test]
    fn messages_survive_a_round_trip(name in "[a-z:-]{1,20}", value in "\\PC{0,50}", payload: Vec<u8>) {
        let written = message(&[(&name, &value)], &payload).unwrap();
        let mut bytes = written.as_ref();
        let (headers, read) = read(&mut bytes);
        proptest::prop_assert_eq!(headers, vec![(name, value)]);
        proptest::prop_assert_eq!(read, payload);
    }
}
