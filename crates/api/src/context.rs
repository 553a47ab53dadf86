//! What travels beside every call.

use std::fmt;
use std::sync::Arc;

use lambfold_types::{Scope, Timestamp, cut};
use uuid::Uuid;

use crate::trace::TraceContext;

/// Who calls, in which scope, until when, and as part of which trace. Made once at the edge (from a signature, or
/// from the metadata of a peer) and passed on unchanged.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// The account and region that the caller acts in.
    pub scope: Scope,
    /// Who calls.
    pub principal: Principal,
    /// The id that the client sees and the log names.
    pub request_id: Uuid,
    /// Where the client reached us: queue URLs are built from it.
    pub endpoint: Endpoint,
    /// The caller's trace, if it takes part in one.
    pub trace: Option<TraceContext>,
    /// The caller's `X-Amzn-Trace-Id` as it stands, for who gets to see it: a message's receiver, a function.
    pub trace_header: Option<Arc<str>>,
    /// When the caller stops waiting.
    pub deadline: Option<Timestamp>,
    /// A peer of the same role passed the call on to who should answer it: it is not passed on again.
    pub passed_on: bool,
}

impl CallContext {
    /// A context for work that a service starts by itself.
    pub fn internal(scope: Scope, request_id: Uuid) -> Self {
        Self {
            principal: Principal::service("lambfold"),
            scope,
            request_id,
            endpoint: Endpoint::default(),
            trace: None,
            trace_header: None,
            deadline: None,
            passed_on: false,
        }
    }

    /// The trace as AWS's clients read it: what the caller sent, else that of the call, if it has one.
    pub fn amzn_trace(&self) -> Option<String> {
        let sent = self.trace_header.as_deref().map(str::to_owned);
        sent.or_else(|| self.trace.map(TraceContext::to_amzn))
    }

    /// The same with another trace.
    pub fn with_trace(&self, trace: Option<TraceContext>) -> Self {
        Self { trace, ..self.clone() }
    }

    /// The same for the peer that it is passed on to.
    pub fn to_pass_on(&self) -> Self {
        Self { passed_on: true, ..self.clone() }
    }
}

/// Who calls: an ARN for a client, a service name for one of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal(Arc<str>);

impl Principal {
    /// The root of an account: what a laptop's unverified signature stands for.
    pub fn account_root(scope: &Scope) -> Self {
        let account = scope.account.to_string();
        Self(["arn:", scope.region.partition(), ":iam::", &account, ":root"].concat().into())
    }

    /// One of Lambfold's own parts.
    pub fn service(name: &str) -> Self {
        Self(format!("service:{name}").into())
    }

    /// A principal as a peer told it.
    pub fn from_peer(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Scheme and authority that the client used (its `Host`), so that URLs in answers lead back the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Arc<str>);

impl Endpoint {
    /// From a scheme and a `Host` header. `None` if the host has characters that no authority has.
    pub fn new(scheme: &str, host: &str) -> Option<Self> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
        let sound = !host.is_empty() && host.len() <= 255 && host.bytes().all(legal);
        (sound && matches!(scheme, "http" | "https")).then(|| Self([scheme, "://", host].concat().into()))
    }

    /// As a peer tells it; the default if it is no endpoint.
    pub(crate) fn parse(text: &str) -> Self {
        text.split_once("://").and_then(|(scheme, host)| Self::new(scheme, host)).unwrap_or_default()
    }

    /// Whether `authority` (host and port, if it has one) is where it leads.
    pub fn is_at(&self, authority: &str) -> bool {
        let own = cut(&self.0, b':').and_then(|(_, own)| own.strip_prefix("//"));
        own.is_some_and(|own| own.eq_ignore_ascii_case(authority))
    }

    /// `scheme://authority`, without a slash at the end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Endpoint {
    fn default() -> Self {
        Self("http://localhost:4566".into())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
