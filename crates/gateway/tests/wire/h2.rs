//! HTTP/2 with prior knowledge: AWS's requests and gRPC's.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tonic::Status;

use crate::edge::within;

pub(crate) type Body = BoxBody<Bytes, Infallible>;
pub(crate) type Sender = SendRequest<Body>;

pub(crate) async fn connect(address: SocketAddr) -> Sender {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A request of SQS in JSON.
pub(crate) fn sqs(operation: &str, body: &str) -> Request<Body> {
    Request::post("http://over-h2:4566/")
        .header("x-amz-target", format!("AmazonSQS.{operation}"))
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())).boxed())
        .unwrap()
}

pub(crate) fn rpc_request(path: &str, metadata: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::post(format!("http://edge{path}"));
    for (name, value) in metadata {
        request = request.header(*name, *value);
    }
    request.header("content-type", "application/grpc").header("te", "trailers").body(body).unwrap()
}

/// A call by its path, of a message as it is.
pub(crate) async fn rpc(
    mut sender: Sender,
    path: &str,
    metadata: &[(&str, &str)],
    message: &[u8],
) -> Result<Bytes, Status> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let framed = Bytes::from([&[0], &length[..], message].concat());
    let request = rpc_request(path, metadata, Full::new(framed).boxed());
    let answer = within(sender.send_request(request)).await.unwrap();
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return Err(status);
    }
    let answer = within(answer.into_body().collect()).await.unwrap();
    match answer.trailers().and_then(Status::from_header_map) {
        Some(status) if status.code() == tonic::Code::Ok => Ok(answer.to_bytes().slice(5..)),
        status => Err(status.expect("a status")),
    }
}
