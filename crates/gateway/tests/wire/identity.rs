//! Who a caller is taken for, what an answer is called, and where it leads back to.

use lambfold_api::rpc::fault_from_status;
use lambfold_gateway::Options;
use serde_json::Value;
use tonic::Code;

use crate::client::{Answer, FORM, sqs};
use crate::edge::Edge;
use crate::h2;
use crate::log::{NOTHING, Policy};
use crate::requests::{all, both};

/// What peers tell each other.
const INTERNAL: [&str; 9] = [
    "lambfold-account",
    "lambfold-region",
    "lambfold-principal",
    "lambfold-request-id",
    "lambfold-endpoint",
    "lambfold-operation-id",
    "lambfold-cluster-token",
    "lambfold-to-come",
    "lambfold-account-bin",
];

#[tokio::test]
async fn a_peers_metadata_is_refused_on_the_public_listener() {
    let edge = Edge::start().await;
    let sender = h2::connect(edge.grpc).await;
    for operation in all() {
        let message = both(operation).await.grpc;
        for key in INTERNAL {
            let metadata = [(key, "999999999999")];
            let status = h2::rpc(sender.clone(), operation.rpc_path, &metadata, &message).await.unwrap_err();
            assert_eq!(status.code(), Code::PermissionDenied, "{} {key}", operation.name);
            assert_eq!(fault_from_status(&status).code(), "AccessDeniedException");
        }
    }
    assert_eq!(edge.log.take(), NOTHING, "not even the authoriser heard of it");
}

#[tokio::test]
async fn a_peers_headers_mean_nothing_over_http() {
    let edge = Edge::with(Policy::Reach, Options::default()).await;
    let mut client = edge.client().await;
    let forged = INTERNAL.map(|key| format!("\r\n{key}: 999999999999")).concat();
    let signed = "\r\nAuthorization: AWS4-HMAC-SHA256 Credential=123456789012/20260101/eu-west-1/sqs/aws4_request, \
                  SignedHeaders=host, Signature=00";
    for (signature, scope) in [("", "000000000000/us-east-1"), (signed, "123456789012/eu-west-1")] {
        let answer = client.ask(&format!("{}{forged}{signature}", sqs("ListQueues")), b"{}").await;
        let ctx = edge.log.context();
        assert_eq!(ctx.scope.to_string(), scope);
        assert_eq!(ctx.principal.as_str(), format!("arn:aws:iam::{}:root", ctx.scope.account));
        assert_eq!(ctx.endpoint.as_str(), "http://edge:4566");
        assert_eq!(answer.request_id(), ctx.request_id);
    }
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let edge = Edge::with(Policy::Serve, Options { max_body_bytes: 10_000, ..Options::default() }).await;
    let large = "x".repeat(10_001);
    let half = format!("{}\r\nAuthorization: AWS4-HMAC-SHA256 Credential=x", sqs("ListQueues"));
    let signed = "GET / HTTP/1.1\r\nAuthorization: AWS4-HMAC-SHA256 \
                  Credential=1/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=00";
    let mut client = edge.client().await;
    for (head, body, status) in [
        (sqs("ListQueues").as_str(), "{}", 200),
        (&sqs("PurgeQueue"), r#"{"QueueUrl":"q"}"#, 500),
        (&sqs("ListQueues"), "}", 400),
        (&sqs("MakeCoffee"), "{}", 400),
        (&sqs("ListQueues"), &large, 413),
        (&half, "{}", 400),
        (signed, "", 404),
        ("GET /nowhere HTTP/1.1", "", 403),
        ("GET /2015-03-31/functions HTTP/1.1", "", 200),
        ("GET /2015-03-31/functions/f/policy HTTP/1.1", "", 501),
        ("POST /2015-03-31/functions/f/invocations HTTP/1.1", "{}", 200),
        ("PATCH /2015-03-31/functions/f HTTP/1.1", "", 403),
    ] {
        let answer = client.ask(head, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{head} {answer:?}");
        assert_eq!(answer.request_id().get_version_num(), 4);
    }
    // Where the document says it, too, it says the same.
    for form in ["Action=ListQueues", "Action=GetQueueUrl&QueueName=none", "Action=MakeCoffee", ""] {
        let answer = client.ask(FORM, form.as_bytes()).await;
        let told = format!("<RequestId>{}</RequestId>", answer.request_id());
        assert!(answer.body.contains(&told), "{form}: {answer:?}");
    }
}

fn queue_url(answer: &Answer) -> String {
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    body["QueueUrl"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_queue_url_leads_back_the_way_the_client_came() {
    let edge = Edge::start().await;
    let mut client = edge.client().await;
    for (headers, origin) in [
        ("Host: localhost:4566", "http://localhost:4566"),
        (
            "Host: sqs.us-east-1.localhost.localstack.cloud:4566",
            "http://sqs.us-east-1.localhost.localstack.cloud:4566",
        ),
        ("Host: lambfold", "http://lambfold"),
        ("Host: [::1]:4566", "http://[::1]:4566"),
        ("Host: 10.0.0.7:80", "http://10.0.0.7:80"),
        ("Host: inner:1\r\nX-Forwarded-Host: outer\r\nX-Forwarded-Proto: https", "https://outer"),
        // What is no authority leads nowhere but home.
        ("Host: evil/..?x=<script>", "http://localhost:4566"),
        ("Host: user@evil", "http://localhost:4566"),
        ("Host: ", "http://localhost:4566"),
    ] {
        let head = format!("{}\r\n{headers}", sqs("CreateQueue"));
        let url = queue_url(&client.ask(&head, br#"{"QueueName":"q"}"#).await);
        assert_eq!(url, format!("{origin}/000000000000/q"), "{headers}");
    }
    // gRPC's own address takes no client of SQS.
    let operation = &lambfold_api::sqs::SQS_CREATE_QUEUE;
    let message = both(operation).await.grpc;
    let answer = h2::rpc(h2::connect(edge.grpc).await, operation.rpc_path, &[], &message).await.unwrap();
    let url = format!("http://localhost:{}/000000000000/q", edge.http.port());
    assert!(String::from_utf8_lossy(&answer).contains(&url), "{answer:?}");
}
