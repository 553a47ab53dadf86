//! Who calls, from where and in which trace: taken from what the client sent, never from `lambfold-*` metadata, which
//! belongs to peers.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use lambfold_api::rpc::ContextSource;
use lambfold_api::{CallContext, Endpoint, Fault, TraceContext};
use lambfold_aws_wire::sigv4::{Covered, Signature, Verifier};
use lambfold_types::{Clock, Entropy, cut, uuid_v4};
use tonic::metadata::{KeyRef, MetadataMap};

/// Marks a request that came inside TLS.
#[derive(Clone, Copy)]
pub(crate) struct Secure;

/// What the head of a request says of the way that it came, and of its trace. Looked for in one pass: most of these headers are
/// not there, and a map hashes every name that it is asked for.
pub(crate) struct Origin<'a> {
    is_secure: bool,
    /// That of the URL, in HTTP/2.
    authority: Option<&'a str>,
    host: Said<'a>,
    forwarded_host: Said<'a>,
    forwarded_proto: Said<'a>,
    forwarded_port: Said<'a>,
    traceparent: Said<'a>,
    amzn_trace_id: Said<'a>,
}

/// What a header says where it stands first; what follows under the same name is somebody else's.
#[derive(Clone, Copy, Default)]
struct Said<'a> {
    first: Option<&'a HeaderValue>,
}

impl<'a> Said<'a> {
    fn text(self) -> Option<&'a str> {
        self.first.and_then(|value| value.to_str().ok())
    }

    /// Of a list, what the proxy next to the client said.
    fn item(self) -> Option<&'a str> {
        self.text().map(|list| cut(list, b',').map_or(list, |(item, _)| item).trim())
    }
}

impl<'a> Origin<'a> {
    pub(crate) fn of(head: &'a Parts) -> Self {
        let mut origin = Self {
            is_secure: head.extensions.get::<Secure>().is_some(),
            authority: head.uri.authority().map(http::uri::Authority::as_str),
            host: Said::default(),
            forwarded_host: Said::default(),
            forwarded_proto: Said::default(),
            forwarded_port: Said::default(),
            traceparent: Said::default(),
            amzn_trace_id: Said::default(),
        };
        for (name, value) in &head.headers {
            let said = match name.as_str() {
                "host" => &mut origin.host,
                "x-forwarded-host" => &mut origin.forwarded_host,
                "x-forwarded-proto" => &mut origin.forwarded_proto,
                "x-forwarded-port" => &mut origin.forwarded_port,
                "traceparent" => &mut origin.traceparent,
                "x-amzn-trace-id" => &mut origin.amzn_trace_id,
                _ => continue,
            };
            said.first.get_or_insert(value);
        }
        origin
    }

    /// Scheme and authority that the client used, through proxies that say so.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint_at(self.hosts().next().unwrap_or_default())
    }

    /// What the request says its host is: the one that a proxy was asked for, that of the URL, that of the header.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &'a str> {
        [self.forwarded_host.item(), self.authority, self.host.text()].into_iter().flatten()
    }

    /// The scheme that the client used, and `host`, with its port: what a proxy says of it counts where `host` has none.
    pub(crate) fn endpoint_at(&self, host: &str) -> Endpoint {
        let own = if self.is_secure { "https" } else { "http" };
        let forwarded = self.forwarded_proto.item();
        let scheme = forwarded.filter(|it| matches!(*it, "http" | "https")).unwrap_or(own);
        let usual = if scheme == "https" { 443 } else { 80 };
        let port = self.forwarded_port.item().and_then(|port| port.parse::<u16>().ok());
        let with_port =
            port.filter(|port| *port != usual && !has_port(host)).map(|port| format!("{host}:{port}"));
        Endpoint::new(scheme, with_port.as_deref().unwrap_or(host)).unwrap_or_default()
    }

    /// The trace that the request is part of, W3C form first.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        let of_w3c = self.traceparent.text().and_then(TraceContext::from_traceparent);
        of_w3c.or_else(|| self.amzn_trace_id.text().and_then(TraceContext::from_amzn))
    }

    /// The caller's `X-Amzn-Trace-Id`, to pass on.
    pub(crate) fn trace_header(&self) -> Option<Arc<str>> {
        self.amzn_trace_id.text().and_then(TraceContext::header)
    }
}

fn has_port(host: &str) -> bool {
    host.rsplit(']').next().is_some_and(|end| end.contains(':'))
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

    use super::Origin;

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
            (&[("host", "a"), ("x-forwarded-host", "b"), ("x-forwarded-host", "c")], "http://b"),
            (&[("host", "a"), ("x-forwarded-host", "\u{e9}"), ("x-forwarded-host", "c")], "http://a"),
            (&[], "http://localhost:4566"),
        ] {
            let mut request = Request::get("/");
            for (name, value) in headers {
                request = request.header(*name, value.as_bytes());
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(Origin::of(&head).endpoint().as_str(), expected, "{headers:?}");
        }
        // Over HTTP/2 the authority stands in the URL.
        let (head, ()) = Request::get("http://h2:4566/").body(()).unwrap().into_parts();
        assert_eq!(Origin::of(&head).endpoint().as_str(), "http://h2:4566");
    }
}
