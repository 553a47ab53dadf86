//! Requests as AWS's clients make them.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lambfold_api::Endpoint;
use lambfold_api::authorize::AllowAll;
use lambfold_gateway::Options;
use tokio::net::TcpStream;

use crate::server::{ask, send, sqs, start, start_with, within};

const SIGNED: &str = "Authorization: AWS4-HMAC-SHA256 Credential=123456789012/20260101/eu-west-1/sqs/aws4_request, \
                      SignedHeaders=host, Signature=00";

#[tokio::test]
async fn sqs_speaks_json_and_query_on_one_connection() {
    let server = start().await;
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    let answer = ask(&mut stream, &sqs("CreateQueue"), br#"{"QueueName":"jobs"}"#).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text(), r#"{"QueueUrl":"http://edge:4566/000000000000/jobs"}"#);
    assert_eq!(answer.header("content-type"), Some("application/x-amz-json-1.0"));
    assert_eq!(answer.header("x-amzn-requestid").map(str::len), Some(36));

    let form = "POST / HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded";
    let answer = ask(&mut stream, form, b"Action=CreateQueue&QueueName=jobs").await;
    assert!(
        answer.text().contains("<CreateQueueResult><QueueUrl>http://edge:4566/000000000000/jobs</QueueUrl>")
    );
    let id = answer.header("x-amzn-requestid").unwrap();
    assert!(answer.text().contains(&format!("<RequestId>{id}</RequestId>")));

    let at_queue = "GET /000000000000/jobs?Action=SendMessage&MessageBody=a%20b HTTP/1.1";
    let answer = ask(&mut stream, at_queue, b"").await;
    assert!(answer.text().contains("<MessageId>a b</MessageId>"), "{}", answer.text());

    let answer = ask(&mut stream, &sqs("GetQueueUrl"), br#"{"QueueName":"none"}"#).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("x-amzn-query-error"), Some("AWS.SimpleQueueService.NonExistentQueue;Sender"));
}

#[tokio::test]
async fn account_region_endpoint_and_trace_come_from_the_request() {
    let server = start().await;
    let head = format!(
        "{}\r\n{SIGNED}\r\nX-Forwarded-Proto: https\r\n\
         X-Amzn-Trace-Id: Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:1",
        sqs("SendMessage")
    );
    let answer = send(server.http, &head, br#"{"QueueUrl":"q","MessageBody":"b"}"#).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let ctx = server.sqs.last();
    assert_eq!(ctx.scope.to_string(), "123456789012/eu-west-1");
    assert_eq!(ctx.principal.as_str(), "arn:aws:iam::123456789012:root");
    assert_eq!(ctx.endpoint.as_str(), "https://edge:4566");
    assert_eq!(ctx.trace.unwrap().trace_id, 0x5759_e988_bd86_2e3f_e1be_46a9_9427_2793);
    let sent = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:1";
    assert_eq!(ctx.trace_header.as_deref(), Some(sent));
    assert!(ctx.deadline.is_some());
    assert_eq!(answer.header("x-amzn-requestid"), Some(ctx.request_id.to_string().as_str()));

    // Nobody outside speaks for a peer.
    let forged =
        format!("{}\r\nlambfold-account: 999999999999\r\nlambfold-principal: root", sqs("SendMessage"));
    send(server.http, &forged, br#"{"QueueUrl":"q","MessageBody":"b"}"#).await;
    assert_eq!(server.sqs.last().scope.to_string(), "000000000000/us-east-1");

    let half = format!("{}\r\nAuthorization: AWS4-HMAC-SHA256 Credential=x", sqs("SendMessage"));
    let answer = send(server.http, &half, br#"{"QueueUrl":"q","MessageBody":"b"}"#).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("#IncompleteSignatureException"), "{}", answer.text());
}

#[tokio::test]
async fn a_public_url_stands_in_for_what_the_client_used() {
    let options =
        Options { public_url: Endpoint::new("https", "aws.example.com:8443"), ..Options::default() };
    let server = start_with(options, Arc::new(AllowAll)).await;
    let head = format!("{}\r\nX-Forwarded-Host: other", sqs("SendMessage"));
    send(server.http, &head, br#"{"QueueUrl":"q","MessageBody":"b"}"#).await;
    assert_eq!(server.sqs.last().endpoint.as_str(), "https://aws.example.com:8443");
}

#[tokio::test]
async fn lambda_is_rest() {
    let server = start().await;
    let answer = send(server.http, "GET /2015-03-31/functions/f%3Alive/configuration/ HTTP/1.1", b"").await;
    assert_eq!(answer.text(), r#"{"FunctionName":"f:live"}"#);
    let trace = "traceparent: 00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-00";
    let head = format!("POST /2015-03-31/functions/f/invocations HTTP/1.1\r\n{trace}");
    let answer = send(server.http, &head, b"{\"raw\":\x00\xff}").await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"{\"raw\":\x00\xff}"[..]));
    assert_eq!(answer.header("x-amz-executed-version"), Some("$LATEST"));
    assert_eq!(
        answer.header("x-amzn-trace-id"),
        Some("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0")
    );

    let long = format!("GET /2015-03-31/functions/{} HTTP/1.1", "x".repeat(300));
    let answer = send(server.http, &long, b"").await;
    assert_eq!((answer.status, answer.header("x-amzn-errortype")), (400, Some("ValidationException")));
    assert!(answer.text().contains("at 'functionName'"), "{}", answer.text());
    let answer = send(server.http, "GET /2015-03-31/functions/f/policy HTTP/1.1", b"").await;
    assert_eq!(answer.status, 501, "planned, and says so: {answer:?}");
}

#[tokio::test]
async fn h2c_is_served_on_the_same_port() {
    let server = start().await;
    let stream = TokioIo::new(TcpStream::connect(server.http).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let ask = |name: &str| {
        Request::post("http://over-h2:4566/")
            .header("x-amz-target", "AmazonSQS.CreateQueue")
            .body(Full::new(Bytes::from(format!(r#"{{"QueueName":"{name}"}}"#))))
            .unwrap()
    };
    let (one, two) = (sender.send_request(ask("one")), sender.clone().send_request(ask("two")));
    let (one, two) = within(async { tokio::join!(one, two) }).await;
    for (answer, name) in [(one, "one"), (two, "two")] {
        let answer = answer.unwrap();
        assert!(answer.headers().contains_key("x-amzn-requestid"));
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, format!(r#"{{"QueueUrl":"http://over-h2:4566/000000000000/{name}"}}"#));
    }
}
