//! What functions return as HTTP answers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value};

/// What ends the prelude of a streamed answer; JSON has no such byte.
const PRELUDE_END: [u8; 8] = [0; 8];
/// The most that a prelude may have.
pub(super) const MOST_PRELUDE_BYTES: usize = 64 << 10;

/// The answer for what a function returned: an object with a `statusCode` says all of it, everything else is a body.
/// `None` if it says so in a way that is none.
pub(super) fn buffered(payload: Bytes) -> Option<Response<Bytes>> {
    match serde_json::from_slice::<Value>(&payload) {
        Ok(Value::Object(answer)) if answer.contains_key("statusCode") => {
            let mut response = head(&answer, "application/json")?;
            *response.body_mut() = body(&answer)?;
            Some(response)
        }
        // Strings without their quotes.
        Ok(Value::String(text)) => Some(plain(text.into())),
        Ok(_) => Some(plain(compact(&payload))),
        Err(_) => Some(plain(payload)),
    }
}

/// The length of the prelude in what has come of a streamed answer, once it has ended; and where the body begins.
pub(super) fn prelude(seen: &[u8]) -> Option<(usize, usize)> {
    let end = seen.windows(PRELUDE_END.len()).position(|window| window == PRELUDE_END)?;
    Some((end, end + PRELUDE_END.len()))
}

/// The head that a prelude describes.
pub(super) fn streamed(prelude: &[u8]) -> Option<Response<Bytes>> {
    let Ok(Value::Object(prelude)) = serde_json::from_slice(prelude) else { return None };
    head(&prelude, "application/octet-stream")
}

/// JSON without the white space between its parts; members stay in their order, and numbers as they are written.
fn compact(json: &[u8]) -> Bytes {
    let (mut inside, mut escaped) = (false, false);
    let kept = json.iter().copied().filter(|byte| {
        if inside {
            inside = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            return true;
        }
        inside = *byte == b'"';
        !byte.is_ascii_whitespace()
    });
    kept.collect()
}

fn plain(body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn head(answer: &Map<String, Value>, default_type: &'static str) -> Option<Response<Bytes>> {
    let status = match answer.get("statusCode") {
        None | Some(Value::Null) => 200,
        Some(Value::Number(number)) => u16::try_from(number.as_u64()?).ok()?,
        Some(Value::String(text)) => text.parse().ok()?,
        Some(_) => return None,
    };
    let status = StatusCode::from_u16(status).ok().filter(|it| (200..600).contains(&it.as_u16()))?;
    let mut headers = HeaderMap::new();
    match answer.get("headers") {
        None | Some(Value::Null) => {}
        Some(Value::Object(given)) => {
            for (name, value) in given {
                let name = HeaderName::try_from(name.as_str()).ok()?;
                if is_ours(&name) {
                    continue;
                }
                headers.append(name, HeaderValue::try_from(text(value)?).ok()?);
            }
        }
        Some(_) => return None,
    }
    match answer.get("cookies") {
        None | Some(Value::Null) => {}
        Some(Value::Array(cookies)) => {
            for cookie in cookies {
                headers.append(header::SET_COOKIE, HeaderValue::try_from(text(cookie)?).ok()?);
            }
        }
        Some(_) => return None,
    }
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(default_type));
    let mut response = Response::new(Bytes::new());
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    Some(response)
}

fn body(answer: &Map<String, Value>) -> Option<Bytes> {
    let body = match answer.get("body") {
        None | Some(Value::Null) => return Some(Bytes::new()),
        Some(value) => text(value)?,
    };
    if answer.get("isBase64Encoded") == Some(&Value::Bool(true)) {
        return STANDARD.decode(body).ok().map(Into::into);
    }
    Some(body.into())
}

/// Strings, and what can be written as one without doubt.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether a header is the connection's business, whatever a function says.
fn is_ours(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::CONTENT_LENGTH
            | header::TRANSFER_ENCODING
            | header::UPGRADE
            | header::TE
            | header::TRAILER
            | header::DATE
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "x-amzn-requestid")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(payload: &str) -> Option<(u16, String, Vec<u8>)> {
        let response = buffered(Bytes::copy_from_slice(payload.as_bytes()))?;
        let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        Some((response.status().as_u16(), kind, response.into_body().to_vec()))
    }

    #[test]
    fn what_has_no_status_is_a_body() {
        let json = "application/json".to_owned();
        for (payload, body) in [
            (r#""text""#, "text"),
            (
                "{\"b\": [1, 2.50],\n \"a a\" : \"x \\\" , \\\\\" , \"c\" :\t{ } }\r\n",
                r#"{"b":[1,2.50],"a a":"x \" , \\","c":{}}"#,
            ),
            ("{ not JSON", "{ not JSON"),
            ("null", "null"),
            ("[1]", "[1]"),
            ("7", "7"),
        ] {
            assert_eq!(of(payload), Some((200, json.clone(), body.into())), "{payload}");
        }
    }

    #[test]
    fn what_has_a_status_says_all() {
        let payload = r#"{"statusCode": 201, "headers": {"Content-Type": "text/x", "x-n": 5, "Content-Length": "9"},
            "cookies": ["a=1", "b=2"], "body": "aGk=", "isBase64Encoded": true}"#;
        let response = buffered(payload.into()).unwrap();
        assert_eq!(response.status(), 201);
        assert_eq!(response.headers()["x-n"], "5");
        assert!(!response.headers().contains_key("content-length"));
        assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
        assert_eq!(response.into_body(), "hi");
        assert_eq!(of(r#"{"statusCode": "404"}"#), Some((404, "application/json".into(), Vec::new())));
        for payload in [
            r#"{"statusCode": 99}"#,
            r#"{"statusCode": "x"}"#,
            r#"{"statusCode": 200, "headers": {"bad name": "x"}}"#,
            r#"{"statusCode": 200, "headers": {"a": "b\nc"}}"#,
            r#"{"statusCode": 200, "body": {"a": 1}}"#,
            r#"{"statusCode": 200, "body": "%", "isBase64Encoded": true}"#,
        ] {
            assert_eq!(of(payload), None, "{payload}");
        }
    }

    #[test]
    fn a_prelude_ends_with_eight_zeros() {
        let seen = b"{\"statusCode\":418,\"headers\":{\"a\":\"b\"}}\0\0\0\0\0\0\0\0body";
        let (end, body) = prelude(seen).unwrap();
        let head = streamed(&seen[..end]).unwrap();
        assert_eq!((head.status().as_u16(), &seen[body..]), (418, &b"body"[..]));
        assert_eq!(head.headers()[header::CONTENT_TYPE], "application/octet-stream");
        assert_eq!(prelude(&seen[..body - 1]), None);
        assert!(streamed(b"[]").is_none());
    }
}
