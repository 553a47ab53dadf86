//! Which service, protocol and operation a request is for: decided from target header, content type, path, parameters
//! and credential scope, never from who sent it.

mod template;

use std::collections::HashMap;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use lambfold_api::lambda::{LAMBDA_INVOKE_OPERATIONS, LAMBDA_OPERATIONS};
use lambfold_api::logs::LOGS_OPERATIONS;
use lambfold_api::sqs::{self, SQS_OPERATIONS};
use lambfold_api::{Fault, Operation};
use uuid::Uuid;

pub use template::Labels;
use template::Templates;

use crate::fault::Protocol;
use crate::query::{QueryFormat, QueryRequest, parameter};
use crate::sigv4::Signature;

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// Where a request goes.
#[derive(Debug)]
pub enum Route {
    /// AWS JSON, of the version that the operation's service speaks.
    AwsJson(&'static Operation),
    /// Query; [`Router::query`] finds the operation once the body is there.
    Query(QueryFormat),
    /// REST JSON, with the parts of the path that are members.
    Rest(&'static Operation, Labels),
}

/// Why a request goes nowhere.
#[derive(Debug)]
pub enum Refusal {
    /// An error in the words of a protocol.
    Fault(Protocol, Fault),
    /// `GET` without an action: a bare document, whatever the client accepts (facts: SQS §1.2).
    NoAction,
}

impl Refusal {
    /// The answer.
    pub fn into_response(self, request_id: Uuid) -> Response<Bytes> {
        match self {
            Self::Fault(protocol, fault) => protocol.fault(&fault, request_id),
            Self::NoAction => {
                let mut response = Response::new(Bytes::from_static(b"<UnknownOperationException/>\n"));
                *response.status_mut() = StatusCode::NOT_FOUND;
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
                response
            }
        }
    }
}

/// The operation tables, indexed.
#[derive(Debug)]
pub struct Router {
    /// Operations of SQS by name: the rest of the target header, or the action.
    sqs: HashMap<&'static str, &'static Operation>,
    /// Operations of CloudWatch Logs by name.
    logs: HashMap<&'static str, &'static Operation>,
    rest: Templates,
}

impl Default for Router {
    fn default() -> Self {
        Self::new()
    }
}

impl Router {
    /// Indexes the tables.
    pub fn new() -> Self {
        let lambda = LAMBDA_OPERATIONS.iter().chain(LAMBDA_INVOKE_OPERATIONS);
        Self {
            sqs: by_name(SQS_OPERATIONS),
            logs: by_name(LOGS_OPERATIONS),
            rest: Templates::new(lambda.copied()),
        }
    }

    /// Where the request with that head goes. `operation.service` says which service it is for.
    pub fn route(&self, head: &Parts) -> Result<Route, Refusal> {
        if let Some(target) = head.headers.get(TARGET) {
            return self.target(target);
        }
        let content_type = content_type(&head.headers);
        if content_type.starts_with("application/x-amz-json-1.") {
            let fault = Fault::new(sqs::ErrorCode::UnknownOperationException, "No operation is named.");
            return Err(Refusal::Fault(Protocol::AwsJson, fault));
        }
        let path = head.uri.path();
        if Templates::claims(path) {
            return match self.rest.find(&head.method, path, head.uri.query()) {
                Some((operation, labels)) => Ok(Route::Rest(operation, labels)),
                None => Err(unknown_path(head)),
            };
        }
        let query = head.uri.query().unwrap_or_default();
        let has_action = form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "Action");
        let form = content_type.eq_ignore_ascii_case("application/x-www-form-urlencoded");
        let is_get = head.method == Method::GET;
        if (is_get || head.method == Method::POST) && (has_action || form && !is_get) {
            return Ok(Route::Query(format(&head.headers)));
        }
        let service = Signature::of(head).ok().flatten().map(|signature| signature.service.into_owned());
        match service.as_deref() {
            Some("sqs") if is_get => Err(Refusal::NoAction),
            Some("sqs") if head.method == Method::POST => Ok(Route::Query(format(&head.headers))),
            None if is_get && is_queue_path(path) => Err(Refusal::NoAction),
            _ => Err(unknown_path(head)),
        }
    }

    /// The operation of a Query request. At a queue's URL only operations on queues are answered.
    pub fn query(&self, head: &Parts, request: &QueryRequest) -> Result<&'static Operation, Fault> {
        let Some(action) = parameter(&request.parameters, "Action") else {
            return Err(Fault::raw(
                "MissingAction",
                "MissingAction",
                400,
                "The request must contain the parameter Action.",
            ));
        };
        let misplaced = head.uri.path() != "/" && matches!(action.as_str(), "ListQueues" | "CreateQueue");
        match self.sqs.get(action.as_str()) {
            Some(operation) if !misplaced => Ok(operation),
            _ => Err(Fault::new(
                sqs::ErrorCode::InvalidActionException,
                Fault::unknown_operation(&action).message(),
            )),
        }
    }

    fn target(&self, target: &HeaderValue) -> Result<Route, Refusal> {
        let target = target.to_str().unwrap_or_default();
        let (prefix, name) = target.split_once('.').unwrap_or_default();
        let of = |table: &HashMap<&str, &'static Operation>| {
            table.get(name).copied().filter(|it| it.target_prefix == prefix)
        };
        if let Some(operation) = of(&self.sqs).or_else(|| of(&self.logs)) {
            return Ok(Route::AwsJson(operation));
        }
        let text = Fault::unknown_operation(target);
        let fault = Fault::new(sqs::ErrorCode::UnknownOperationException, text.message());
        let is_of_logs = LOGS_OPERATIONS.first().is_some_and(|it| it.target_prefix == prefix);
        let protocol = if is_of_logs { Protocol::AwsJson11 } else { Protocol::AwsJson };
        Err(Refusal::Fault(protocol, fault))
    }
}

fn by_name(table: &[&'static Operation]) -> HashMap<&'static str, &'static Operation> {
    table.iter().map(|operation| (operation.name, *operation)).collect()
}

/// What a front end says to a path that no service has: to a stranger that nothing is here for him, to a client that
/// signs that there is no such operation.
fn unknown_path(head: &Parts) -> Refusal {
    let fault = if let Ok(None) = Signature::of(head) {
        Fault::raw(
            "MissingAuthenticationTokenException",
            "MissingAuthenticationToken",
            403,
            "Missing Authentication Token",
        )
    } else {
        let path: String = head.uri.path().chars().take(128).collect();
        let text = format!("No operation is at {} {path}.", head.method);
        Fault::raw("UnknownOperationException", "InvalidAction", 404, text)
    };
    Refusal::Fault(Protocol::RestJson, fault)
}

/// Where queues live: `/`, `/<account>/<name>`, `/queue/<region>/<account>/<name>`.
fn is_queue_path(path: &str) -> bool {
    let mut segments = path.rsplit('/');
    let (_name, account) = (segments.next(), segments.next());
    path == "/" || account.is_some_and(|it| it.len() == 12 && it.bytes().all(|b| b.is_ascii_digit()))
}

/// The media type, without its parameters.
fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

fn format(headers: &HeaderMap) -> QueryFormat {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let wants = |media: &str| {
        media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
    };
    if accept.split(',').any(wants) { QueryFormat::Json } else { QueryFormat::Xml }
}

#[cfg(test)]
mod tests;
