//! AWS's requests: read, authenticated, called, answered.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderValue, Response, header};
use hyper::body::Incoming;
use lambfold_api::lambda::{LAMBDA_INVOKE_OPERATIONS, serve_lambda, serve_lambda_invoke};
use lambfold_api::logs::serve_logs;
use lambfold_api::sqs::{ReceiveMessageResult, SQS_OPERATIONS, SQS_RECEIVE_MESSAGE, serve_sqs};
use lambfold_api::wire::WireCodec;
use lambfold_api::{CallContext, Fault, Operation, TraceContext};
use lambfold_aws_wire::sigv4::{Covered, Signature};
use lambfold_aws_wire::{
    Answer, AwsJson, AwsQuery, EventStreams, Protocol, QueryFormat, QueryRequest, RestJson, RestRequest,
    Route, in_words_of,
};
use lambfold_telemetry::{root_span, span, trace_of};
use tokio::select;
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::body;
use crate::front::Front;
use crate::identity::Origin;

type Outcome<B> = Result<Response<B>, Fault>;

impl Front {
    /// The operation that the request is for, if it is for one, and the answer.
    pub(crate) async fn aws(
        &self,
        head: Parts,
        body: Incoming,
        request_id: Uuid,
    ) -> (Option<&'static Operation>, Response<Answer>) {
        match self.router.route(&head) {
            Ok(Route::AwsJson(operation)) => {
                let outcome = self.aws_json(operation, &head, body, request_id).await;
                let protocol =
                    if operation.service == "logs" { Protocol::AwsJson11 } else { Protocol::AwsJson };
                (Some(operation), or_fault(outcome, operation.service, protocol, request_id))
            }
            Ok(Route::Query(format)) => self.query(&head, body, format, request_id).await,
            Ok(Route::Rest(operation, labels)) => {
                let outcome = match self.read(operation.max_request_bytes, &head, body).await {
                    Ok(body) => self.rest(operation, RestRequest { head, labels, body }, request_id).await,
                    Err(fault) => Err(fault),
                };
                (Some(operation), or_fault(outcome, "lambda", Protocol::RestJson, request_id))
            }
            Err(refusal) => (None, refusal.into_response(request_id).map(Answer::Whole)),
        }
    }

    async fn aws_json(
        &self,
        operation: &'static Operation,
        head: &Parts,
        body: Incoming,
        request_id: Uuid,
    ) -> Outcome<Answer> {
        let body = self.read(operation.max_request_bytes, head, body).await?;
        let ctx = self.context(head, &body, request_id)?;
        if operation.service == "logs" {
            let (ctx, span) = self.traced(operation, ctx);
            let codec = EventStreams::rpc(AwsJson);
            let call = serve_logs(&*self.logs, operation, &ctx, &codec, body);
            return self.within(&ctx, Box::pin(call)).instrument(span).await;
        }
        Ok(self.call_sqs(operation, ctx, &AwsJson, body).await?.map(Answer::Whole))
    }

    async fn query(
        &self,
        head: &Parts,
        body: Incoming,
        format: QueryFormat,
        request_id: Uuid,
    ) -> (Option<&'static Operation>, Response<Answer>) {
        let mut found = None;
        let outcome = async {
            let largest = SQS_OPERATIONS.iter().map(|it| it.max_request_bytes).max().unwrap_or_default();
            let body = self.read(largest, head, body).await?;
            let mut request = QueryRequest { parameters: vec![body.clone()], queue_url: None };
            request.parameters.extend(head.uri.query().map(|query| Bytes::copy_from_slice(query.as_bytes())));
            let operation = self.router.query(head, &request)?;
            found = Some(operation);
            let ctx = self.context(head, &body, request_id)?;
            let path = head.uri.path();
            request.queue_url = (path != "/").then(|| format!("{}{path}", ctx.endpoint));
            let codec = AwsQuery { format, request_id };
            Ok(self.call_sqs(operation, ctx, &codec, request).await?.map(Answer::Whole))
        }
        .await;
        (found, or_fault(outcome, "sqs", Protocol::Query(format), request_id))
    }

    async fn rest(
        &self,
        operation: &'static Operation,
        request: RestRequest,
        request_id: Uuid,
    ) -> Outcome<Answer> {
        let mut ctx = self.context(&request.head, &request.body, request_id)?;
        let is_invoke = LAMBDA_INVOKE_OPERATIONS.iter().any(|it| std::ptr::eq(*it, operation));
        if is_invoke {
            ctx.deadline = Some(self.clock.now() + self.options.invoke_timeout);
        }
        let (mut ctx, span) = self.traced(operation, ctx);
        if is_invoke {
            // Who invokes is told the trace, whether he began it or not.
            ctx.trace.get_or_insert_with(|| TraceContext::unsampled(self.clock.now(), &*self.entropy));
        }
        let mut answer = if is_invoke {
            let codec = EventStreams::rest(RestJson);
            let call = serve_lambda_invoke(&*self.invoke, operation, &ctx, &codec, request);
            self.within(&ctx, Box::pin(call)).instrument(span).await?
        } else {
            let call = serve_lambda(&*self.lambda, operation, &ctx, &RestJson, request);
            self.within(&ctx, Box::pin(call)).instrument(span).await?.map(Answer::Whole)
        };
        if let Some(trace) = ctx.trace.filter(|_| is_invoke)
            && let Ok(value) = HeaderValue::try_from(trace.to_amzn())
        {
            answer.headers_mut().insert("x-amzn-trace-id", value);
        }
        Ok(answer)
    }

    async fn call_sqs<C: WireCodec<Response = Response<Bytes>>>(
        &self,
        operation: &'static Operation,
        ctx: CallContext,
        codec: &C,
        request: C::Request,
    ) -> Outcome<Bytes> {
        let (ctx, span) = self.traced(operation, ctx);
        let call = serve_sqs(&*self.sqs, operation, &ctx, codec, request);
        let call = self.within(&ctx, Box::pin(call)).instrument(span);
        if operation.index != SQS_RECEIVE_MESSAGE.index {
            return call.await;
        }
        select! {
            biased;
            outcome = call => outcome,
            // A long poll ends as it would when no message came, so that stopping does not wait for it.
            () = self.stopping.cancelled() => codec.encode(operation, ReceiveMessageResult::default()),
        }
    }

    /// The body, within the bounds of an operation that takes `most` bytes: JSON, base64 and percent-encoding make up
    /// to six bytes of one.
    async fn read(&self, most: usize, head: &Parts, body: Incoming) -> Result<Bytes, Fault> {
        let limit = most.saturating_mul(6).min(self.options.max_body_bytes);
        let expects_continue = head.headers.contains_key(header::EXPECT);
        body::read(body, limit, &self.room, self.options.body_timeout, &*self.clock, expects_continue).await
    }

    pub(crate) fn context(&self, head: &Parts, body: &[u8], request_id: Uuid) -> Result<CallContext, Fault> {
        let signature = Signature::of(head)?;
        let caller = self.verifier.verify(signature.as_ref(), Covered::Http { head, body })?;
        let origin = Origin::of(head);
        Ok(CallContext {
            scope: caller.scope,
            principal: caller.principal,
            request_id,
            endpoint: self.options.public_url.clone().unwrap_or_else(|| origin.endpoint()),
            trace: origin.trace(),
            trace_header: origin.trace_header(),
            deadline: Some(self.clock.now() + self.options.request_timeout),
            passed_on: false,
        })
    }

    /// The request's span, and the context of what is called in it.
    pub(crate) fn traced(&self, operation: &'static Operation, ctx: CallContext) -> (CallContext, Span) {
        let span = match ctx.trace {
            None if self.options.traces_every_request => root_span!(
                "gateway.request",
                "rpc.service" = operation.service,
                "rpc.method" = operation.name,
                "request.id" = %ctx.request_id
            ),
            trace => span!(
                trace,
                "gateway.request",
                "rpc.service" = operation.service,
                "rpc.method" = operation.name,
                "request.id" = %ctx.request_id
            ),
        };
        let trace = trace_of(&span).or(ctx.trace);
        (CallContext { trace, ..ctx }, span)
    }

    /// What `call` comes to before its deadline. A call that panics fails alone.
    pub(crate) async fn within<B>(
        &self,
        ctx: &CallContext,
        call: impl Future<Output = Result<B, Fault>>,
    ) -> Result<B, Fault> {
        let call = AssertUnwindSafe(call).catch_unwind();
        let Some(deadline) = ctx.deadline else {
            return call.await.unwrap_or_else(|_| Err(Fault::internal()));
        };
        select! {
            biased;
            outcome = call => outcome.unwrap_or_else(|_| Err(Fault::internal())),
            () = self.clock.sleep_until(deadline) => Err(Fault::deadline_exceeded()),
        }
    }
}

fn or_fault(
    outcome: Outcome<Answer>,
    service: &str,
    protocol: Protocol,
    request_id: Uuid,
) -> Response<Answer> {
    outcome.unwrap_or_else(|fault| {
        let fault = in_words_of(service, fault);
        if fault.http_status() >= 500 {
            tracing::warn!(%request_id, code = fault.code(), message = fault.message(), "a request failed");
        }
        protocol.fault(&fault, request_id).map(Answer::Whole)
    })
}
