//! What is said of a call beside its input, as it travels in a stream of calls (proto/lambfold/api/v1/calls.proto).

use std::time::Duration;

use lambfold_types::{Clock, Scope};
use uuid::Uuid;

use crate::context::{CallContext, Endpoint, Principal};
use crate::fault::Fault;
use crate::trace::TraceContext;
use crate::wire_messages::CallHead;

/// The head of a call by `ctx` that is waited for as long as `timeout`.
pub(super) fn head(ctx: &CallContext, operation_id: Option<Uuid>, timeout: Option<Duration>) -> CallHead {
    CallHead {
        account: ctx.scope.account.to_string(),
        region: ctx.scope.region.to_string(),
        principal: ctx.principal.as_str().to_owned(),
        request_id: bytes_of(ctx.request_id),
        endpoint: ctx.endpoint.as_str().to_owned(),
        traceparent: ctx.trace.map(TraceContext::to_traceparent).unwrap_or_default(),
        amzn_trace_id: ctx.trace_header.as_deref().unwrap_or_default().to_owned(),
        timeout_us: timeout.map(|it| u64::try_from(it.as_micros()).unwrap_or(u64::MAX)),
        operation_id: operation_id.map(bytes_of).unwrap_or_default(),
        passed_on: ctx.passed_on,
    }
}

/// The context that a peer said by `head`, and the id of a keyed call.
pub(super) fn context(head: &CallHead, clock: &dyn Clock) -> Result<(CallContext, Option<Uuid>), Fault> {
    let scope = Scope {
        account: head.account.parse().map_err(|_| unsaid("account"))?,
        region: head.region.parse().map_err(|_| unsaid("region"))?,
    };
    let ctx = CallContext {
        scope,
        principal: Principal::from_peer(
            Some(&*head.principal).filter(|it| !it.is_empty()).ok_or_else(|| unsaid("principal"))?,
        ),
        request_id: Uuid::from_slice(&head.request_id).map_err(|_| unsaid("request id"))?,
        endpoint: Endpoint::parse(&head.endpoint),
        trace: TraceContext::from_traceparent(&head.traceparent),
        trace_header: TraceContext::header(&head.amzn_trace_id),
        deadline: head.timeout_us.map(|wait| clock.now() + Duration::from_micros(wait)),
        passed_on: head.passed_on,
    };
    Ok((ctx, Uuid::from_slice(&head.operation_id).ok()))
}

/// A peer left out what every call has.
pub(super) fn unsaid(what: &str) -> Fault {
    Fault::raw("AccessDeniedException", "AccessDenied", 403, format!("A peer must say the {what} of a call."))
}

fn bytes_of(id: Uuid) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(id.as_bytes())
}
