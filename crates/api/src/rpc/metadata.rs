//! Identity, deadline and trace as gRPC metadata (proto/lambfold/api/v1/context.proto).

use std::sync::Arc;
use std::time::Duration;

use lambfold_types::{Clock, Scope};
use tonic::metadata::{MetadataMap, MetadataValue};
use uuid::Uuid;

use super::head::unsaid;
use super::server::ContextSource;
use crate::context::{CallContext, Endpoint, Principal};
use crate::fault::Fault;
use crate::trace::TraceContext;

const ACCOUNT: &str = "lambfold-account";
const REGION: &str = "lambfold-region";
const PRINCIPAL: &str = "lambfold-principal";
const REQUEST_ID: &str = "lambfold-request-id";
const ENDPOINT: &str = "lambfold-endpoint";
const OPERATION_ID: &str = "lambfold-operation-id";
const PASSED_ON: &str = "lambfold-passed-on";
const CLUSTER_TOKEN: &str = "lambfold-cluster-token";
const TRACEPARENT: &str = "traceparent";
const AMZN_TRACE_ID: &str = "x-amzn-trace-id";

/// Writes `ctx` for a peer.
pub(super) fn inject(ctx: &CallContext, metadata: &mut MetadataMap) {
    let mut put = |key: &'static str, value: String| {
        if let Ok(value) = MetadataValue::try_from(value) {
            metadata.insert(key, value);
        }
    };
    put(ACCOUNT, ctx.scope.account.to_string());
    put(REGION, ctx.scope.region.to_string());
    put(PRINCIPAL, ctx.principal.to_string());
    put(REQUEST_ID, ctx.request_id.to_string());
    put(ENDPOINT, ctx.endpoint.to_string());
    if ctx.passed_on {
        put(PASSED_ON, "true".to_owned());
    }
    if let Some(trace) = ctx.trace {
        put(TRACEPARENT, trace.to_traceparent());
    }
    if let Some(header) = &ctx.trace_header {
        put(AMZN_TRACE_ID, header.to_string());
    }
}

/// Names the attempt's operation, for calls that the receiver remembers.
pub(super) fn inject_operation_id(id: Uuid, metadata: &mut MetadataMap) {
    if let Ok(value) = MetadataValue::try_from(id.to_string()) {
        metadata.insert(OPERATION_ID, value);
    }
}

/// Proves membership of the cluster.
pub(super) fn inject_token(token: &MetadataValue<tonic::metadata::Ascii>, metadata: &mut MetadataMap) {
    metadata.insert(CLUSTER_TOKEN, token.clone());
}

/// The operation id of a keyed call.
pub(super) fn operation_id(metadata: &MetadataMap) -> Option<Uuid> {
    text(metadata, OPERATION_ID)?.parse().ok()
}

/// The trace that any caller may name, W3C form first.
pub(super) fn trace(metadata: &MetadataMap) -> Option<TraceContext> {
    text(metadata, TRACEPARENT)
        .and_then(TraceContext::from_traceparent)
        .or_else(|| text(metadata, AMZN_TRACE_ID).and_then(TraceContext::from_amzn))
}

/// The caller's `X-Amzn-Trace-Id`, to pass on.
pub(super) fn trace_header(metadata: &MetadataMap) -> Option<Arc<str>> {
    text(metadata, AMZN_TRACE_ID).and_then(TraceContext::header)
}

/// The time that the caller is ready to wait, from `grpc-timeout`: up to eight digits and a unit.
pub(super) fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = text(metadata, "grpc-timeout")?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

fn text<'a>(metadata: &'a MetadataMap, key: &str) -> Option<&'a str> {
    metadata.get(key).and_then(|value| value.to_str().ok())
}

/// Reads the context that a peer wrote. Only for listeners that nobody but peers can reach: a socket in a private
/// directory, or a network where `token` is asked for.
pub struct PeerContext {
    clock: Arc<dyn Clock>,
    token: Option<String>,
}

impl PeerContext {
    /// Trusts callers; on a network, those that know `token`.
    pub fn new(clock: Arc<dyn Clock>, token: Option<String>) -> Self {
        Self { clock, token }
    }
}

impl PeerContext {
    /// Refuses who is no peer.
    pub(super) fn admit(&self, metadata: &MetadataMap) -> Result<(), Fault> {
        if let Some(expected) = &self.token {
            let given = text(metadata, CLUSTER_TOKEN).unwrap_or_default();
            if !same(given.as_bytes(), expected.as_bytes()) {
                return Err(Fault::raw(
                    "AccessDeniedException",
                    "AccessDenied",
                    403,
                    "The cluster token is missing or wrong.",
                ));
            }
        }
        Ok(())
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
}

impl ContextSource for PeerContext {
    fn context(&self, metadata: &MetadataMap) -> Result<CallContext, Fault> {
        self.admit(metadata)?;
        let scope = Scope {
            account: text(metadata, ACCOUNT)
                .and_then(|it| it.parse().ok())
                .ok_or_else(|| unsaid("account"))?,
            region: text(metadata, REGION).and_then(|it| it.parse().ok()).ok_or_else(|| unsaid("region"))?,
        };
        Ok(CallContext {
            scope,
            principal: Principal::from_peer(text(metadata, PRINCIPAL).ok_or_else(|| unsaid("principal"))?),
            request_id: text(metadata, REQUEST_ID)
                .and_then(|it| it.parse().ok())
                .ok_or_else(|| unsaid("request id"))?,
            endpoint: text(metadata, ENDPOINT).map(Endpoint::parse).unwrap_or_default(),
            trace: trace(metadata),
            trace_header: trace_header(metadata),
            deadline: timeout(metadata).map(|wait| self.clock.now() + wait),
            passed_on: metadata.contains_key(PASSED_ON),
        })
    }
}

/// Compares without telling by its duration where the texts part.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}
