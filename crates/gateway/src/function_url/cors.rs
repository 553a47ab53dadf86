//! Cross-origin requests, answered by the URL's own settings: what the function says of them does not count.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, header};
use lambfold_api::control::Cors;

/// The answer to a question before the request itself, if it is one; the function does not hear of it.
pub(super) fn preflight(cors: &Cors, head: &Parts) -> Option<Response<Bytes>> {
    let method = head.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    if head.method != Method::OPTIONS || !head.headers.contains_key(header::ORIGIN) {
        return None;
    }
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    if apply(cors, &head.headers, headers) {
        let asked = head.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
        list(headers, header::ACCESS_CONTROL_ALLOW_METHODS, &cors.allow_methods, cors, Some(method));
        list(headers, header::ACCESS_CONTROL_ALLOW_HEADERS, &cors.allow_headers, cors, asked);
        if let Some(seconds) = cors.max_age {
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, seconds.into());
        }
        headers.remove(header::ACCESS_CONTROL_EXPOSE_HEADERS);
    }
    Some(response)
}

/// Has an answer's `headers` say what the asking origin may do; whether that is anything. Two opinions in one answer would
/// be an error to browsers, or permit what the settings do not, so the function's goes.
pub(super) fn apply(cors: &Cors, asked: &HeaderMap, headers: &mut HeaderMap) -> bool {
    let said: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("access-control-")).cloned().collect();
    for name in said {
        headers.remove(name);
    }
    let Some(origin) = asked.get(header::ORIGIN) else { return false };
    let all = cors.allow_origins.iter().any(|it| it == "*");
    let named = cors.allow_origins.iter().any(|it| it.as_bytes().eq_ignore_ascii_case(origin.as_bytes()));
    if !all && !named {
        return false;
    }
    // Browsers take no `*` where there are credentials.
    if all && !cors.allow_credentials {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    if cors.allow_credentials {
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    list(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, &cors.expose_headers, cors, None);
    true
}

/// `names` with commas between. Beside credentials `*` is no wildcard: then what is `asked` for is named.
fn list(
    headers: &mut HeaderMap,
    header: HeaderName,
    names: &[String],
    cors: &Cors,
    asked: Option<&HeaderValue>,
) {
    if names.is_empty() {
        return;
    }
    let value = match asked {
        Some(asked) if cors.allow_credentials && names.iter().any(|name| name == "*") => Some(asked.clone()),
        _ => HeaderValue::try_from(names.join(",")).ok(),
    };
    if let Some(value) = value {
        headers.insert(header, value);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn cors(origins: &[&str], allow_credentials: bool) -> Cors {
        let owned = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect();
        Cors {
            allow_credentials,
            allow_headers: owned(&["x-a", "x-b"]),
            allow_methods: owned(&["*"]),
            allow_origins: owned(origins),
            expose_headers: owned(&["x-c"]),
            max_age: Some(60),
        }
    }

    fn ask(cors: &Cors, method: &str, origin: &str) -> Option<Response<Bytes>> {
        let request = Request::builder()
            .method(method)
            .header("origin", origin)
            .header("access-control-request-method", "PUT");
        preflight(cors, &request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_preflight_is_answered() {
        let answer = ask(&cors(&["*"], false), "OPTIONS", "https://a").unwrap();
        let headers = answer.headers();
        assert_eq!(answer.status(), 200);
        assert_eq!(headers["access-control-allow-origin"], "*");
        assert_eq!(headers["access-control-allow-methods"], "*");
        assert_eq!(headers["access-control-allow-headers"], "x-a,x-b");
        assert_eq!(headers["access-control-max-age"], "60");
        let answer = ask(&cors(&["*"], true), "OPTIONS", "https://a").unwrap();
        assert_eq!(answer.headers()["access-control-allow-origin"], "https://a");
        assert_eq!(answer.headers()["access-control-allow-methods"], "PUT");
        assert!(ask(&cors(&["https://b"], false), "OPTIONS", "https://a").unwrap().headers().is_empty());
        assert!(ask(&cors(&["*"], false), "GET", "https://a").is_none());
    }

    #[test]
    fn the_settings_win_over_the_function() {
        let mut said = HeaderMap::new();
        for (name, value) in [
            ("access-control-allow-origin", "https://function"),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "x-f"),
            ("access-control-allow-methods", "DELETE"),
            ("x-own", "1"),
        ] {
            said.append(name, value.parse().unwrap());
        }
        let cors = cors(&["https://a"], false);
        for origin in [None, Some("https://b")] {
            let (mut asked, mut answer) = (HeaderMap::new(), said.clone());
            asked.extend(origin.map(|it| (header::ORIGIN, it.parse().unwrap())));
            assert!(!apply(&cors, &asked, &mut answer));
            assert_eq!(answer.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-own"]);
        }
        let (mut asked, mut answer) = (HeaderMap::new(), said);
        asked.insert("origin", "https://a".parse().unwrap());
        assert!(apply(&cors, &asked, &mut answer));
        assert_eq!(answer["access-control-allow-origin"], "https://a");
        assert_eq!(answer["access-control-expose-headers"], "x-c");
        assert_eq!(answer["vary"], "Origin");
        assert_eq!(answer.len(), 4);
    }
}
