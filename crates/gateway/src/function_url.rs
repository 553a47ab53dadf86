//! Requests to function URLs: found by the host's name, made an event, invoked, and answered in HTTP.

mod cors;
mod event;
mod response;
mod table;

use std::io;
use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use hyper::body::Incoming;
use lambfold_api::lambda::invoke_with_response_stream_frame::Frame;
use lambfold_api::lambda::{
    InvocationRequest, InvokeWithResponseStreamFrame, InvokeWithResponseStreamRequest, LAMBDA_INVOKE_INVOKE,
    LAMBDA_INVOKE_INVOKE_WITH_RESPONSE_STREAM,
};
use lambfold_api::{BoxStream, CallContext, Endpoint, Fault, Operation, Principal, TraceContext};
use lambfold_aws_wire::Answer;
use lambfold_aws_wire::sigv4::{Covered, Signature};
use lambfold_types::AccountId;
use serde_json::json;
use tracing::Instrument;
use uuid::Uuid;

use crate::body;
use crate::front::Front;
use crate::identity::Origin;

use event::Around;
pub(crate) use table::{Target, UrlTable, follow};

/// What stands behind the id in the name of a URL's host.
const LABEL: &str = ".lambda-url.";
/// AWS's limit of a synchronous request.
const MOST_BODY_BYTES: usize = 6_291_456;
/// The content type by which a function says that its answer begins with a prelude.
const WITH_PRELUDE: &str = "application/vnd.awslambda.http-integration-response";
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
const FORBIDDEN: &str = "Forbidden. For troubleshooting Function URL authorization issues, see: \
    https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html";

type Frames = BoxStream<Result<InvokeWithResponseStreamFrame, Fault>>;

/// A function URL as a request names it.
pub(crate) struct Named {
    id: String,
    /// Where the client found it.
    endpoint: Endpoint,
}

/// The function URL that a request is for, if it is for one. A proxy that was asked for a name of its own may have passed
/// the URL's on.
pub(crate) fn named(head: &Parts) -> Option<Named> {
    let origin = Origin::of(head);
    origin.hosts().find_map(|host| {
        let dot = host.find('.')?;
        let is_url = host.get(dot..dot + LABEL.len()).is_some_and(|it| it.eq_ignore_ascii_case(LABEL));
        is_url.then(|| Named { id: host[..dot].to_ascii_lowercase(), endpoint: origin.endpoint_at(host) })
    })
}

/// Who signed a request.
struct Signed {
    access_key: String,
    account: AccountId,
    principal: Principal,
}

impl Front {
    /// Answers a request to that function URL, and says which operation it came to.
    pub(crate) async fn function_url(
        &self,
        Named { id, endpoint }: Named,
        head: Parts,
        body: Incoming,
        from: IpAddr,
        request_id: Uuid,
    ) -> (Option<&'static Operation>, Response<Answer>) {
        let target = match self.urls.find(&id, &*self.clock).await {
            Ok(Some(target)) => target,
            // As on AWS: it is not told which there are.
            Ok(None) => return (None, message(StatusCode::FORBIDDEN, "AccessDeniedException", None)),
            Err(()) => {
                let text = Some("Service Unavailable");
                return (None, message(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException", text));
            }
        };
        let cors = target.url.cors.as_ref();
        if let Some(answer) = cors.and_then(|cors| cors::preflight(cors, &head)) {
            return (None, answer.map(Answer::Whole));
        }
        let outcome = self.invoke_url(&target, endpoint, &head, body, from, request_id).await;
        let mut response = outcome.unwrap_or_else(|fault| {
            if fault.http_status() >= 500 {
                tracing::warn!(%request_id, code = fault.code(), message = fault.message(), "a request failed");
            }
            refused(&fault)
        });
        if let Some(cors) = cors {
            cors::apply(cors, &head.headers, response.headers_mut());
        }
        (Some(operation_of(&target)), response)
    }

    async fn invoke_url(
        &self,
        target: &Target,
        endpoint: Endpoint,
        head: &Parts,
        body: Incoming,
        from: IpAddr,
        request_id: Uuid,
    ) -> Result<Response<Answer>, Fault> {
        let asks = head.headers.contains_key(header::EXPECT);
        let patience = self.options.body_timeout;
        let body = body::read(body, MOST_BODY_BYTES, &self.room, patience, &*self.clock, asks).await?;
        let is_open = target.url.auth_type == "NONE";
        let signed = if is_open { None } else { self.signed(target, head, &body) };
        if signed.is_none() && !is_open {
            return Ok(message(StatusCode::FORBIDDEN, "AccessDeniedException", Some(FORBIDDEN)));
        }
        let principal = signed.as_ref().map(|it| it.principal.clone());
        let origin = Origin::of(head);
        let ctx = CallContext {
            scope: target.scope.clone(),
            principal: principal.unwrap_or_else(|| Principal::from_peer("anonymous")),
            request_id,
            endpoint,
            trace: origin.trace(),
            trace_header: origin.trace_header(),
            deadline: Some(self.clock.now() + self.options.invoke_timeout),
            passed_on: false,
        };
        let operation = operation_of(target);
        let (ctx, span) = self.traced(operation, ctx);
        let trace = ctx.trace.unwrap_or_else(|| TraceContext::unsampled(self.clock.now(), &*self.entropy));
        let ctx = ctx.with_trace(Some(trace));
        let around = Around {
            request_id,
            now: self.clock.now(),
            from,
            url_id: &target.url.url_id,
            endpoint: ctx.endpoint.as_str(),
            trace,
            signed: signed.as_ref().map(|it| (&*it.access_key, it.account)),
        };
        let payload = Bytes::from(event::event(head, &body, &around).to_string());
        drop(body);
        let function_name = Some(target.function.clone());
        let qualifier = Some(target.url.qualifier.clone()).filter(|it| !it.is_empty());
        let mut response = if operation.rpc_path == LAMBDA_INVOKE_INVOKE.rpc_path {
            let input =
                InvocationRequest { function_name, qualifier, payload: Some(payload), ..Default::default() };
            let call = self.invoke.invoke(&ctx, input);
            let answer = self.within(&ctx, call).instrument(span).await?;
            let returned = answer.payload.unwrap_or_default();
            let response = answer.function_error.is_none().then(|| response::buffered(returned)).flatten();
            response.unwrap_or_else(failed).map(Answer::Whole)
        } else {
            let input = InvokeWithResponseStreamRequest {
                function_name,
                qualifier,
                payload: Some(payload),
                ..Default::default()
            };
            let call = async { streamed(self.invoke.invoke_with_response_stream(&ctx, input).await?).await };
            self.within(&ctx, call).instrument(span).await?
        };
        if let Ok(value) = HeaderValue::try_from(trace.to_amzn()) {
            response.headers_mut().insert(TRACE_ID, value);
        }
        Ok(response)
    }

    /// Who signed the request, for Lambda and in the function's region, if that is somebody of its account.
    fn signed(&self, target: &Target, head: &Parts, body: &[u8]) -> Option<Signed> {
        let signature = Signature::of(head).ok().flatten().filter(|it| it.service == "lambda")?;
        let caller = self.verifier.verify(Some(&signature), Covered::Http { head, body }).ok()?;
        let account = caller.scope.account;
        (caller.scope == target.scope).then(|| Signed {
            access_key: signature.access_key_id.into_owned(),
            account,
            principal: caller.principal,
        })
    }
}

/// What a request to that URL comes to.
fn operation_of(target: &Target) -> &'static Operation {
    match target.url.invoke_mode.as_str() {
        "RESPONSE_STREAM" => &LAMBDA_INVOKE_INVOKE_WITH_RESPONSE_STREAM,
        _ => &LAMBDA_INVOKE_INVOKE,
    }
}

/// The answer that the frames of a streamed one make. Taken from the function as the client takes it.
async fn streamed(mut frames: Frames) -> Result<Response<Answer>, Fault> {
    let mut content_type = String::new();
    let mut seen = BytesMut::new();
    let mut ended = false;
    loop {
        match frames.next().await.transpose()?.and_then(|it| it.frame) {
            Some(Frame::Head(head)) => {
                content_type = head.response_stream_content_type.unwrap_or_default();
                continue;
            }
            Some(Frame::Chunk(chunk)) => seen.extend_from_slice(&chunk.payload.unwrap_or_default()),
            Some(Frame::Complete(complete)) if complete.error_code.is_none() => ended = true,
            Some(Frame::Complete(_)) | None => return Ok(failed().map(Answer::Whole)),
        }
        let mut response = if content_type == WITH_PRELUDE {
            match response::prelude(&seen) {
                Some((end, begin)) => {
                    let prelude = seen.split_to(begin);
                    match response::streamed(&prelude[..end]) {
                        Some(response) => response,
                        None => return Ok(failed().map(Answer::Whole)),
                    }
                }
                None if ended || seen.len() > response::MOST_PRELUDE_BYTES => {
                    return Ok(failed().map(Answer::Whole));
                }
                None => continue,
            }
        } else {
            let mut response = Response::new(Bytes::new());
            let kind = HeaderValue::try_from(content_type.as_str()).ok().filter(|it| !it.is_empty());
            let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        };
        let first = Some(Ok(seen.freeze())).filter(|it| !matches!(it, Ok(bytes) if bytes.is_empty()));
        if ended {
            *response.body_mut() = first.and_then(Result::ok).unwrap_or_default();
            return Ok(response.map(Answer::Whole));
        }
        let body: BoxStream<io::Result<Bytes>> = Box::pin(stream::iter(first).chain(rest(frames)));
        return Ok(response.map(|_| Answer::Stream(body)));
    }
}

/// What follows in pieces; a failure half way breaks the connection, since the status is told.
fn rest(frames: Frames) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send {
    stream::unfold(Some(frames), |frames| async move {
        let mut frames = frames?;
        loop {
            return match frames.next().await {
                Some(Ok(frame)) => match frame.frame {
                    Some(Frame::Chunk(chunk)) => {
                        let bytes = chunk.payload.unwrap_or_default();
                        if bytes.is_empty() {
                            continue;
                        }
                        Some((Ok(bytes), Some(frames)))
                    }
                    Some(Frame::Complete(complete)) => {
                        Some((Err(io::Error::other(complete.error_code?)), None))
                    }
                    Some(Frame::Head(_)) | None => continue,
                },
                Some(Err(fault)) => Some((Err(io::Error::other(fault.to_string())), None)),
                None => Some((Err(io::ErrorKind::UnexpectedEof.into()), None)),
            };
        }
    })
}

/// What a client is told of a function that failed.
fn failed() -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(b"Internal Server Error"));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

fn refused(fault: &Fault) -> Response<Answer> {
    match fault.http_status() {
        status @ (408 | 413 | 429 | 503) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            message(status, fault.code(), Some(fault.message()))
        }
        // The alias is gone, or the function at this moment.
        404 => message(StatusCode::FORBIDDEN, "AccessDeniedException", None),
        _ => failed().map(Answer::Whole),
    }
}

fn message(status: StatusCode, code: &str, text: Option<&str>) -> Response<Answer> {
    let page = Bytes::from(json!({ "Message": text }).to_string());
    let mut response = Response::new(Answer::Whole(page));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(code) = HeaderValue::try_from(code) {
        response.headers_mut().insert(ERROR_TYPE, code);
    }
    response
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::named;

    #[test]
    fn the_first_host_that_is_a_url_names_it() {
        let of = |uri: &str, headers: &[(&str, &str)]| {
            let mut request = Request::get(uri);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            named(&request.body(()).unwrap().into_parts().0)
                .map(|it| (it.id, it.endpoint.as_str().to_owned()))
        };
        let there = |id: &str, endpoint: &str| Some((id.to_owned(), endpoint.to_owned()));
        let (a, b) = ("a.lambda-url.us-east-1.localhost:4566", "b.Lambda-URL.us-east-1.localhost");
        assert_eq!(of("/", &[("host", a)]), there("a", &format!("http://{a}")));
        assert_eq!(of("/", &[("host", a), ("x-forwarded-host", b)]), there("b", &format!("http://{b}")));
        // A proxy with a name of its own takes nothing away.
        for forwarded in ["api.example.com", "api.example.com, b.lambda-url.us-east-1.localhost", ""] {
            let headers = [("host", a), ("x-forwarded-host", forwarded)];
            assert_eq!(of("/", &headers), there("a", &format!("http://{a}")), "{forwarded}");
        }
        assert_eq!(of(&format!("http://{a}/"), &[("host", "edge")]), there("a", &format!("http://{a}")));
        assert_eq!(of("/", &[("host", "lambda-url.us-east-1.localhost")]), None);
        assert_eq!(of("/", &[]), None);
    }
}
