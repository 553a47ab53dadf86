//! No operation of the table answers before the authoriser was asked, once, whichever way the request comes.

use lambfold_api::Operation;
use lambfold_api::rpc::fault_from_status;
use lambfold_gateway::Options;
use serde_json::Value;
use tonic::Code;

use crate::client::{Answer, FORM, sqs};
use crate::edge::Edge;
use crate::h2;
use crate::log::{NOTHING, Policy, REACHED};
use crate::requests::{all, both};

/// What AWS's SDKs read a refusal from: the type, in the body or a header, and the message.
fn code_and_message(operation: &Operation, answer: &Answer) -> (String, String) {
    let body: Value =
        serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{}: {answer:?}", operation.name));
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let code = if operation.http.is_none() {
        text("__type").rsplit('#').next().unwrap_or_default().to_owned()
    } else {
        answer.header("x-amzn-errortype").unwrap_or_default().to_owned()
    };
    (code, text("message"))
}

#[tokio::test]
async fn a_denied_operation_reaches_no_service_over_http() {
    let edge = Edge::with(Policy::Deny, Options::default()).await;
    let mut client = edge.client().await;
    for operation in all() {
        client.send(&both(operation).await.http).await;
        let answer = client.answer().await.expect(operation.name);
        let told = code_and_message(operation, &answer);
        assert_eq!((told.0.as_str(), told.1.as_str()), ("AccessDeniedException", "Not you."), "{answer:?}");
        assert_eq!(answer.status, 403, "{}", operation.name);
        assert_eq!(edge.log.take(), [format!("ask {}", operation.action)]);
    }
    let answer = client.ask(FORM, b"Action=PurgeQueue&QueueUrl=q").await;
    assert_eq!(answer.status, 403);
    assert!(
        answer.body.contains("<Type>Sender</Type><Code>AccessDenied</Code><Message>Not you.</Message>"),
        "{answer:?}"
    );
    assert_eq!(edge.log.take(), ["ask sqs:PurgeQueue"]);
}

#[tokio::test]
async fn a_denied_operation_reaches_no_service_over_grpc() {
    let edge = Edge::with(Policy::Deny, Options::default()).await;
    let sender = h2::connect(edge.grpc).await;
    for operation in all() {
        let message = both(operation).await.grpc;
        let status = h2::rpc(sender.clone(), operation.rpc_path, &[], &message).await.unwrap_err();
        let fault = fault_from_status(&status);
        assert_eq!(status.code(), Code::PermissionDenied, "{}", operation.name);
        assert_eq!((fault.code(), fault.message()), ("AccessDeniedException", "Not you."));
        assert_eq!(edge.log.take(), [format!("ask {}", operation.action)]);
    }
}

/// What is not denied is asked for once, too, and then calls its own service and no other.
#[tokio::test]
async fn an_allowed_operation_is_asked_for_and_then_called() {
    let edge = Edge::with(Policy::Reach, Options::default()).await;
    let (mut client, sender) = (edge.client().await, h2::connect(edge.grpc).await);
    for operation in all() {
        let expected = [format!("ask {}", operation.action), format!("call {}", operation.action)];
        let request = both(operation).await;
        client.send(&request.http).await;
        let answer = client.answer().await.expect(operation.name);
        assert_eq!(code_and_message(operation, &answer).0, REACHED, "{answer:?}");
        assert_eq!(edge.log.take(), expected);
        let status = h2::rpc(sender.clone(), operation.rpc_path, &[], &request.grpc).await.unwrap_err();
        assert_eq!(fault_from_status(&status).code(), REACHED, "{}", operation.name);
        assert_eq!(edge.log.take(), expected);
    }
}

/// The constraints of the contract come before the authoriser, and what breaks them goes nowhere.
#[tokio::test]
async fn what_breaks_a_constraint_goes_no_further() {
    let edge = Edge::start().await;
    let mut client = edge.client().await;
    let answer = client.ask(&sqs("SendMessage"), br#"{"QueueUrl":"q"}"#).await;
    assert_eq!(answer.header("x-amzn-query-error"), Some("MissingParameter;Sender"));
    let answer = client.ask("GET /2015-03-31/functions/%20 HTTP/1.1", b"").await;
    assert_eq!(answer.header("x-amzn-errortype"), Some("ValidationException"));
    assert_eq!(edge.log.take(), NOTHING);
}
