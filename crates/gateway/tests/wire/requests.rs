//! A request for every operation, over HTTP and over gRPC, made from its shape and one set of members.

use std::sync::Mutex;

use bytes::Bytes;
use lambfold_api::lambda::{LAMBDA_INVOKE_OPERATIONS, LAMBDA_OPERATIONS, serve_lambda, serve_lambda_invoke};
use lambfold_api::logs::{LOGS_OPERATIONS, serve_logs};
use lambfold_api::schema::{Location, Shape};
use lambfold_api::sqs::{SQS_OPERATIONS, serve_sqs};
use lambfold_api::wire::{Frame, WireCodec};
use lambfold_api::{BoxStream, CallContext, Fault, Operation};
use lambfold_types::Scope;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::client::{request, target};
use crate::fake_logs::FakeLogs;
use crate::fakes::{FakeInvoke, FakeLambda, FakeSqs};

/// The operation table, whole.
pub(crate) fn all() -> impl Iterator<Item = &'static Operation> {
    SQS_OPERATIONS
        .iter()
        .chain(LAMBDA_OPERATIONS)
        .chain(LAMBDA_INVOKE_OPERATIONS)
        .chain(LOGS_OPERATIONS)
        .copied()
}

/// Members that break no constraint of the operations that have them. The others ignore them.
fn members(operation: &Operation) -> Value {
    let lambda = "arn:aws:lambda:us-east-1:000000000000";
    if operation.service == "sqs" {
        return json!({
            "QueueUrl": "http://edge:4566/000000000000/q", "QueueName": "q", "MessageBody": "b", "ReceiptHandle": "h",
            "VisibilityTimeout": 1, "Entries": [{"Id": "1", "MessageBody": "b", "ReceiptHandle": "h"}],
            "Attributes": {"DelaySeconds": "1"}, "Tags": {"a": "b"}, "TagKeys": ["a"], "Label": "l",
            "AWSAccountIds": ["000000000000"], "Actions": ["*"], "TaskHandle": "t",
            "SourceArn": "arn:aws:sqs:us-east-1:000000000000:q",
        });
    }
    if operation.service == "logs" {
        return json!({
            "logGroupName": "g", "logStreamName": "s", "logEvents": [{"timestamp": 1, "message": "m"}],
            "retentionInDays": 1, "tagKeys": ["a"], "logGroupIdentifiers": ["g"],
            "resourceArn": "arn:aws:logs:us-east-1:000000000000:log-group:g",
            "tags": if operation.name == "UntagLogGroup" { json!(["a"]) } else { json!({"a": "b"}) },
        });
    }
    let version = if operation.name == "ListFunctions" { "ALL" } else { "1" };
    let qualifier = if operation.name.ends_with("FunctionScalingConfig") { "1" } else { "a" };
    json!({
        "FunctionName": "f", "Name": "a", "FunctionVersion": version, "Qualifier": qualifier, "VersionNumber": 1,
        "UUID": "00000000-0000-0000-0000-000000000000", "Resource": format!("{lambda}:function:f"),
        "Role": "arn:aws:iam::000000000000:role/r", "Code": {}, "Content": {}, "LayerName": "l",
        "Arn": format!("{lambda}:layer:l:1"), "Tags": {"a": "b"}, "TagKeys": ["a"], "AuthType": "NONE",
        "StatementId": "s", "Action": "lambda:GetLayerVersion", "Principal": "*", "UpdateRuntimeOn": "Auto",
        "RecursiveLoop": "Allow", "ReservedConcurrentExecutions": 1, "ProvisionedConcurrentExecutions": 1,
        "AllowedPublishers": {"SigningProfileVersionArns": ["arn:aws:signer:us-east-1:000000000000:/signing-profiles/p/v"]},
        "CodeSigningConfigArn": format!("{lambda}:code-signing-config:csc-0123456789abcdef0"),
        "CapacityProviderName": "c", "CallbackId": "Y2FsbGJhY2s=", "InvokeArgs": "e30=", "CheckpointToken": "dG9rZW4=",
        "DurableExecutionArn": format!("{lambda}:function:f:1/durable-execution/n/i"),
        "VpcConfig": {"SubnetIds": ["subnet-12345678"], "SecurityGroupIds": ["sg-12345678"]},
        "PermissionsConfig": {"CapacityProviderOperatorRoleArn": "arn:aws:iam::000000000000:role/r"},
    })
}

/// A request in both its forms.
pub(crate) struct Both {
    pub(crate) http: Vec<u8>,
    pub(crate) grpc: Bytes,
}

pub(crate) async fn both(operation: &'static Operation) -> Both {
    let (writer, ctx) = (Writer::default(), CallContext::internal(Scope::default(), Uuid::nil()));
    // Each ends in `Writer::decode`: the services behind are never called.
    let _ = if operation.service == "sqs" {
        serve_sqs(&FakeSqs::default(), operation, &ctx, &writer, ()).await
    } else if operation.service == "logs" {
        serve_logs(&FakeLogs::default(), operation, &ctx, &writer, ()).await
    } else if LAMBDA_INVOKE_OPERATIONS.iter().any(|it| std::ptr::eq(*it, operation)) {
        serve_lambda_invoke(&FakeInvoke, operation, &ctx, &writer, ()).await
    } else {
        serve_lambda(&FakeLambda, operation, &ctx, &writer, ()).await
    };
    writer.0.into_inner().unwrap().expect("every operation has an input")
}

/// Writes the request where a codec would read one.
#[derive(Default)]
struct Writer(Mutex<Option<Both>>);

impl WireCodec for Writer {
    type Request = ();
    type Response = ();

    fn decode<T: Shape>(&self, operation: &'static Operation, (): ()) -> Result<T, Fault> {
        let members = members(operation);
        let input: T = serde_json::from_value(members.clone()).unwrap();
        let http = http::<T>(operation, members);
        *self.0.lock().unwrap() = Some(Both { http, grpc: input.encode_to_vec().into() });
        Err(Fault::internal())
    }

    fn encode<T: Shape>(&self, _: &'static Operation, _: T) -> Result<(), Fault> {
        Ok(())
    }

    async fn encode_stream<T: Frame>(
        &self,
        _: &'static Operation,
        _: BoxStream<Result<T, Fault>>,
    ) -> Result<(), Fault> {
        Ok(())
    }
}

fn http<T: Shape>(operation: &Operation, members: Value) -> Vec<u8> {
    let Value::Object(mut members) = members else { unreachable!("members are an object") };
    let Some(binding) = &operation.http else {
        return request(&target(operation), Value::Object(members).to_string().as_bytes());
    };
    let (mut target, mut headers, mut body) = (binding.path.to_owned(), String::new(), Map::new());
    for member in T::SCHEMA.members {
        let Some(value) = members.remove(member.name) else { continue };
        let text = match &value {
            Value::String(text) => text.clone(),
            Value::Array(items) => items[0].as_str().unwrap_or_default().to_owned(),
            other => other.to_string(),
        };
        match member.location {
            Location::Path => {
                target = target.replace(&format!("{{{}}}", member.wire_name), &text.replace('/', "%2F"));
            }
            Location::Query => {
                let join = if target.contains('?') { '&' } else { '?' };
                target = format!("{target}{join}{}={}", member.wire_name, text.replace('=', "%3D"));
            }
            Location::Header => headers = format!("{headers}\r\n{}: {text}", member.wire_name),
            _ => drop(body.insert(member.name.to_owned(), value)),
        }
    }
    assert!(!target.contains('{'), "no value for a part of {target}");
    let body = if T::HAS_PAYLOAD { "{}".to_owned() } else { Value::Object(body).to_string() };
    request(&format!("{} {target} HTTP/1.1{headers}", binding.method), body.as_bytes())
}
