//! Who calls, from where and in which trace: taken from what the client sent, never from `lambfold-*` metadata, which
//! belongs to peers.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, header};
use lambfold_api::rpc::ContextSource;
use lambfold_api::{CallContext, Endpoint, Fault, TraceContext};
use lambfold_aws_wire::sigv4::{Covered, Signature, Verifier};
use lambfold_types::{Clock, Entropy, uuid_v4};
use tonic::metadata::{KeyRef, MetadataMap};

/// Marks a request that came inside TLS.
#[derive(Clone, Copy)]
pub(crate) struct Secure;

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const AMZN_TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// Scheme and authority that the client used, through proxies that say so.
pub(crate) fn endpoint(head: &Parts) -> Endpoint {
    endpoint_at(head, hosts(head).next().unwrap_or_default())
}

/// What a request says its host is: the one that a proxy was asked for, that of the URL (HTTP/2), that of the header.
pub(crate) fn hosts(head: &Parts) -> impl Iterator<Item = &str> {
    let forwarded = first(head, &FORWARDED_HOST);
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    [forwarded, authority, text(&head.headers, &header::HOST)].into_iter().flatten()
}

/// The scheme that the client used, and `host`, with its port: what a proxy says of it counts where `host` has none.
pub(crate) fn endpoint_at(head: &Parts, host: &str) -> Endpoint {
    let own = if head.extensions.get::<Secure>().is_some() { "https" } else { "http" };
    let scheme = first(head, &FORWARDED_PROTO).filter(|it| matches!(*it, "http" | "https")).unwrap_or(own);
    let usual = if scheme == "https" { 443 } else { 80 };
    let port = first(head, &FORWARDED_PORT).and_then(|port| port.parse::<u16>().ok());
    let has_port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
    let with_port = port.filter(|port| *port != usual && !has_port).map(|port| format!("{host}:{port}"));
    Endpoint::new(scheme, with_port.as_deref().unwrap_or(host)).unwrap_or_default()
}

/// The trace that the request is part of, W3C form first.
pub(crate) fn trace(headers: &HeaderMap) -> Option<TraceContext> {
    text(headers, &TRACEPARENT)
        .and_then(TraceContext::from_traceparent)
        .or_else(|| text(headers, &AMZN_TRACE_ID).and_then(TraceContext::from_amzn))
}

/// The caller's `X-Amzn-Trace-Id`, to pass on.
pub(crate) fn trace_header(headers: &HeaderMap) -> Option<Arc<str>> {
    text(headers, &AMZN_TRACE_ID).and_then(TraceContext::header)
}

/// Of a list, what the proxy next to the client said.
fn first<'a>(head: &'a Parts, name: &HeaderName) -> Option<&'a str> {
    text(&head.headers, name).and_then(|value| value.split(',').next()).map(str::trim)
}

pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Authenticates the calls of the public gRPC listener.
pub(crate) struct PublicContext {
    pub(crate) verifier: Arc<dyn Verifier>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) request_timeout: Duration,
    /// Where queue URLs in answers lead: the HTTP listener, since gRPC's own address takes no SQS clients.
    pub(crate) endpoint: Endpoint,
}

impl ContextSource for PublicContext {
    fn context(&self, metadata: &MetadataMap) -> Result<CallContext, Fault> {
        let is_internal = |key: KeyRef<'_>| match key {
            KeyRef::Ascii(key) => key.as_str().starts_with("lambfold-"),
            KeyRef::Binary(key) => key.as_str().starts_with("lambfold-"),
        };
        if metadata.keys().any(is_internal) {
            return Err(Fault::raw(
                "AccessDeniedException",
                "AccessDenied",
                403,
                "Metadata that begins with lambfold- belongs to peers; this listener takes none.",
            ));
        }
        let value = |key: &str| metadata.get(key).and_then(|value| value.to_str().ok());
        let signature = value("authorization").map(Signature::from_authorization).transpose()?.flatten();
        let caller = self.verifier.verify(signature.as_ref(), Covered::Rpc)?;
        let trace_header = value("x-amzn-trace-id");
        let trace = value("traceparent")
            .and_then(TraceContext::from_traceparent)
            .or_else(|| trace_header.and_then(TraceContext::from_amzn));
        Ok(CallContext {
            scope: caller.scope,
            principal: caller.principal,
            request_id: uuid_v4(&*self.entropy),
            endpoint: self.endpoint.clone(),
            trace,
            trace_header: trace_header.and_then(TraceContext::header),
            // `grpc-timeout` is kept by the server itself, which drops the call.
            deadline: Some(self.clock.now() + self.request_timeout),
            passed_on: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::endpoint;

    #[test]
    fn answers_lead_back_the_way_the_client_came() {
        for (headers, expected) in [
            (&[("host", "localhost:4566")][..], "http://localhost:4566"),
            (&[("host", "a:1"), ("x-forwarded-proto", "https")], "https://a:1"),
            (
                &[
                    ("host", "a:1"),
                    ("x-forwarded-host", "sqs.example.com, b"),
                    ("x-forwarded-proto", "https, http"),
                ],
                "https://sqs.example.com",
            ),
            (&[("host", "a:1"), ("x-forwarded-proto", "gopher")], "http://a:1"),
            (
                &[("host", "a"), ("x-forwarded-proto", "https"), ("x-forwarded-port", "8443")],
                "https://a:8443",
            ),
            (&[("host", "[::1]"), ("x-forwarded-port", "8080")], "http://[::1]:8080"),
            (&[("host", "a:1"), ("x-forwarded-port", "8080")], "http://a:1"),
            (&[("host", "a"), ("x-forwarded-proto", "https"), ("x-forwarded-port", "443")], "https://a"),
            (&[("host", "a b/c")], "http://localhost:4566"),
            (&[], "http://localhost:4566"),
        ] {
            let mut request = Request::get("/");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(endpoint(&head).as_str(), expected, "{headers:?}");
        }
        // Over HTTP/2 the authority stands in the URL.
        let (head, ()) = Request::get("http://h2:4566/").body(()).unwrap().into_parts();
        assert_eq!(endpoint(&head).as_str(), "http://h2:4566");
    }
}
