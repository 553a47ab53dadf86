//! Errors, as each protocol shows them.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use lambfold_api::Fault;
use serde::ser::{SerializeMap, Serializer};
use uuid::Uuid;

use crate::query::{self, QueryFormat};
use crate::{json, rest};

const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// A wire protocol, for what has no operation: errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// AWS JSON 1.0, with the codes of Query beside its own, for clients that knew those: SQS.
    AwsJson,
    /// AWS JSON 1.1: CloudWatch Logs.
    AwsJson11,
    /// Query, with answers in XML or JSON.
    Query(QueryFormat),
    /// REST JSON.
    RestJson,
}

impl Protocol {
    /// The answer that tells `fault`.
    pub fn fault(self, fault: &Fault, request_id: Uuid) -> Response<Bytes> {
        let mut response = match self {
            Self::AwsJson => aws_json(fault),
            Self::AwsJson11 => aws_json_1_1(fault),
            Self::Query(format) => query::error(fault, format, request_id),
            Self::RestJson => rest_json(fault),
        };
        *response.status_mut() =
            StatusCode::from_u16(fault.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if let Some(wait) = fault.retry_after() {
            // Whole seconds, rounded up: a client that takes it at its word does not come early.
            let seconds = wait.as_millis().div_ceil(1000).min(u128::from(u32::MAX));
            response.headers_mut().insert(header::RETRY_AFTER, text(&seconds.to_string()));
        }
        response
    }
}

/// `fault` as the service words it: overload is each service's own throttle, a failure of ours its own code.
pub fn in_words_of(service: &str, fault: Fault) -> Fault {
    let replaced = match (service, fault.code()) {
        ("sqs", "ThrottlingException") => {
            Fault::raw("RequestThrottled", "RequestThrottled", 403, "Request is throttled.")
        }
        ("sqs", "IncompleteSignatureException") => {
            Fault::raw("IncompleteSignatureException", "IncompleteSignature", 400, fault.message())
        }
        ("lambda", "ThrottlingException") => {
            Fault::raw("TooManyRequestsException", "TooManyRequestsException", 429, "Rate exceeded")
                .with_member("Reason", "CallerRateLimitExceeded")
        }
        ("logs", "ThrottlingException") => {
            Fault::raw("ThrottlingException", "ThrottlingException", 400, "Rate exceeded")
        }
        ("logs", "InternalFailure") => {
            Fault::raw("ServiceUnavailableException", "ServiceUnavailableException", 500, fault.message())
        }
        ("lambda", "InternalFailure") => {
            Fault::raw("ServiceException", "ServiceException", 500, fault.message())
        }
        _ => return fault,
    };
    match fault.retry_after() {
        Some(wait) => replaced.with_retry_after(wait),
        None => replaced,
    }
}

/// Errors that AWS's framework raises before a service sees the request.
fn is_of_the_framework(fault: &Fault) -> bool {
    matches!(fault.code(), "SerializationException" | "UnknownOperationException")
}

/// Whether the model of SQS has that error. The others, of which all names but these two end so, are the framework's
/// (recorded from AWS, 2026-10).
fn is_modelled_by_sqs(code: &str) -> bool {
    match code {
        "ResourceNotFoundException" => true,
        "InternalFailure" | "ServiceUnavailable" => false,
        _ => !code.ends_with("Exception"),
    }
}

fn aws_json(fault: &Fault) -> Response<Bytes> {
    let namespace =
        if is_modelled_by_sqs(fault.code()) { "com.amazonaws.sqs" } else { "com.amazon.coral.service" };
    let body = object(|map| {
        map.serialize_entry("__type", &format_args!("{namespace}#{}", fault.code()))?;
        map.serialize_entry("message", fault.message())?;
        members(map, fault)
    });
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, json::CONTENT_TYPE);
    let side = if fault.is_sender() { "Sender" } else { "Receiver" };
    response.headers_mut().insert(QUERY_ERROR, text(&format!("{};{side}", fault.query_code())));
    response
}

fn aws_json_1_1(fault: &Fault) -> Response<Bytes> {
    let body = object(|map| {
        map.serialize_entry("__type", fault.code())?;
        map.serialize_entry("message", fault.message())?;
        members(map, fault)
    });
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, json::CONTENT_TYPE_1_1);
    response
}

fn rest_json(fault: &Fault) -> Response<Bytes> {
    let untyped = is_of_the_framework(fault)
        || matches!(fault.code(), "ValidationException" | "MissingAuthenticationTokenException");
    let body = object(|map| {
        members(map, fault)?;
        if !untyped && !fault.members().contains_key("Type") {
            map.serialize_entry("Type", if fault.is_sender() { "User" } else { "Service" })?;
        }
        // Shapes differ in how they spell it, and so do clients in what they read.
        map.serialize_entry("Message", fault.message())?;
        map.serialize_entry("message", fault.message())
    });
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, rest::CONTENT_TYPE);
    response.headers_mut().insert(ERROR_TYPE, text(fault.code()));
    response
}

type Json<'a> = <&'a mut serde_json::Serializer<Vec<u8>> as Serializer>::SerializeMap;

fn members(map: &mut Json<'_>, fault: &Fault) -> Result<(), serde_json::Error> {
    fault.members().iter().try_for_each(|(name, value)| map.serialize_entry(name, value))
}

pub(crate) fn object(fill: impl FnOnce(&mut Json<'_>) -> Result<(), serde_json::Error>) -> Bytes {
    let mut json = serde_json::Serializer::new(Vec::with_capacity(256));
    let written = json.serialize_map(None).and_then(|mut map| {
        fill(&mut map)?;
        map.end()
    });
    written.expect("texts under text keys always go into memory");
    json.into_inner().into()
}

/// A header's value; a character that cannot stand in one makes it a question mark.
fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static("?"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lambfold_api::{lambda, sqs};

    use super::*;

    fn rendered(protocol: Protocol, fault: &Fault) -> (u16, String, String) {
        let answer = protocol.fault(fault, Uuid::nil());
        let mut headers: Vec<String> = answer
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        headers.sort();
        (answer.status().as_u16(), headers.join("\n"), String::from_utf8(answer.body().to_vec()).unwrap())
    }

    #[test]
    fn sqs_errors_carry_both_names() {
        let fault = Fault::new(sqs::ErrorCode::QueueDoesNotExist, "The specified queue does not exist.");
        assert_eq!(
            rendered(Protocol::AwsJson, &fault),
            (
                400,
                "content-type: application/x-amz-json-1.0\n\
                 x-amzn-query-error: AWS.SimpleQueueService.NonExistentQueue;Sender"
                    .to_owned(),
                r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"The specified queue does not exist."}"#
                    .to_owned()
            )
        );
        let (status, headers, _) = rendered(Protocol::AwsJson, &Fault::internal());
        assert_eq!(status, 500);
        assert!(headers.contains("x-amzn-query-error: InternalFailure;Receiver"));
        let (status, headers, body) = rendered(Protocol::AwsJson, &Fault::serialization("x"));
        let expected = "content-type: application/x-amz-json-1.0\nx-amzn-query-error: MalformedInput;Sender";
        assert_eq!((status, headers.as_str()), (400, expected));
        assert_eq!(body, r#"{"__type":"com.amazon.coral.service#SerializationException","message":"x"}"#);
        for (code, namespace) in [
            (sqs::ErrorCode::InvalidParameterValueException, "com.amazon.coral.service"),
            (sqs::ErrorCode::MissingRequiredParameterException, "com.amazon.coral.service"),
            (sqs::ErrorCode::ResourceNotFoundException, "com.amazonaws.sqs"),
            (sqs::ErrorCode::InvalidAttributeName, "com.amazonaws.sqs"),
        ] {
            let (_, _, body) = rendered(Protocol::AwsJson, &Fault::new(code, "x"));
            assert!(body.starts_with(&format!("{{\"__type\":\"{namespace}#")), "{body}");
        }
    }

    #[test]
    fn errors_of_json_1_1_have_one_name() {
        let fault = in_words_of("logs", Fault::internal());
        let (status, headers, body) = rendered(Protocol::AwsJson11, &fault);
        assert_eq!((status, headers.as_str()), (500, "content-type: application/x-amz-json-1.1"));
        assert!(body.starts_with(r#"{"__type":"ServiceUnavailableException","message":"#), "{body}");
    }

    #[test]
    fn query_errors_are_documents() {
        let fault = Fault::new(sqs::ErrorCode::QueueDoesNotExist, "The specified queue does not exist.");
        assert_eq!(
            rendered(Protocol::Query(QueryFormat::Xml), &fault),
            (
                400,
                "content-type: text/xml".to_owned(),
                "<?xml version=\"1.0\"?><ErrorResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\"><Error>\
                 <Type>Sender</Type><Code>AWS.SimpleQueueService.NonExistentQueue</Code>\
                 <Message>The specified queue does not exist for this wsdl version.</Message><Detail/></Error>\
                 <RequestId>00000000-0000-0000-0000-000000000000</RequestId></ErrorResponse>"
                    .to_owned()
            )
        );
        let odd = Fault::raw("X", "X", 400, "<&\"'>\r\u{1}");
        let (_, _, body) = rendered(Protocol::Query(QueryFormat::Xml), &odd);
        assert!(body.contains("<Message>&lt;&amp;&quot;&apos;&gt;&#xD;&#x1;</Message>"), "{body}");
        assert_eq!(
            rendered(Protocol::Query(QueryFormat::Json), &fault),
            (
                400,
                "content-type: application/json".to_owned(),
                "{\"Error\":{\"Type\":\"Sender\",\"Code\":\"AWS.SimpleQueueService.NonExistentQueue\",\
                 \"Message\":\"The specified queue does not exist for this wsdl version.\",\"Detail\":null},\
                 \"RequestId\":\"00000000-0000-0000-0000-000000000000\"}"
                    .to_owned()
            )
        );
    }

    #[test]
    fn lambda_errors_have_their_name_in_a_header() {
        let throttled = Fault::new(lambda::ErrorCode::TooManyRequestsException, "Rate Exceeded.")
            .with_member("Reason", "ReservedFunctionConcurrentInvocationLimitExceeded")
            .with_retry_after(Duration::from_millis(1));
        assert_eq!(
            rendered(Protocol::RestJson, &throttled),
            (
                429,
                "content-type: application/json\nretry-after: 1\nx-amzn-errortype: TooManyRequestsException"
                    .to_owned(),
                "{\"Reason\":\"ReservedFunctionConcurrentInvocationLimitExceeded\",\"Type\":\"User\",\
                 \"Message\":\"Rate Exceeded.\",\"message\":\"Rate Exceeded.\"}"
                    .to_owned()
            )
        );
        let invalid = Fault::new(lambda::ErrorCode::ValidationException, "1 validation error detected");
        let (status, _, body) = rendered(Protocol::RestJson, &invalid);
        assert_eq!((status, body.contains("Type")), (400, false));
        let (status, _, body) = rendered(Protocol::RestJson, &in_words_of("lambda", Fault::internal()));
        assert_eq!((status, body.contains(r#""Type":"Service""#)), (500, true));
    }

    #[test]
    fn overload_is_each_services_own_throttle() {
        let overloaded = Fault::overloaded(Duration::from_millis(1500));
        let (status, headers, body) = rendered(Protocol::AwsJson, &in_words_of("sqs", overloaded.clone()));
        assert_eq!(status, 403);
        assert!(
            headers.contains("RequestThrottled;Sender") && headers.contains("retry-after: 2"),
            "{headers}"
        );
        assert!(body.contains("#RequestThrottled"), "{body}");
        let (status, _, body) = rendered(Protocol::RestJson, &in_words_of("lambda", overloaded));
        assert_eq!(status, 429);
        assert!(body.contains(r#""Reason":"CallerRateLimitExceeded""#), "{body}");
    }

    #[test]
    fn no_text_breaks_a_header() {
        let odd = Fault::raw("Line\nbreak", "Line\r\nbreak", 999, "\n");
        for protocol in [Protocol::AwsJson, Protocol::RestJson, Protocol::Query(QueryFormat::Xml)] {
            assert_eq!(protocol.fault(&odd, Uuid::nil()).status(), 999);
        }
    }
}
