//! The public gRPC listener.

use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes};
use lambfold_api::Fault;
use lambfold_api::rpc::fault_from_status;
use lambfold_api::sqs::{
    CreateQueueRequest, CreateQueueResult, GetQueueUrlRequest, GetQueueUrlResult, SendMessageRequest,
    SendMessageResult,
};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::server::{start, within};

pub(crate) async fn connect(address: SocketAddr) -> Channel {
    Endpoint::try_from(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// Messages as they are, for calls whose types are not known here.
#[derive(Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// A call by its path.
pub(crate) async fn call(
    channel: Channel,
    path: &'static str,
    request: Request<Bytes>,
) -> Result<Bytes, Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static(path);
    within(grpc.unary(request, path, Raw)).await.map(tonic::Response::into_inner)
}

async fn typed<In, Out>(address: SocketAddr, path: &'static str, request: Request<In>) -> Result<Out, Status>
where
    In: prost::Message + 'static,
    Out: prost::Message + Default + 'static,
{
    let mut grpc = Grpc::new(connect(address).await);
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static(path);
    within(grpc.unary(request, path, ProstCodec::default())).await.map(tonic::Response::into_inner)
}

fn message() -> SendMessageRequest {
    SendMessageRequest {
        queue_url: Some("q".to_owned()),
        message_body: Some("b".to_owned()),
        ..SendMessageRequest::default()
    }
}

const SEND: &str = "/lambfold.sqs.v1.Sqs/SendMessage";

#[tokio::test]
async fn calls_are_authenticated_by_their_signature() {
    let server = start().await;
    let mut request = Request::new(message());
    let signed = "AWS4-HMAC-SHA256 Credential=123456789012/20260101/eu-west-1/sqs/aws4_request, \
                  SignedHeaders=host, Signature=00";
    request.metadata_mut().insert("authorization", signed.parse().unwrap());
    let trace = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";
    request.metadata_mut().insert("traceparent", trace.parse().unwrap());
    let answer: SendMessageResult = typed(server.grpc, SEND, request).await.unwrap();
    assert_eq!(answer.message_id.as_deref(), Some("b"));
    let ctx = server.sqs.last();
    assert_eq!(ctx.scope.to_string(), "123456789012/eu-west-1");
    assert_eq!(ctx.trace.unwrap().to_traceparent(), trace);

    // A laptop's default, without one. Queue URLs lead to where SQS clients are served.
    let name = CreateQueueRequest { queue_name: Some("q".to_owned()), ..CreateQueueRequest::default() };
    let path = "/lambfold.sqs.v1.Sqs/CreateQueue";
    let answer: CreateQueueResult = typed(server.grpc, path, Request::new(name)).await.unwrap();
    let url = format!("http://localhost:{}/000000000000/q", server.http.port());
    assert_eq!(answer.queue_url, Some(url));

    let mut request = Request::new(message());
    request.metadata_mut().insert("authorization", "AWS4-HMAC-SHA256 Credential=x".parse().unwrap());
    let refused = typed::<_, SendMessageResult>(server.grpc, SEND, request).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn faults_keep_their_aws_form() {
    let server = start().await;
    let wanted = GetQueueUrlRequest { queue_name: Some("none".to_owned()), ..GetQueueUrlRequest::default() };
    let path = "/lambfold.sqs.v1.Sqs/GetQueueUrl";
    let status = typed::<_, GetQueueUrlResult>(server.grpc, path, Request::new(wanted)).await.unwrap_err();
    let fault: Fault = fault_from_status(&status);
    assert_eq!(fault.query_code(), "AWS.SimpleQueueService.NonExistentQueue");
    let empty = SendMessageRequest { queue_url: Some("q".to_owned()), ..SendMessageRequest::default() };
    let empty = Request::new(empty);
    let status = typed::<_, SendMessageResult>(server.grpc, SEND, empty).await.unwrap_err();
    assert_eq!(fault_from_status(&status).message(), "The request must contain the parameter MessageBody.");
}

#[tokio::test]
async fn services_between_roles_are_not_served_here() {
    let server = start().await;
    let channel = connect(server.grpc).await;
    for path in [
        "/lambfold.control.v1.Control/Watch",
        "/lambfold.worker.v1.Worker/Invoke",
        "/lambfold.telemetry.v1.Traces/GetTrace",
    ] {
        let refused = call(channel.clone(), path, Request::new(Bytes::new())).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "{path}");
    }
}

/// A request of one string field with that number.
fn text_field(number: u8, text: &str) -> Bytes {
    let mut message = vec![number << 3 | 2, u8::try_from(text.len()).unwrap()];
    message.extend_from_slice(text.as_bytes());
    message.into()
}

#[tokio::test]
async fn health_and_reflection_show_the_public_services() {
    let server = start().await;
    let channel = connect(server.grpc).await;
    for service in ["", "lambfold.sqs.v1.Sqs", "lambfold.lambda.v1.Lambda", "lambfold.lambda.v1.LambdaInvoke"]
    {
        let request = Request::new(text_field(1, service));
        let answer = call(channel.clone(), "/grpc.health.v1.Health/Check", request).await.unwrap();
        assert_eq!(answer, Bytes::from_static(&[8, 1]), "SERVING: {service}");
    }
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        let mut grpc = Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        // list_services, then the file that has a symbol.
        let asked = tokio_stream::iter([text_field(7, "*"), text_field(4, "lambfold.sqs.v1.Sqs")]);
        let answers = grpc.streaming(Request::new(asked), path.parse().unwrap(), Raw).await.unwrap();
        let mut answers = answers.into_inner();
        let listed = within(answers.message()).await.unwrap().unwrap();
        let listed = String::from_utf8_lossy(&listed);
        assert!(listed.contains("lambfold.sqs.v1.Sqs") && listed.contains("lambfold.lambda.v1.LambdaInvoke"));
        assert!(!listed.contains("lambfold.control") && !listed.contains("lambfold.worker"), "{listed}");
        let file = within(answers.message()).await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&file).contains("ReceiveMessage"));
    }
}
