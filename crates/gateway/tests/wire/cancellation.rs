//! A long poll whose client has gone is dropped, so that no message is received for nobody.

use lambfold_api::sqs::SQS_RECEIVE_MESSAGE;

use crate::client::{request, sqs};
use crate::edge::{Edge, eventually};
use crate::h2;
use crate::requests::both;

const POLL: &str = r#"{"QueueUrl":"q","WaitTimeSeconds":20}"#;

async fn waits(edge: &Edge) {
    eventually("the call waits", || edge.log.pending() == 1).await;
}

async fn is_dropped(edge: &Edge) {
    eventually("the call is dropped", || edge.log.pending() == 0).await;
    assert!(edge.is_well().await);
}

#[tokio::test]
async fn a_closed_connection_drops_the_call() {
    let edge = Edge::start().await;
    let mut client = edge.client().await;
    client.send(&request(&sqs("ReceiveMessage"), POLL.as_bytes())).await;
    waits(&edge).await;
    drop(client);
    is_dropped(&edge).await;
}

#[tokio::test]
async fn a_reset_stream_drops_the_call_and_not_its_neighbour() {
    let edge = Edge::start().await;
    let mut sender = h2::connect(edge.http).await;
    let gone = tokio::spawn(sender.send_request(h2::sqs("ReceiveMessage", POLL)));
    waits(&edge).await;
    let stays = tokio::spawn(sender.send_request(h2::sqs("ReceiveMessage", POLL)));
    eventually("both wait", || edge.log.pending() == 2).await;
    gone.abort();
    eventually("one is dropped", || edge.log.pending() == 1).await;
    assert!(!stays.is_finished());
    stays.abort();
    is_dropped(&edge).await;
}

#[tokio::test]
async fn a_cancelled_rpc_drops_the_call() {
    let edge = Edge::start().await;
    let sender = h2::connect(edge.grpc).await;
    let message = both(&SQS_RECEIVE_MESSAGE).await.grpc;
    let path = SQS_RECEIVE_MESSAGE.rpc_path;
    let poll = {
        let (sender, message) = (sender.clone(), message.clone());
        tokio::spawn(async move { h2::rpc(sender, path, &[], &message).await })
    };
    waits(&edge).await;
    poll.abort();
    is_dropped(&edge).await;
    assert!(h2::rpc(sender, path, &[("grpc-timeout", "10m")], &message).await.is_err());
    is_dropped(&edge).await;
    assert_eq!(edge.log.take().len(), 4, "both were asked for and called");
}
