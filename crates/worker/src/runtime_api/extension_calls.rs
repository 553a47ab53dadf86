//! The calls of the Extensions API, version 2020-01-01, on a connection: requests in, state machine asked, answers out.

use std::io;

use bytes::Bytes;
use futures_util::FutureExt;
use serde::Deserialize;
use serde_json::json;

use super::Link;
use super::connection::{ACCEPTED, refuse_with};
use super::extensions::{Fatal, Refusal};
use super::http::{Body, Connection, Head};

const PREFIX: &str = "/2020-01-01/extension/";
/// Registrations and errors. (AWS names no limit.)
const MAX_BODY_BYTES: usize = 256 << 10;
const NAME: &str = "lambda-extension-name";
const FEATURES: &str = "lambda-extension-accept-feature";
const IDENTIFIER: &str = "lambda-extension-identifier";
const ERROR_TYPE: &str = "lambda-extension-function-error-type";

/// What a path and method ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExtensionCall {
    Register,
    Next,
    Error(Fatal),
}

#[derive(Deserialize)]
struct Registration {
    #[serde(default)]
    events: Option<Vec<String>>,
    #[serde(default, rename = "configurationKeys")]
    configuration_keys: Option<Vec<String>>,
}

impl ExtensionCall {
    pub(super) fn parse(method: &str, path: &str) -> Option<Self> {
        Some(match (method, path.strip_prefix(PREFIX)?) {
            ("POST", "register") => Self::Register,
            ("GET", "event/next") => Self::Next,
            ("POST", "init/error") => Self::Error(Fatal::Init),
            ("POST", "exit/error") => Self::Error(Fatal::Exit),
            _ => return None,
        })
    }
}

/// Serves one request. False if it was the last of its connection.
pub(super) async fn serve(
    call: ExtensionCall,
    connection: &mut Connection,
    link: &Link,
    head: &Head,
) -> io::Result<bool> {
    let Some(body) = body(connection, head).await? else { return Ok(false) };
    let outcome = match call {
        ExtensionCall::Register => register(connection, link, head, &body).await?,
        ExtensionCall::Next => return next(connection, link, head).await,
        ExtensionCall::Error(fatal) => match failed(link, head, fatal) {
            Ok(()) => {
                connection.answer("202 Accepted", ACCEPTED, head.close).await?;
                Ok(())
            }
            Err(refusal) => Err(refusal),
        },
    };
    if let Err(refusal) = outcome {
        refuse(connection, &refusal, head.close).await?;
    }
    Ok(!head.close)
}

/// The whole body. `None`: there is none to be had, and the connection has been told.
pub(super) async fn body(connection: &mut Connection, head: &Head) -> io::Result<Option<Bytes>> {
    match connection.read_body(head, MAX_BODY_BYTES).await? {
        Body::Whole(body, _) => Ok(Some(body)),
        Body::TooLarge => {
            let message = format!("Exceeded maximum allowed payload size ({MAX_BODY_BYTES} bytes).");
            let status = "413 Request Entity Too Large";
            refuse_with(connection, status, "RequestEntityTooLarge", &message, true).await?;
            Ok(None)
        }
        Body::Truncated => Ok(None),
    }
}

async fn register(
    connection: &mut Connection,
    link: &Link,
    head: &Head,
    body: &[u8],
) -> io::Result<Result<(), Refusal>> {
    let name = head.header(NAME).unwrap_or_default();
    if name.is_empty() {
        return Ok(Err(Refusal::new("Extension.InvalidExtensionName", "Empty extension name")));
    }
    let events = match events(body) {
        Ok(events) => events,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let (identifier, about) = match link.register(name, &events) {
        Ok(registered) => registered,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut answer = json!({
        "functionName": about.function_name,
        "functionVersion": about.version,
        "handler": about.handler,
    });
    // Features that there are not are passed over.
    let features = head.header(FEATURES).unwrap_or_default();
    if features.split(',').any(|feature| feature.trim() == "accountId") {
        answer["accountId"] = about.account.as_str().into();
    }
    let headers = format!("Lambda-Extension-Identifier: {identifier}\r\n");
    connection.write(ok(&headers, head.close, answer.to_string().len()), answer.to_string().into()).await?;
    Ok(Ok(()))
}

fn events(body: &[u8]) -> Result<Vec<String>, Refusal> {
    let invalid = |text: String| Refusal::new("InvalidRequestFormat", text);
    let registration: Registration =
        serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))?;
    if registration.configuration_keys.is_some_and(|keys| !keys.is_empty()) {
        let text = "configurationKeys are deprecated; use environment variables instead";
        return Err(invalid(text.to_owned()));
    }
    Ok(registration.events.unwrap_or_default())
}

async fn next(connection: &mut Connection, link: &Link, head: &Head) -> io::Result<bool> {
    let asked = identifier(head).and_then(|identifier| link.extension_next(&identifier).map(|()| identifier));
    let identifier = match asked {
        Ok(identifier) => identifier,
        Err(refusal) => {
            refuse(connection, &refusal, head.close).await?;
            return Ok(!head.close);
        }
    };
    loop {
        let told = link.invoked.notified();
        tokio::pin!(told);
        // From here on no event is missed.
        told.as_mut().enable();
        if connection.gone().now_or_never().is_some() {
            return Ok(false);
        }
        if let Some(event) = link.take_event(&identifier) {
            let headers = format!("Lambda-Extension-Event-Identifier: {}\r\n", link.unique());
            let answer = ok(&headers, head.close, event.len());
            if let Err(error) = connection.write(answer, event.clone()).await {
                link.give_back_event(&identifier, event);
                return Err(error);
            }
            return Ok(!head.close);
        }
        tokio::select! {
            () = connection.gone() => return Ok(false),
            () = told => {}
        }
    }
}

fn failed(link: &Link, head: &Head, fatal: Fatal) -> Result<(), Refusal> {
    let identifier = identifier(head)?;
    link.knows_extension(&identifier)?;
    let Some(error_type) = head.header(ERROR_TYPE).filter(|it| !it.is_empty()) else {
        let text = "Lambda-Extension-Function-Error-Type not found";
        return Err(Refusal::new("Extension.MissingHeader", text));
    };
    link.extension_failed(&identifier, fatal, error_type.chars().take(256).collect())
}

/// The identifier that the caller was given, if it looks like one.
pub(super) fn identifier(head: &Head) -> Result<String, Refusal> {
    let Some(given) = head.header(IDENTIFIER).filter(|given| !given.is_empty()) else {
        let text = "Missing Lambda-Extension-Identifier header";
        return Err(Refusal::new("Extension.MissingExtensionIdentifier", text));
    };
    let parsed = uuid::Uuid::parse_str(given);
    parsed.map(|it| it.to_string()).map_err(|_| {
        Refusal::new("Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier")
    })
}

pub(super) async fn refuse(connection: &mut Connection, refusal: &Refusal, close: bool) -> io::Result<()> {
    refuse_with(connection, "403 Forbidden", refusal.error_type, &refusal.message, close).await
}

fn ok(headers: &str, close: bool, length: usize) -> Bytes {
    let connection = if close { "Connection: close\r\n" } else { "" };
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{headers}{connection}Content-Length: {length}\r\n\r\n"
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_apart() {
        let call = |method, path: &str| ExtensionCall::parse(method, path);
        assert_eq!(call("GET", "/2020-01-01/extension/event/next"), Some(ExtensionCall::Next));
        assert_eq!(call("POST", "/2020-01-01/extension/exit/error"), Some(ExtensionCall::Error(Fatal::Exit)));
        assert_eq!(call("GET", "/2020-01-01/extension/register"), None);
        assert_eq!(call("POST", "/2018-06-01/extension/register"), None);
    }

    #[test]
    fn registrations_are_read_as_aws_reads_them() {
        assert_eq!(events(br#"{"events": ["INVOKE"], "more": 1}"#).unwrap(), ["INVOKE"]);
        assert!(events(br#"{"events": null}"#).unwrap().is_empty());
        for wrong in [&b""[..], b"[1]x", br#"{"events": "INVOKE"}"#, br#"{"configurationKeys": ["a"]}"#] {
            assert_eq!(events(wrong).unwrap_err().error_type, "InvalidRequestFormat");
        }
    }
}
