//! Answers that are passed on as they come.

use futures_util::StreamExt;
use lambfold_api::control::FunctionVersion;
use lambfold_api::worker::invoke_frame::Frame;
use lambfold_api::worker::{InvokeRequest, InvokeResponse, Worker};

use crate::support::{Rig, context, json, success, unique};

/// What came of a streamed invocation.
struct Streamed {
    content_type: Option<String>,
    pieces: Vec<Vec<u8>>,
    end: InvokeResponse,
}

impl Streamed {
    fn body(&self) -> Vec<u8> {
        self.pieces.concat()
    }
}

fn request(environment: &str, function: Option<&FunctionVersion>, event: &str) -> InvokeRequest {
    InvokeRequest {
        environment_id: environment.into(),
        function: function.cloned(),
        request_id: unique(),
        payload: event.to_owned().into(),
        invoked_function_arn: "arn:aws:lambda:us-east-1:000000000000:function:f".into(),
        log_tail: true,
        ..InvokeRequest::default()
    }
}

async fn stream(rig: &Rig, environment: &str, function: Option<&FunctionVersion>, event: &str) -> Streamed {
    let request = request(environment, function, event);
    let mut frames = rig.worker.invoke_stream(&context(), request).await.unwrap();
    let (mut content_type, mut pieces) = (None, Vec::new());
    loop {
        match frames.next().await.expect("an end").unwrap().frame.unwrap() {
            Frame::Head(head) => content_type = Some(head.content_type),
            Frame::Chunk(bytes) => pieces.push(bytes.to_vec()),
            Frame::End(end) => {
                assert!(frames.next().await.is_none(), "nothing comes after the end");
                return Streamed { content_type, pieces, end };
            }
        }
    }
}

/// Its event says what it streams: `words`, with a pause in between, then perhaps an error, or its own end.
const NODE: &str = r"
const { setTimeout: pause } = require('timers/promises');
let invocations = 0;
exports.handler = awslambda.streamifyResponse(async (event, stream, context) => {
  invocations += 1;
  if (event.type) stream.setContentType(event.type);
  for (const word of event.words ?? []) {
    stream.write(word);
    if (event.pause) await pause(event.pause);
  }
  if (event.fill) {
    const piece = Buffer.alloc(65536, 'x');
    for (let n = 0; n < event.fill; n += 1)
      if (!stream.write(piece)) await new Promise((done) => stream.once('drain', done));
  }
  if (event.fail) throw new Error('half way');
  if (event.exit) process.exit(3);
  if (event.count) stream.write(String(invocations));
  stream.end();
  await stream.finished?.();
});
";

async fn node(rig: &Rig) -> FunctionVersion {
    let mut function = rig.package("nodejs20.x", &[("index.js", NODE, 0o644)]).await;
    function.handler = "index.handler".into();
    function
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_come_as_they_are_written() {
    let rig = Rig::start().await;
    let function = node(&rig).await;
    let environment = unique();
    let event = r#"{"type":"text/plain","words":["one ","two ","three"],"pause":150}"#;
    let streamed = stream(&rig, &environment, Some(&function), event).await;
    assert_eq!(streamed.end.function_error, "", "{}", String::from_utf8_lossy(&streamed.end.payload));
    assert_eq!(streamed.content_type.as_deref(), Some("text/plain"));
    assert_eq!(streamed.body(), b"one two three");
    assert!(streamed.pieces.len() >= 3, "each before the next was written: {}", streamed.pieces.len());
    assert!(streamed.end.payload.is_empty() && streamed.end.init_duration_us > 0);
    // The environment serves on, also those who want the answer whole.
    let streamed = stream(&rig, &environment, None, r#"{"words":["a"]}"#).await;
    assert_eq!(streamed.body(), b"a");
    let whole = rig.warm(&environment, r#"{"words":["\"who","le\""]}"#).await.unwrap();
    assert_eq!(success(&whole), "whole");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_half_way_comes_after_the_pieces() {
    let rig = Rig::start().await;
    let function = node(&rig).await;
    let environment = unique();
    let streamed =
        stream(&rig, &environment, Some(&function), r#"{"words":["half"],"pause":50,"fail":1}"#).await;
    assert_eq!(streamed.body(), b"half");
    assert_eq!(streamed.end.function_error, "Unhandled");
    assert_eq!(json(&streamed.end)["errorMessage"], "half way");
    let streamed = stream(&rig, &environment, None, r#"{"words":["last"],"pause":50,"exit":1}"#).await;
    assert_eq!(streamed.body(), b"last");
    assert_eq!(streamed.end.function_error, "Unhandled");
    assert!(streamed.end.environment_gone);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_ends_a_stream_too() {
    let rig = Rig::start().await;
    let mut function = node(&rig).await;
    function.timeout_seconds = 1;
    let event = r#"{"words":["1","2","3","4","5","6","7","8"],"pause":400}"#;
    let streamed = stream(&rig, &unique(), Some(&function), event).await;
    assert!(streamed.body().starts_with(b"1"));
    assert_eq!(json(&streamed.end)["errorType"], "Sandbox.Timedout");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_slowly_slows_the_function_and_who_goes_does_not_stop_it() {
    let rig = Rig::start().await;
    let function = node(&rig).await;
    let environment = unique();
    // 64 MiB: far more than pipes and buffers hold.
    let streamed = stream(&rig, &environment, Some(&function), r#"{"fill":1024}"#).await;
    assert_eq!(streamed.body().len(), 64 << 20);
    // Nobody reads: the function waits, and is still at it.
    let frames = rig.worker.invoke_stream(&context(), request(&environment, None, r#"{"fill":1024}"#)).await;
    crate::support::pause(300).await;
    let ctx = context();
    let busy = rig.worker.invoke_stream(&ctx, request(&environment, None, r#"{"count":1}"#));
    let mut busy = Box::pin(async {
        let mut frames = busy.await.unwrap();
        let mut body = Vec::new();
        while let Some(frame) = frames.next().await {
            if let Frame::Chunk(bytes) = frame.unwrap().frame.unwrap() {
                body.extend_from_slice(&bytes);
            }
        }
        body
    });
    assert!(futures_util::FutureExt::now_or_never(&mut busy).is_none(), "it waits for its turn");
    // Who read has gone: the rest is dropped, and the next one comes.
    drop(frames);
    assert_eq!(busy.await, b"3");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_200_mib_are_refused_and_the_environment_lives() {
    let rig = Rig::start().await;
    let mut function = node(&rig).await;
    function.timeout_seconds = 60;
    let environment = unique();
    let streamed = stream(&rig, &environment, Some(&function), r#"{"fill":3300}"#).await;
    assert_eq!(streamed.body().len(), 200 << 20);
    assert_eq!(json(&streamed.end)["errorType"], "Function.ResponseSizeTooLarge");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_streamed_comes_with_the_end() {
    let rig = Rig::start().await;
    let mut function =
        rig.package("python3.11", &[("app.py", "def handler(e, c): return {'got': e}", 0o644)]).await;
    function.handler = "app.handler".into();
    let streamed = stream(&rig, &unique(), Some(&function), "7").await;
    assert!(streamed.content_type.is_none() && streamed.pieces.is_empty());
    assert_eq!(success(&streamed.end)["got"], 7);
    rig.stop().await;
}
