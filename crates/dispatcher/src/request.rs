//! What an Invoke request must hold before anything is done with it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use lambfold_api::Fault;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::faults;

/// AWS's limit of the client context before base64.
const MAX_CLIENT_CONTEXT_BYTES: usize = 3583;

/// The event: JSON of any kind, `{}` if there is none. Passed on as it came.
pub(crate) fn event(payload: Option<Bytes>) -> Result<Bytes, Fault> {
    let payload = payload.filter(|payload| !payload.is_empty());
    let Some(payload) = payload else { return Ok(Bytes::from_static(b"{}")) };
    let text = std::str::from_utf8(&payload).map_err(|error| faults::payload_not_json(&error.to_string()))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| faults::payload_not_json(&error.to_string()))?;
    Ok(payload)
}

/// Refuses a payload over the limit; before anything else is looked at.
pub(crate) fn check_size(payload: Option<&Bytes>) -> Result<(), Fault> {
    match payload {
        Some(payload) if payload.len() > faults::MAX_PAYLOAD_BYTES => Err(faults::payload_too_large()),
        _ => Ok(()),
    }
}

/// The client context as the JSON text that travels in a header: printable ASCII on one line. Empty for none.
pub(crate) fn client_context(header: Option<&str>) -> Result<String, Fault> {
    let Some(header) = header.filter(|header| !header.is_empty()) else { return Ok(String::new()) };
    let bytes = STANDARD.decode(header).map_err(|_| faults::client_context("valid base64-encoded JSON"))?;
    if bytes.len() > MAX_CLIENT_CONTEXT_BYTES {
        let text = format!("no larger than {MAX_CLIENT_CONTEXT_BYTES} bytes before base64 encoding");
        return Err(faults::client_context(&text));
    }
    let value: Value =
        serde_json::from_slice(&bytes).map_err(|_| faults::client_context("valid base64-encoded JSON"))?;
    if !value.is_object() {
        return Err(faults::client_context("a valid base64-encoded JSON object"));
    }
    match String::from_utf8(bytes) {
        Ok(text) if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => Ok(text),
        _ => Ok(ascii(&value)),
    }
}

/// The same value in ASCII on one line.
fn ascii(value: &Value) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for unit in value.to_string().encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte @ b' '..=b'~') => text.push(byte.into()),
            // Only strings hold such characters, and there an escape means the same.
            _ => {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_json_or_nothing() {
        assert_eq!(event(None).unwrap(), "{}");
        assert_eq!(event(Some(Bytes::new())).unwrap(), "{}");
        for good in ["null", "\"text\"", " [1, 2.5e3, {\"a\": \"ü\"}] "] {
            assert_eq!(event(Some(good.into())).unwrap(), good);
        }
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert!(event(Some(deep.into())).is_ok());
        for bad in [&b"{"[..], b"{'a': 1}", b"1 2", b"\"\xff\"", b" "] {
            let fault = event(Some(Bytes::copy_from_slice(bad))).unwrap_err();
            assert_eq!((fault.code(), fault.http_status()), ("InvalidRequestContentException", 400));
        }
    }

    #[test]
    fn client_contexts_fit_into_a_header() {
        let read = |text: &str| client_context(Some(&STANDARD.encode(text)));
        assert_eq!(client_context(None).unwrap(), "");
        assert_eq!(read(r#"{"custom": {"a": 1}}"#).unwrap(), r#"{"custom": {"a": 1}}"#);
        let escaped = read("{\"custom\":\r\n {\"a\": \"ü😀\"}}").unwrap();
        assert_eq!(escaped, r#"{"custom":{"a":"\u00fc\ud83d\ude00"}}"#);
        let value: Value = serde_json::from_str(&escaped).unwrap();
        assert_eq!(value["custom"]["a"], "ü😀");
        for bad in ["[1]", "", "x"] {
            assert!(bad.is_empty() || read(bad).is_err(), "{bad}");
        }
        assert!(client_context(Some("%%%")).is_err());
        assert!(read(&format!("{{\"a\": \"{}\"}}", "x".repeat(4000))).is_err());
    }
}
