//! HTTP requests as events of payload format 2.0.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderMap, header};
use lambfold_api::TraceContext;
use lambfold_types::{AccountId, Timestamp};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// What of a request does not stand in its head.
pub(super) struct Around<'a> {
    pub(super) request_id: Uuid,
    pub(super) now: Timestamp,
    pub(super) from: IpAddr,
    pub(super) url_id: &'a str,
    /// Scheme and authority that the client used.
    pub(super) endpoint: &'a str,
    pub(super) trace: TraceContext,
    /// Who signed, where signatures are asked for: the access key and its account.
    pub(super) signed: Option<(&'a str, AccountId)>,
}

/// The event for a request of that head and body.
pub(super) fn event(head: &Parts, body: &[u8], around: &Around<'_>) -> Value {
    let (scheme, authority) = around.endpoint.split_once("://").unwrap_or(("http", around.endpoint));
    let (domain, port) = match authority.rsplit_once(':') {
        Some((domain, port)) => (domain, port),
        None => (authority, if scheme == "https" { "443" } else { "80" }),
    };
    let path = head.uri.path();
    let query = head.uri.query().unwrap_or_default();
    let mut headers = headers(&head.headers, around.signed.is_some());
    headers.entry("host".to_owned()).or_insert_with(|| authority.to_owned());
    let from = around.from.to_canonical().to_string();
    let forwarded = headers.entry("x-forwarded-for".to_owned()).or_default();
    *forwarded = if forwarded.is_empty() { from.clone() } else { format!("{forwarded}, {from}") };
    headers.insert("x-forwarded-proto".to_owned(), scheme.to_owned());
    headers.insert("x-forwarded-port".to_owned(), port.to_owned());
    headers.insert("x-amzn-trace-id".to_owned(), around.trace.to_amzn());
    let account = around.signed.map_or_else(|| "anonymous".to_owned(), |(_, account)| account.to_string());
    let mut context = json!({
        "accountId": account,
        "apiId": around.url_id,
        "domainName": domain,
        "domainPrefix": around.url_id,
        "http": {
            "method": head.method.as_str(),
            "path": path,
            "protocol": format!("{:?}", head.version),
            "sourceIp": from,
            "userAgent": headers.get("user-agent"),
        },
        "requestId": around.request_id.to_string(),
        "routeKey": "$default",
        "stage": "$default",
        "time": around.now.utc("%d/%b/%Y:%H:%M:%S +0000"),
        "timeEpoch": around.now.millis(),
    });
    if let Some((access_key, account)) = around.signed {
        context["authorizer"] = json!({ "iam": {
            "accessKey": access_key,
            "accountId": account.to_string(),
            "callerId": account.to_string(),
            "cognitoIdentity": null,
            "principalOrgId": null,
            "userArn": format!("arn:aws:iam::{account}:root"),
            "userId": account.to_string(),
        }});
    }
    let mut event = Map::new();
    event.insert("version".into(), "2.0".into());
    event.insert("routeKey".into(), "$default".into());
    event.insert("rawPath".into(), path.into());
    event.insert("rawQueryString".into(), query.into());
    let cookies = cookies(&head.headers);
    if !cookies.is_empty() {
        event.insert("cookies".into(), cookies.into());
    }
    event.insert("headers".into(), json!(headers));
    if !query.is_empty() {
        event.insert("queryStringParameters".into(), json!(parameters(query)));
    }
    event.insert("requestContext".into(), context);
    let text = std::str::from_utf8(body).ok().filter(|_| is_text(&head.headers));
    if !body.is_empty() {
        let value = text.map_or_else(|| STANDARD.encode(body), str::to_owned);
        event.insert("body".into(), value.into());
    }
    event.insert("isBase64Encoded".into(), (!body.is_empty() && text.is_none()).into());
    Value::Object(event)
}

/// Those that came more than once are joined. Cookies have a place of their own, and the proof of who signed is nobody's.
fn headers(given: &HeaderMap, signed: bool) -> BTreeMap<String, String> {
    let mut all = BTreeMap::<String, String>::new();
    for (name, value) in given {
        if *name == header::COOKIE || (signed && *name == header::AUTHORIZATION) {
            continue;
        }
        let value = String::from_utf8_lossy(value.as_bytes());
        let joined = all.entry(name.as_str().to_owned()).or_default();
        if !joined.is_empty() {
            joined.push(',');
        }
        joined.push_str(&value);
    }
    all
}

fn cookies(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| line.split(';').map(str::trim))
        .filter(|it| !it.is_empty())
        .map(str::to_owned)
        .collect()
}

fn parameters(query: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::<String, String>::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match all.get_mut(&*name) {
            Some(joined) => {
                joined.push(',');
                joined.push_str(&value);
            }
            None => drop(all.insert(name.into_owned(), value.into_owned())),
        }
    }
    all
}

/// Whether a body stays text, by its content type; forms do not.
fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.starts_with("text/")
        || matches!(&*kind, "application/json" | "application/xml" | "application/javascript")
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn of(request: http::request::Builder, body: &[u8], signed: Option<(&str, AccountId)>) -> Value {
        let (head, ()) = request.body(()).unwrap().into_parts();
        let around = Around {
            request_id: Uuid::nil(),
            now: Timestamp::from_millis(1_583_348_638_390),
            from: "::ffff:192.0.2.7".parse().unwrap(),
            url_id: "abc",
            endpoint: "http://abc.lambda-url.us-east-1.localhost:4566",
            trace: TraceContext { trace_id: 1, span_id: 2, sampled: false },
            signed,
        };
        event(&head, body, &around)
    }

    #[test]
    fn a_request_becomes_an_event() {
        let request = Request::post("/my/pa%20th?a=1&b=x%20y&a=2")
            .header("host", "abc.lambda-url.us-east-1.localhost:4566")
            .header("Cookie", "c1=1; c2=2")
            .header("X-Two", "one")
            .header("X-Two", "two")
            .header("User-Agent", "agent")
            .header("Content-Type", "application/json; charset=utf-8");
        let event = of(request, b"{}", None);
        assert_eq!(event["version"], "2.0");
        assert_eq!(event["rawPath"], "/my/pa%20th");
        assert_eq!(event["rawQueryString"], "a=1&b=x%20y&a=2");
        assert_eq!(event["queryStringParameters"], json!({"a": "1,2", "b": "x y"}));
        assert_eq!(event["cookies"], json!(["c1=1", "c2=2"]));
        assert_eq!(event["headers"]["x-two"], "one,two");
        assert_eq!(event["headers"]["x-forwarded-for"], "192.0.2.7");
        assert_eq!(event["headers"]["x-forwarded-port"], "4566");
        assert!(event["headers"].get("cookie").is_none());
        assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("{}"), &json!(false)));
        let context = &event["requestContext"];
        assert_eq!(context["domainName"], "abc.lambda-url.us-east-1.localhost");
        assert_eq!(context["time"], "04/Mar/2020:19:03:58 +0000");
        assert_eq!(context["accountId"], "anonymous");
        let expected = json!({
            "method": "POST", "path": "/my/pa%20th", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.7",
            "userAgent": "agent",
        });
        assert_eq!(context["http"], expected);
    }

    #[test]
    fn what_is_no_text_is_encoded() {
        for (kind, body) in [("application/x-www-form-urlencoded", &b"a=1"[..]), ("text/plain", &b"\xff"[..])]
        {
            let event = of(Request::post("/").header("content-type", kind), body, None);
            assert_eq!(event["body"], STANDARD.encode(body));
            assert_eq!(event["isBase64Encoded"], true);
        }
        let event = of(Request::get("/"), b"", None);
        assert!(event.get("body").is_none() && event.get("queryStringParameters").is_none());
        assert_eq!(event["isBase64Encoded"], false);
    }

    #[test]
    fn who_signed_is_told_and_the_signature_is_not() {
        let account = "111111111111".parse().unwrap();
        let event = of(Request::get("/").header("Authorization", "AWS4"), b"", Some(("AKIA", account)));
        assert!(event["headers"].get("authorization").is_none());
        assert_eq!(event["requestContext"]["accountId"], "111111111111");
        assert_eq!(event["requestContext"]["authorizer"]["iam"]["accessKey"], "AKIA");
    }
}
