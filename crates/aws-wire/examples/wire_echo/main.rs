//! The wire protocols for a test in another language (tests/python/golden): JSON lines in, JSON lines out.
//!
//! - `{"decode": {"method", "target", "headers": [[name, value]], "body": base64}}` routes and reads a request:
//!   `{"service", "operation", "input"}`, or the answer that refuses it.
//! - `{"encode": {"service", "operation", "protocol", "output"}}` writes an output: `{"status", "headers", "body"}`.
//! - `{"fail": {"service", "protocol", "code", "message", "members"}}` writes an error in the same form.
//!
//! Protocols are `json`, `query`, `query-json` and `rest`; shapes are JSON under AWS's member names.

mod errors;
mod shapes;

use std::io::{BufRead, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use lambfold_api::Fault;
use lambfold_aws_wire::{
    AwsJson, AwsQuery, Protocol, QueryFormat, QueryRequest, RestJson, RestRequest, Route, Router,
};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::shapes::{Raw, Written};

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Decode { method: String, target: String, headers: Vec<(String, String)>, body: String },
    Encode { service: String, operation: String, protocol: String, output: Value },
    Fail { service: String, protocol: String, code: String, message: String, members: Vec<(String, String)> },
}

type Outcome = Result<Value, Box<dyn std::error::Error>>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let router = Router::new();
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Line::Decode { method, target, headers, body } => {
                decode(&router, &method, &target, &headers, &body)?
            }
            Line::Encode { service, operation, protocol, output } => {
                encode(&service, &operation, &protocol, output)?
            }
            Line::Fail { service, protocol, code, message, members } => {
                let fault = errors::fault(&service, &code, &message).ok_or(format!("no error {code}"))?;
                let fault = members.iter().fold(fault, |fault, (name, value)| fault.with_member(name, value));
                told(&protocol_of(&protocol)?.fault(&fault, Uuid::nil()))
            }
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn decode(router: &Router, method: &str, target: &str, headers: &[(String, String)], body: &str) -> Outcome {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let (head, ()) = request.body(())?.into_parts();
    let body = Bytes::from(STANDARD.decode(body)?);
    let (operation, protocol, raw) = match router.route(&head) {
        Ok(Route::AwsJson(operation)) => {
            let protocol = if operation.service == "logs" { Protocol::AwsJson11 } else { Protocol::AwsJson };
            (operation, protocol, Raw::Json(body))
        }
        Ok(Route::Query(format)) => {
            let mut parameters = vec![body];
            parameters.extend(head.uri.query().map(|query| Bytes::copy_from_slice(query.as_bytes())));
            let request = QueryRequest { parameters, queue_url: None };
            match router.query(&head, &request) {
                Ok(operation) => (operation, Protocol::Query(format), Raw::Query(request)),
                Err(fault) => return Ok(told(&Protocol::Query(format).fault(&fault, Uuid::nil()))),
            }
        }
        Ok(Route::Rest(operation, labels)) => {
            (operation, Protocol::RestJson, Raw::Rest(Box::new(RestRequest { head, labels, body })))
        }
        Err(refusal) => return Ok(told(&refusal.into_response(Uuid::nil()))),
    };
    Ok(match shapes::decode(operation, raw) {
        Ok(input) => json!({ "service": operation.service, "operation": operation.name, "input": input }),
        Err(fault) => told(&protocol.fault(&fault, Uuid::nil())),
    })
}

fn encode(service: &str, operation: &str, protocol: &str, output: Value) -> Outcome {
    let operation = shapes::operation(service, operation).ok_or(format!("no operation {operation}"))?;
    let written = match protocol_of(protocol)? {
        Protocol::AwsJson | Protocol::AwsJson11 => shapes::encode(operation, &Written(AwsJson), output),
        Protocol::Query(format) => {
            shapes::encode(operation, &Written(AwsQuery { format, request_id: Uuid::nil() }), output)
        }
        Protocol::RestJson => shapes::encode(operation, &Written(RestJson), output),
    };
    Ok(told(&written.map_err(|error| error.to_string())?))
}

fn protocol_of(name: &str) -> Result<Protocol, Box<dyn std::error::Error>> {
    match name {
        "json" => Ok(Protocol::AwsJson),
        "json-1.1" => Ok(Protocol::AwsJson11),
        "query" => Ok(Protocol::Query(QueryFormat::Xml)),
        "query-json" => Ok(Protocol::Query(QueryFormat::Json)),
        "rest" => Ok(Protocol::RestJson),
        _ => Err(format!("no protocol {name}").into()),
    }
}

fn told(response: &Response<Bytes>) -> Value {
    let headers: Vec<_> = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
        .collect();
    json!({
        "status": response.status().as_u16(),
        "headers": headers,
        "body": STANDARD.encode(response.body()),
    })
}

/// What goes wrong while an output is written.
#[derive(Debug)]
enum EncodeError {
    Shape(serde_json::Error),
    Fault(Fault),
}

impl std::fmt::Display for EncodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shape(error) => write!(f, "not the output's shape: {error}"),
            Self::Fault(fault) => write!(f, "{fault}"),
        }
    }
}
