//! One connection of a runtime: requests in, state machine asked, answers out.

use std::io;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::FutureExt;
use serde_json::json;

use super::extension_calls::{self, ExtensionCall};
use super::http::{Body, Connection, Head, Place, Trailers, is_disconnect};
use super::telemetry_calls;
use super::{
    Answer, AnswerStream, FunctionError, Link, MAX_ANSWER_BYTES, MAX_STREAMED_BYTES, Next, Piece, Refusal,
};
use crate::telemetry::Api;

const PREFIX: &str = "/2018-06-01/";
const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
const ERROR_BODY: &str = "lambda-runtime-function-error-body";
const RESPONSE_MODE: &str = "lambda-runtime-function-response-mode";
/// What is kept of a body that nobody will look at: a function could have the worker keep one per connection.
const NOTHING: usize = 0;
/// What is passed on of a streamed answer at a time.
const PIECE_BYTES: usize = 64 << 10;
pub(super) const ACCEPTED: &str = r#"{"status":"OK"}"#;

/// What a path and method ask for.
enum Call<'a> {
    Ping,
    Next,
    Response(&'a str),
    Error(&'a str),
    InitError,
    /// Calls of SnapStart, of functions for which it is on.
    Restore,
    RestoreError,
    /// Of the Extensions API.
    Extension(ExtensionCall),
    /// Of the Telemetry API or the Logs API.
    Subscribe(Api),
    Unknown,
}

/// Serves until the client goes, or breaks the protocol.
pub(super) async fn serve(mut connection: Connection, link: Arc<Link>) {
    loop {
        match request(&mut connection, &link).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                tracing::debug!(%error, "a runtime's connection ended");
                break;
            }
        }
    }
}

/// Serves one request. False if it was the last.
async fn request(connection: &mut Connection, link: &Link) -> io::Result<bool> {
    let Some(head) = connection.read_head().await? else { return Ok(false) };
    let path = head.path.split('?').next().unwrap_or_default();
    match call(&head.method, path) {
        Call::Next => next(connection, link, &head).await,
        Call::Response(id) => response(connection, link, &head, id).await,
        Call::Error(id) => error(connection, link, &head, id).await,
        Call::InitError => init_error(connection, link, &head, Link::init_error).await,
        Call::RestoreError if link.restores() => {
            init_error(connection, link, &head, Link::restore_error).await
        }
        Call::Restore if link.restores() => restore(connection, link, &head).await,
        Call::Extension(call) if link.serves_extensions() => {
            extension_calls::serve(call, connection, link, &head).await
        }
        Call::Subscribe(api) if link.serves_extensions() => {
            telemetry_calls::serve(api, connection, link, &head).await
        }
        other => {
            let body = connection.read_body(&head, NOTHING).await?;
            let close = head.close || matches!(body, Body::Truncated);
            match other {
                Call::Ping => connection.write(ping(), Bytes::new()).await?,
                Call::Restore | Call::RestoreError => {
                    let message = "Not initialised from a snapshot";
                    refuse_with(connection, "403 Forbidden", "InvalidStateTransition", message, close)
                        .await?;
                }
                _ => {
                    refuse_with(connection, "404 Not Found", "NotFound", "404 page not found", close).await?;
                }
            }
            Ok(!close)
        }
    }
}

fn call<'a>(method: &str, path: &'a str) -> Call<'a> {
    let Some(path) = path.strip_prefix(PREFIX) else {
        let subscribe = || Api::parse(method, path).map_or(Call::Unknown, Call::Subscribe);
        return ExtensionCall::parse(method, path).map_or_else(subscribe, Call::Extension);
    };
    let segments: Vec<&str> = path.split('/').collect();
    match (method, segments.as_slice()) {
        ("GET", ["ping"]) => Call::Ping,
        ("GET", ["runtime", "invocation", "next"]) => Call::Next,
        ("POST", ["runtime", "invocation", id, "response"]) => Call::Response(id),
        ("POST", ["runtime", "invocation", id, "error"]) => Call::Error(id),
        ("POST", ["runtime", "init", "error"]) => Call::InitError,
        ("GET", ["runtime", "restore", "next"]) => Call::Restore,
        ("POST", ["runtime", "restore", "error"]) => Call::RestoreError,
        _ => Call::Unknown,
    }
}

async fn next(connection: &mut Connection, link: &Link, head: &Head) -> io::Result<bool> {
    let mut meaning = link.next();
    loop {
        let invoked = link.invoked.notified();
        tokio::pin!(invoked);
        // From here on no call is missed.
        invoked.as_mut().enable();
        if let Ok(Next::Redeliver) = meaning {
            // Another connection is being written to, or was lost: which of the two shows now, or after the next call.
            meaning = link.next();
        }
        if let Err(refusal) = &meaning {
            refuse(connection, refusal, head.close).await?;
            return Ok(!head.close);
        }
        // Several connections may wait, of which the runtime listens to the last one only: the others have gone.
        if connection.gone().now_or_never().is_some() {
            return Ok(false);
        }
        if let Some(delivery) = link.take() {
            let (head_bytes, payload) = (delivery.head.clone(), delivery.payload.clone());
            if let Err(error) = connection.write(head_bytes, payload).await {
                link.give_back(delivery);
                return Err(error);
            }
            link.delivered(&delivery);
            return Ok(!head.close);
        }
        tokio::select! {
            () = connection.gone() => return Ok(false),
            () = invoked => {}
        }
    }
}

/// What waits for its restoration from a snapshot goes on at once.
async fn restore(connection: &mut Connection, link: &Link, head: &Head) -> io::Result<bool> {
    connection.read_body(head, NOTHING).await?;
    match link.restore() {
        Ok(()) => connection.answer("200 OK", "", head.close).await?,
        Err(refusal) => refuse(connection, &refusal, head.close).await?,
    }
    Ok(!head.close)
}

async fn response(connection: &mut Connection, link: &Link, head: &Head, id: &str) -> io::Result<bool> {
    if let Err(refusal) = link.begin_answer(id) {
        return refuse_unread(connection, head, &refusal).await;
    }
    let mode = head.header(RESPONSE_MODE);
    if mode.is_some_and(|mode| !mode.eq_ignore_ascii_case("streaming")) {
        link.end_answer(Answer::InvalidMode, 0);
        connection.read_body(head, NOTHING).await?;
        let message = "Invalid function response mode";
        refuse_with(connection, "400 Bad Request", "InvalidFunctionResponseMode", message, head.close)
            .await?;
        return Ok(!head.close);
    }
    if mode.is_some()
        && let Some(stream) = link.take_stream()
    {
        return stream_answer(connection, link, head, &stream).await;
    }
    match read_answer(connection, link, head).await? {
        Some((body, trailers)) => {
            link.end_answer(
                match trailer_error(&trailers) {
                    Some(error) => Answer::Error(error),
                    None => Answer::Response(body),
                },
                0,
            );
            connection.answer("202 Accepted", ACCEPTED, head.close).await?;
            Ok(!head.close)
        }
        None => Ok(false),
    }
}

/// Passes an answer on as it comes. When its invoker has gone, the rest is read and dropped: the function runs on.
async fn stream_answer(
    connection: &mut Connection,
    link: &Link,
    head: &Head,
    stream: &AnswerStream,
) -> io::Result<bool> {
    let content_type = head.header("content-type").unwrap_or_default().to_owned();
    let _ = stream.send(Piece::Head(content_type)).await;
    let mut passed = 0;
    match pass_on(connection, head, stream, &mut passed).await {
        Ok(Some(trailers)) => {
            link.end_answer(Answer::Streamed(trailer_error(&trailers)), passed);
            connection.answer("202 Accepted", ACCEPTED, head.close).await?;
            Ok(!head.close)
        }
        Ok(None) => {
            link.end_answer(Answer::TooLarge(MAX_STREAMED_BYTES), passed);
            too_large(connection, MAX_STREAMED_BYTES).await?;
            Ok(false)
        }
        Err(error) => {
            link.end_answer(Answer::Truncated, passed);
            if is_disconnect(&error) { truncated(connection).await.map(|()| false) } else { Err(error) }
        }
    }
}

/// The trailers, or `None` if it is over the limit. Counts what has been `passed` on.
async fn pass_on(
    connection: &mut Connection,
    head: &Head,
    stream: &AnswerStream,
    passed: &mut usize,
) -> io::Result<Option<Trailers>> {
    let mut place = connection.begin_body(head).await?;
    while let Some(piece) = connection.piece(&mut place, PIECE_BYTES).await? {
        *passed += piece.len();
        if *passed > MAX_STREAMED_BYTES {
            return Ok(None);
        }
        let _ = stream.send(Piece::Bytes(piece)).await;
    }
    if let Place::Sized(_) = place {
        Ok(Some(Trailers::new()))
    } else {
        connection.trailers().await.map(Some)
    }
}

async fn error(connection: &mut Connection, link: &Link, head: &Head, id: &str) -> io::Result<bool> {
    if let Err(refusal) = link.begin_answer(id) {
        return refuse_unread(connection, head, &refusal).await;
    }
    let Some((body, _)) = read_answer(connection, link, head).await? else { return Ok(false) };
    let error = FunctionError { body, error_type: error_type(head.header(ERROR_TYPE)) };
    link.end_answer(Answer::Error(error), 0);
    connection.answer("202 Accepted", ACCEPTED, head.close).await?;
    Ok(!head.close)
}

/// Reads the body of an answer that has begun, and ends the answer itself if that fails.
async fn read_answer(
    connection: &mut Connection,
    link: &Link,
    head: &Head,
) -> io::Result<Option<(Bytes, Trailers)>> {
    match connection.read_body(head, MAX_ANSWER_BYTES).await {
        Ok(Body::Whole(body, trailers)) => Ok(Some((body, trailers))),
        Ok(Body::TooLarge) => {
            link.end_answer(Answer::TooLarge(MAX_ANSWER_BYTES), 0);
            too_large(connection, MAX_ANSWER_BYTES).await?;
            Ok(None)
        }
        Ok(Body::Truncated) => {
            link.end_answer(Answer::Truncated, 0);
            truncated(connection).await?;
            Ok(None)
        }
        Err(error) => {
            link.end_answer(Answer::Truncated, 0);
            Err(error)
        }
    }
}

async fn too_large(connection: &mut Connection, limit: usize) -> io::Result<()> {
    let message = format!("Exceeded maximum allowed payload size ({limit} bytes).");
    // Closed, so that a client that goes on sending notices.
    refuse_with(connection, "413 Request Entity Too Large", "RequestEntityTooLarge", &message, true).await
}

async fn truncated(connection: &mut Connection) -> io::Result<()> {
    refuse_with(connection, "400 Bad Request", "TruncatedHTTPRequest", "HTTP request truncated", true).await
}

/// An error of init, or of what stands in its place; `take` says whether it comes at its time.
async fn init_error(
    connection: &mut Connection,
    link: &Link,
    head: &Head,
    take: fn(&Link, FunctionError) -> Result<(), Refusal>,
) -> io::Result<bool> {
    // One at a time, for the same reason.
    let reading = link.init_errors.lock().await;
    let Body::Whole(body, _) = connection.read_body(head, MAX_ANSWER_BYTES).await? else { return Ok(false) };
    drop(reading);
    match take(link, FunctionError { body, error_type: error_type(head.header(ERROR_TYPE)) }) {
        Ok(()) => connection.answer("202 Accepted", ACCEPTED, head.close).await?,
        Err(refusal) => refuse(connection, &refusal, head.close).await?,
    }
    Ok(!head.close)
}

async fn refuse_unread(connection: &mut Connection, head: &Head, refusal: &Refusal) -> io::Result<bool> {
    let body = connection.read_body(head, NOTHING).await?;
    let close = head.close || matches!(body, Body::Truncated);
    refuse(connection, refusal, close).await?;
    Ok(!close)
}

async fn refuse(connection: &mut Connection, refusal: &Refusal, close: bool) -> io::Result<()> {
    match refusal {
        Refusal::InvalidRequestId => {
            refuse_with(connection, "400 Bad Request", "InvalidRequestID", "Invalid request ID", close).await
        }
        Refusal::InvalidTransition { from, to } => {
            let message = format!(
                "State transition from {from} to {to} failed for runtime. Error: State transition is not allowed"
            );
            refuse_with(connection, "403 Forbidden", "InvalidStateTransition", &message, close).await
        }
    }
}

pub(super) async fn refuse_with(
    connection: &mut Connection,
    status: &str,
    error_type: &str,
    message: &str,
    close: bool,
) -> io::Result<()> {
    let body = json!({ "errorMessage": message, "errorType": error_type }).to_string();
    connection.answer(status, &body, close).await
}

fn ping() -> Bytes {
    Bytes::from_static(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\npong")
}

/// The error that a streamed answer ended in.
fn trailer_error(trailers: &Trailers) -> Option<FunctionError> {
    let find = |name| trailers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let given = find(ERROR_TYPE)?;
    let body = STANDARD.decode(find(ERROR_BODY).unwrap_or_default()).unwrap_or_default();
    Some(FunctionError { body: body.into(), error_type: error_type(Some(given)) })
}

/// What counts as an error's type (facts: execution environment §1.4): anything that contains
/// `(Runtime|Function)\.[A-Z][A-Za-z]+`.
fn error_type(given: Option<&str>) -> String {
    let given = given.unwrap_or_default();
    let is_reason = |text: &str| {
        let mut bytes = text.bytes();
        bytes.next().is_some_and(|first| first.is_ascii_uppercase())
            && bytes.next().is_some_and(|second| second.is_ascii_alphabetic())
    };
    let sound = ["Runtime.", "Function."].iter().any(|category| {
        given.match_indices(category).any(|(at, found)| is_reason(&given[at + found.len()..]))
    });
    if sound {
        given.chars().take(256).collect()
    } else if given.starts_with("Function.") {
        "Function.Unknown".to_owned()
    } else {
        "Runtime.Unknown".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_types_are_taken_over_only_in_their_form() {
        for (given, taken) in [
            (Some("Runtime.ImportModuleError"), "Runtime.ImportModuleError"),
            (Some("Function.CustomReason"), "Function.CustomReason"),
            (Some("Function.x"), "Function.Unknown"),
            (Some("ValueError"), "Runtime.Unknown"),
            (Some("Runtime."), "Runtime.Unknown"),
            (None, "Runtime.Unknown"),
        ] {
            assert_eq!(error_type(given), taken, "{given:?}");
        }
    }

    #[test]
    fn paths_are_told_apart() {
        assert!(matches!(call("GET", "/2018-06-01/runtime/invocation/next"), Call::Next));
        assert!(matches!(call("POST", "/2018-06-01/runtime/invocation/7/error"), Call::Error("7")));
        assert!(matches!(call("POST", "/2018-06-01/runtime/invocation/next"), Call::Unknown));
        assert!(matches!(call("GET", "/"), Call::Unknown));
    }
}
