//! No operation answers before the authoriser was asked, over HTTP or gRPC (DESIGN §2).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use lambfold_api::authorize::{Authorizer, Resource};
use lambfold_api::lambda::{LAMBDA_INVOKE_OPERATIONS, LAMBDA_OPERATIONS, serve_lambda, serve_lambda_invoke};
use lambfold_api::logs::{LOGS_OPERATIONS, serve_logs};
use lambfold_api::rpc::fault_from_status;
use lambfold_api::schema::Shape;
use lambfold_api::sqs::{SQS_OPERATIONS, serve_sqs};
use lambfold_api::wire::{Frame, WireCodec};
use lambfold_api::{BoxStream, CallContext, Fault, Operation};
use lambfold_aws_wire::{AwsJson, RestJson, RestRequest, Route, Router};
use lambfold_gateway::Options;
use lambfold_types::Scope;
use tokio::net::TcpStream;
use tonic::{Code, Request};
use uuid::Uuid;

use crate::fake_logs::FakeLogs;
use crate::fakes::{FakeInvoke, FakeLambda, FakeSqs};
use crate::grpc::{call, connect};
use crate::server::{Server, ask, start_with, target_of};

/// Lets nobody do anything, and remembers who asked for what.
#[derive(Default)]
struct Nobody(Mutex<Vec<(String, String)>>);

impl Authorizer for Nobody {
    fn authorize(
        &self,
        _: &CallContext,
        operation: &'static Operation,
        resource: &Resource<'_>,
    ) -> Result<(), Fault> {
        self.0.lock().unwrap().push((operation.action.to_owned(), resource.arn()));
        Err(Fault::raw("AccessDeniedException", "AccessDenied", 403, "Nobody may."))
    }
}

impl Nobody {
    fn take(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

async fn locked() -> (Server, Arc<Nobody>) {
    let nobody = Arc::new(Nobody::default());
    (start_with(Options::default(), nobody.clone()).await, nobody)
}

/// Members that satisfy every constraint of every operation that has them: inputs ignore what they do not know.
const SQS_MEMBERS: &str = r#"{"QueueUrl":"http://x/000000000000/q","QueueName":"q","MessageBody":"b","ReceiptHandle":"h",
    "VisibilityTimeout":1,"Entries":[{"Id":"1","MessageBody":"b","ReceiptHandle":"h"}],"Attributes":{"DelaySeconds":"1"},
    "Tags":{"a":"b"},"TagKeys":["a"],"Label":"l","AWSAccountIds":["000000000000"],"Actions":["*"],
    "SourceArn":"arn:aws:sqs:us-east-1:000000000000:q","TaskHandle":"t"}"#;

fn logs_members(operation: &Operation) -> String {
    let tags = if operation.name == "UntagLogGroup" { r#"["a"]"# } else { r#"{"a":"b"}"# };
    format!(
        r#"{{"logGroupName":"g","logStreamName":"s","logEvents":[{{"timestamp":1,"message":"m"}}],"retentionInDays":1,
        "tags":{tags},"tagKeys":["a"],"resourceArn":"arn:aws:logs:us-east-1:000000000000:log-group:g","logGroupIdentifiers":["g"]}}"#
    )
}

fn lambda_members(operation: &Operation) -> String {
    let arn = "arn:aws:lambda:us-east-1:000000000000";
    let principal = if operation.name == "AddLayerVersionPermission" { "*" } else { "sns.amazonaws.com" };
    let action = if operation.name == "AddLayerVersionPermission" {
        "lambda:GetLayerVersion"
    } else {
        "lambda:InvokeFunction"
    };
    format!(
        r#"{{"FunctionName":"f","Role":"arn:aws:iam::000000000000:role/r","Code":{{}},"Name":"a","FunctionVersion":"1",
        "StatementId":"s","Action":"{action}","Principal":"{principal}","AuthType":"NONE","Content":{{}},"LayerName":"l",
        "AllowedPublishers":{{"SigningProfileVersionArns":["arn:aws:signer:us-east-1:000000000000:/signing-profiles/p/v"]}},
        "CodeSigningConfigArn":"{arn}:code-signing-config:csc-0123456789abcdef0","Tags":{{"a":"b"}},
        "ReservedConcurrentExecutions":1,"ProvisionedConcurrentExecutions":1,"UpdateRuntimeOn":"Auto",
        "RecursiveLoop":"Allow","CapacityProviderName":"c","CheckpointToken":"dG9rZW4=",
        "VpcConfig":{{"SubnetIds":["subnet-12345678"],"SecurityGroupIds":["sg-12345678"]}},
        "PermissionsConfig":{{"CapacityProviderOperatorRoleArn":"arn:aws:iam::000000000000:role/r"}}}}"#
    )
}

/// A path that satisfies the template of a REST operation.
fn target(operation: &Operation) -> String {
    let http = operation.http.as_ref().unwrap();
    let arn = "arn:aws:lambda:us-east-1:000000000000";
    let mut path = http.path.to_owned();
    for (label, value) in [
        ("{FunctionName}", "f".to_owned()),
        ("{LayerName}", "l".to_owned()),
        ("{VersionNumber}", "1".to_owned()),
        ("{StatementId}", "s".to_owned()),
        ("{Name}", "a".to_owned()),
        ("{UUID}", "00000000-0000-0000-0000-000000000000".to_owned()),
        ("{Resource}", format!("{arn}:function:f")),
        ("{CodeSigningConfigArn}", format!("{arn}:code-signing-config:csc-0123456789abcdef0")),
        ("{CapacityProviderName}", "c".to_owned()),
        ("{CallbackId}", "Y2FsbGJhY2s=".to_owned()),
        ("{DurableExecutionArn}", format!("{arn}:function:f:1/durable-execution/n/i").replace('/', "%2F")),
    ] {
        path = path.replace(label, &value);
    }
    assert!(!path.contains('{'), "no value for a label of {path}");
    let qualifier = if operation.name.ends_with("FunctionScalingConfig") { "1" } else { "a" };
    let query =
        format!("tagKeys=a&Qualifier={qualifier}&Arn={arn}:layer:l:1&CheckpointToken=dG9rZW4%3D&MaxItems=1");
    let join = if path.contains('?') { '&' } else { '?' };
    format!("{path}{join}{query}")
}

fn body_of(operation: &Operation) -> String {
    match operation.service {
        "sqs" => SQS_MEMBERS.to_owned(),
        "logs" => logs_members(operation),
        _ => lambda_members(operation),
    }
}

fn all() -> impl Iterator<Item = &'static Operation> {
    SQS_OPERATIONS
        .iter()
        .chain(LAMBDA_OPERATIONS)
        .chain(LAMBDA_INVOKE_OPERATIONS)
        .chain(LOGS_OPERATIONS)
        .copied()
}

#[tokio::test]
async fn every_operation_is_asked_for_over_http() {
    let (server, nobody) = locked().await;
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    for operation in all() {
        let head = match &operation.http {
            None => target_of(operation),
            Some(http) => format!("{} {} HTTP/1.1", http.method, target(operation)),
        };
        let answer = ask(&mut stream, &head, body_of(operation).as_bytes()).await;
        let asked = nobody.take();
        assert_eq!(
            answer.status,
            403,
            "{} answered {}",
            operation.name,
            String::from_utf8_lossy(&answer.body)
        );
        assert!(answer.text().contains("Nobody may."), "{}", operation.name);
        assert_eq!(asked.len(), 1, "{} was asked for once", operation.name);
        assert_eq!(asked[0].0, operation.action);
        if operation.resource != lambfold_api::operation::ResourceKind::Service {
            assert!(asked[0].1.starts_with("arn:aws:") || asked[0].1 == "*", "{asked:?}");
        }
    }
    // The other protocol of SQS goes the same way.
    let form = "POST / HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded";
    let answer = ask(&mut stream, form, b"Action=PurgeQueue&QueueUrl=q").await;
    assert!(answer.text().contains("<Code>AccessDenied</Code>"));
    assert_eq!(nobody.take().len(), 1);
}

/// Reads an input as HTTP would, keeps it as protobuf, and goes no further.
struct ToProtobuf<C>(C, Mutex<Option<Bytes>>);

impl<C: WireCodec> WireCodec for ToProtobuf<C> {
    type Request = C::Request;
    type Response = C::Response;

    fn decode<T: Shape>(&self, operation: &'static Operation, request: C::Request) -> Result<T, Fault> {
        let input: T = self.0.decode(operation, request)?;
        *self.1.lock().unwrap() = Some(input.encode_to_vec().into());
        Err(Fault::internal())
    }

    fn encode<T: Shape>(&self, operation: &'static Operation, output: T) -> Result<C::Response, Fault> {
        self.0.encode(operation, output)
    }

    async fn encode_stream<T: Frame>(
        &self,
        operation: &'static Operation,
        output: BoxStream<Result<T, Fault>>,
    ) -> Result<C::Response, Fault> {
        self.0.encode_stream(operation, output).await
    }
}

async fn protobuf(operation: &'static Operation) -> Bytes {
    let ctx = CallContext::internal(Scope::default(), Uuid::nil());
    let body = Bytes::from(body_of(operation));
    let kept = if let Some(http) = &operation.http {
        let request = http::Request::builder().method(http.method).uri(target(operation)).body(()).unwrap();
        let (head, ()) = request.into_parts();
        let Ok(Route::Rest(_, labels)) = Router::new().route(&head) else { panic!("{}", operation.name) };
        let codec = ToProtobuf(RestJson, Mutex::default());
        let request = RestRequest { head, labels, body };
        let _ = if LAMBDA_INVOKE_OPERATIONS.iter().any(|it| std::ptr::eq(*it, operation)) {
            serve_lambda_invoke(&FakeInvoke, operation, &ctx, &codec, request).await
        } else {
            serve_lambda(&FakeLambda, operation, &ctx, &codec, request).await
        };
        codec.1
    } else {
        let codec = ToProtobuf(AwsJson, Mutex::default());
        let _ = if operation.service == "logs" {
            serve_logs(&FakeLogs::default(), operation, &ctx, &codec, body).await
        } else {
            serve_sqs(&FakeSqs::default(), operation, &ctx, &codec, body).await
        };
        codec.1
    };
    kept.into_inner().unwrap().unwrap_or_else(|| panic!("{} has no input", operation.name))
}

#[tokio::test]
async fn every_operation_is_asked_for_over_grpc() {
    let (server, nobody) = locked().await;
    let channel = connect(server.grpc).await;
    let mut paths = BTreeSet::new();
    for operation in all() {
        let request = Request::new(protobuf(operation).await);
        let refused = call(channel.clone(), operation.rpc_path, request).await.expect_err(operation.name);
        assert_eq!(refused.code(), Code::PermissionDenied, "{}: {refused}", operation.name);
        assert_eq!(fault_from_status(&refused).message(), "Nobody may.");
        let asked = nobody.take();
        assert_eq!(asked.len(), 1, "{} was asked for once", operation.name);
        assert_eq!(asked[0].0, operation.action);
        paths.insert(operation.rpc_path);
    }
    assert_eq!(paths.len(), all().count());
}

#[tokio::test]
async fn looking_at_messages_is_asked_for() {
    let (server, nobody) = locked().await;
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    let head = "GET /_aws/sqs/messages?QueueUrl=http%3A%2F%2Fx%2F000000000000%2Fq HTTP/1.1";
    assert_eq!(ask(&mut stream, head, b"").await.status, 403);
    let queue = "arn:aws:sqs:us-east-1:000000000000:q".to_owned();
    assert_eq!(nobody.take(), [("sqs:PeekMessages".to_owned(), queue)]);
}
