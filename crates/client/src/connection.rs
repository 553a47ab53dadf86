//! One keep-alive connection to an AWS endpoint.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use lambfold_types::Clock;
use serde_json::Value;

use crate::endpoint::Endpoint;
use crate::signature::{Credentials, Signer};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens, or the connection broke.
    #[error("cannot reach {0}")]
    Connect(String, #[source] std::io::Error),
    /// The connection broke or the answer is no HTTP.
    #[error("the connection broke")]
    Http(#[from] hyper::Error),
    /// The request cannot be built.
    #[error("a malformed request")]
    Request(#[from] http::Error),
    /// The answer is no JSON.
    #[error("the answer is not JSON")]
    Json(#[from] serde_json::Error),
    /// The service refused.
    #[error("{code}: {message}")]
    Service {
        /// The HTTP status.
        status: u16,
        /// The error code.
        code: String,
        /// The text.
        message: String,
    },
}

/// An answer of any status.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Bytes,
}

impl Answer {
    /// A header's text, if it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// A connection that signs. One request at a time; reconnects by itself after a loss.
pub struct Connection {
    endpoint: Endpoint,
    clock: Arc<dyn Clock>,
    sqs: Signer,
    lambda: Signer,
    logs: Signer,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// A connection to `endpoint`, made when it is first used.
    pub fn new(endpoint: &Endpoint, credentials: &Credentials, region: &str, clock: Arc<dyn Clock>) -> Self {
        Self {
            endpoint: endpoint.clone(),
            clock,
            sqs: Signer::new(credentials.clone(), region, "sqs"),
            lambda: Signer::new(credentials.clone(), region, "lambda"),
            logs: Signer::new(credentials.clone(), region, "logs"),
            sender: None,
        }
    }

    /// An SQS operation in AWS JSON. `trace` is sent as `X-Amzn-Trace-Id`.
    pub async fn sqs_traced(
        &mut self,
        operation: &str,
        input: &Value,
        trace: Option<&str>,
    ) -> Result<Value, Error> {
        let mut request = sqs_request(operation);
        if let Some(trace) = trace {
            request = request.header("x-amzn-trace-id", trace);
        }
        let answer = self.send(Service::Sqs, request, serde_json::to_vec(input)?.into()).await?;
        body(&answer)
    }

    /// An SQS operation in AWS JSON.
    pub async fn sqs(&mut self, operation: &str, input: &Value) -> Result<Value, Error> {
        self.sqs_traced(operation, input, None).await
    }

    /// An operation of CloudWatch Logs in AWS JSON.
    pub async fn logs(&mut self, operation: &str, input: &Value) -> Result<Value, Error> {
        let request = Request::post("/")
            .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("x-amz-target", format!("Logs_20140328.{operation}"));
        body(&self.send(Service::Logs, request, serde_json::to_vec(input)?.into()).await?)
    }

    /// A Lambda operation by its REST binding; the answer's JSON.
    pub async fn lambda(
        &mut self,
        method: Method,
        path: &str,
        input: Option<&Value>,
    ) -> Result<Value, Error> {
        let bytes = input.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let request =
            Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        body(&self.send(Service::Lambda, request, bytes.into()).await?)
    }

    /// Invokes a function and waits for its answer, with the last 4 KB of its log if `tail`.
    pub async fn invoke(&mut self, function: &str, payload: Bytes, tail: bool) -> Result<Answer, Error> {
        let mut request = Request::post(format!("/2015-03-31/functions/{function}/invocations"));
        if tail {
            request = request.header("x-amz-log-type", "Tail");
        }
        let answer = self.send(Service::Lambda, request, payload).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(service_error(&answer)) }
    }

    /// A plain request that belongs to no AWS service: health, metrics, traces.
    pub async fn get(&mut self, path: &str) -> Result<Answer, Error> {
        let request =
            Request::get(path).header(header::HOST, self.endpoint.authority()).body(Full::default())?;
        self.exchange(request).await
    }

    async fn send(
        &mut self,
        service: Service,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<Answer, Error> {
        let (mut parts, ()) = request.header(header::HOST, self.endpoint.authority()).body(())?.into_parts();
        let now = self.clock.now();
        match service {
            Service::Sqs => self.sqs.sign(&mut parts, &body, now),
            Service::Lambda => self.lambda.sign(&mut parts, &body, now),
            Service::Logs => self.logs.sign(&mut parts, &body, now),
        }
        self.exchange(Request::from_parts(parts, Full::new(body))).await
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Error> {
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => self.connect().await?,
        };
        sender.ready().await?;
        let (parts, incoming) = sender.send_request(request).await?.into_parts();
        let body = incoming.collect().await?.to_bytes();
        self.sender = Some(sender);
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Error> {
        let stream = self
            .endpoint
            .connect()
            .await
            .map_err(|error| Error::Connect(self.endpoint.to_string(), error))?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // The connection's task ends with it; what breaks it shows at the next request.
        tokio::spawn(connection);
        Ok(sender)
    }
}

#[derive(Clone, Copy)]
enum Service {
    Sqs,
    Lambda,
    Logs,
}

fn sqs_request(operation: &str) -> http::request::Builder {
    Request::post("/")
        .header(header::CONTENT_TYPE, "application/x-amz-json-1.0")
        .header("x-amz-target", format!("AmazonSQS.{operation}"))
}

fn body(answer: &Answer) -> Result<Value, Error> {
    if !answer.status.is_success() {
        return Err(service_error(answer));
    }
    if answer.body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&answer.body)?) }
}

fn service_error(answer: &Answer) -> Error {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let code = text(&body["__type"])
        .map(|code| code.rsplit('#').next().unwrap_or_default().to_owned())
        .or_else(|| answer.header("x-amzn-errortype").map(str::to_owned))
        .unwrap_or_else(|| answer.status.to_string());
    let message = text(&body["message"]).or_else(|| text(&body["Message"])).unwrap_or_default();
    Error::Service { status: answer.status.as_u16(), code, message }
}
