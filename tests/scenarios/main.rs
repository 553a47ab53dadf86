//! The main path and its failures, with the AWS SDK for Rust, in both layouts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{FunctionResponseType, LogType};
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry,
};
use lambfold_testkit::{Cluster, Function, Layout, eventually, unique};
use serde_json::{Value, json};

/// Runs each scenario in both layouts.
macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        mod one_node {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::run(super::Layout::OneNode, async |cluster| super::$name(cluster).await).await;
            })+
        }
        mod node_per_role {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::run(super::Layout::NodePerRole, async |cluster| super::$name(cluster).await).await;
            })+
        }
    };
}

scenarios!(
    a_message_goes_in_a_function_runs_the_message_is_gone,
    a_node_handler_does_as_well,
    only_failed_items_come_back,
    an_invocation_returns_its_log,
    function_errors_are_answers,
    a_grpc_client_sees_what_an_sdk_sees,
);

async fn run(layout: Layout, scenario: impl AsyncFn(&Cluster)) {
    let cluster = Cluster::start(layout).await;
    scenario(&cluster).await;
    cluster.stop().await;
}

const ECHO: Function<'_> = Function {
    runtime: "python3.12",
    file: "index.py",
    source: "import os\n\
             def handler(event, context):\n    \
             print('hello', event.get('n'))\n    \
             if event.get('fail'):\n        raise ValueError(event['fail'])\n    \
             return {'event': event, 'pid': os.getpid(), 'id': context.aws_request_id}\n",
    environment: &[],
};

/// Fails, the first time, what begins with `bad`; tells its log what it saw.
const PARTIAL: &str = "def handler(event, context):\n    \
     bad = [r['messageId'] for r in event['Records']\n           \
     if r['body'].startswith('bad') and r['attributes']['ApproximateReceiveCount'] == '1']\n    \
     return {'batchItemFailures': [{'itemIdentifier': i} for i in bad]}\n";

async fn a_message_goes_in_a_function_runs_the_message_is_gone(cluster: &Cluster) {
    let function = ECHO.deploy(&cluster.lambda()).await;
    message_life(cluster, &function).await;
}

async fn a_node_handler_does_as_well(cluster: &Cluster) {
    let function = Function {
        runtime: "nodejs20.x",
        file: "index.mjs",
        source: "export const handler = async (event) => { console.log(event.Records.length); };",
        environment: &[],
    };
    let function = function.deploy(&cluster.lambda()).await;
    message_life(cluster, &function).await;
}

async fn message_life(cluster: &Cluster, function: &str) {
    let sqs = cluster.sqs();
    let queue = create_queue(cluster).await;
    map(cluster, &queue, function, false).await;
    let attribute = MessageAttributeValue::builder().data_type("String").string_value("red").build().unwrap();
    sqs.send_message()
        .queue_url(&queue)
        .message_body("hello")
        .message_attributes("colour", attribute)
        .send()
        .await
        .unwrap();
    let entry = |id: usize| {
        SendMessageBatchRequestEntry::builder()
            .id(id.to_string())
            .message_body(format!("m{id}"))
            .build()
            .unwrap()
    };
    let sent =
        sqs.send_message_batch().queue_url(&queue).set_entries(Some((0..10).map(entry).collect())).send();
    assert_eq!(sent.await.unwrap().successful().len(), 10);
    empty(cluster, &queue).await;
}

async fn only_failed_items_come_back(cluster: &Cluster) {
    let sqs = cluster.sqs();
    let queue = create_queue(cluster).await;
    let function = Function { source: PARTIAL, ..ECHO }.deploy(&cluster.lambda()).await;
    map(cluster, &queue, &function, true).await;
    for body in ["good", "bad", "good too", "bad too"] {
        sqs.send_message().queue_url(&queue).message_body(body).send().await.unwrap();
    }
    // The good ones go at once; the bad ones wait out their visibility timeout.
    eventually("the good ones to go", async || {
        let (visible, in_flight) = counts(cluster, &queue).await;
        (visible + in_flight <= 2).then_some(())
    })
    .await;
    empty(cluster, &queue).await;
}

async fn an_invocation_returns_its_log(cluster: &Cluster) {
    let lambda = cluster.lambda();
    let function = ECHO.deploy(&lambda).await;
    let mut environments = BTreeMap::new();
    for n in 0..3 {
        let payload = Blob::new(json!({ "n": n }).to_string());
        let answer = lambda
            .invoke()
            .function_name(&function)
            .log_type(LogType::Tail)
            .payload(payload)
            .send()
            .await
            .unwrap();
        assert_eq!((answer.status_code(), answer.function_error()), (200, None));
        let body: Value = serde_json::from_slice(answer.payload().unwrap().as_ref()).unwrap();
        assert_eq!(body["event"], json!({ "n": n }));
        *environments.entry(body["pid"].as_u64().unwrap()).or_insert(0) += 1;
        assert!(answer.log_result().is_some_and(|log| !log.is_empty()));
    }
    assert_eq!(environments.into_values().collect::<Vec<_>>(), [3], "one environment served all");
}

async fn function_errors_are_answers(cluster: &Cluster) {
    let lambda = cluster.lambda();
    let function = ECHO.deploy(&lambda).await;
    let payload = Blob::new(json!({ "fail": "on purpose" }).to_string());
    let answer = lambda.invoke().function_name(&function).payload(payload).send().await.unwrap();
    assert_eq!((answer.status_code(), answer.function_error()), (200, Some("Unhandled")));
    let body: Value = serde_json::from_slice(answer.payload().unwrap().as_ref()).unwrap();
    assert_eq!((&body["errorType"], &body["errorMessage"]), (&json!("ValueError"), &json!("on purpose")));
}

async fn a_grpc_client_sees_what_an_sdk_sees(cluster: &Cluster) {
    use lambfold_api::sqs::{
        ReceiveMessageRequest, ReceiveMessageResult, SendMessageRequest, SendMessageResult,
    };

    let queue = create_queue(cluster).await;
    let channel = tonic::transport::Endpoint::new(format!("http://{}", cluster.grpc()))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let sent: SendMessageResult = call(
        &channel,
        "/lambfold.sqs.v1.Sqs/SendMessage",
        SendMessageRequest {
            queue_url: Some(queue.clone()),
            message_body: Some("over gRPC".into()),
            ..Default::default()
        },
    )
    .await
    .unwrap();
    let received = cluster
        .sqs()
        .receive_message()
        .queue_url(&queue)
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .send()
        .await
        .unwrap();
    let message = &received.messages()[0];
    assert_eq!((message.message_id(), message.body()), (sent.message_id.as_deref(), Some("over gRPC")));

    let missing = ReceiveMessageRequest { queue_url: Some("missing".into()), ..Default::default() };
    let status = call::<_, ReceiveMessageResult>(&channel, "/lambfold.sqs.v1.Sqs/ReceiveMessage", missing)
        .await
        .unwrap_err();
    let fault = lambfold_api::rpc::fault_from_status(&status);
    assert_eq!(fault.query_code(), "AWS.SimpleQueueService.NonExistentQueue");

    let mut forged = tonic::Request::new(SendMessageRequest {
        queue_url: Some(queue),
        message_body: Some("as somebody else".into()),
        ..Default::default()
    });
    forged.metadata_mut().insert("lambfold-account", "123456789012".parse().unwrap());
    let refused = send::<_, SendMessageResult>(&channel, "/lambfold.sqs.v1.Sqs/SendMessage", forged).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::PermissionDenied);
}

async fn call<In, Out>(
    channel: &tonic::transport::Channel,
    path: &'static str,
    input: In,
) -> Result<Out, tonic::Status>
where
    In: lambfold_api::interceptor::Input,
    Out: lambfold_api::interceptor::Input + Default,
{
    send(channel, path, tonic::Request::new(input)).await
}

async fn send<In, Out>(
    channel: &tonic::transport::Channel,
    path: &'static str,
    request: tonic::Request<In>,
) -> Result<Out, tonic::Status>
where
    In: lambfold_api::interceptor::Input,
    Out: lambfold_api::interceptor::Input + Default,
{
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<In, Out>::default();
    client.unary(request, path.parse().unwrap(), codec).await.map(tonic::Response::into_inner)
}

async fn create_queue(cluster: &Cluster) -> String {
    let created = cluster
        .sqs()
        .create_queue()
        .queue_name(unique("queue"))
        .attributes(QueueAttributeName::VisibilityTimeout, "3")
        .send()
        .await
        .unwrap();
    created.queue_url().unwrap().to_owned()
}

async fn map(cluster: &Cluster, queue: &str, function: &str, partial: bool) {
    let (sqs, lambda) = (cluster.sqs(), cluster.lambda());
    let attributes = sqs
        .get_queue_attributes()
        .queue_url(queue)
        .attribute_names(QueueAttributeName::QueueArn)
        .send()
        .await
        .unwrap();
    let arn = &attributes.attributes().unwrap()[&QueueAttributeName::QueueArn];
    let types = partial.then(|| vec![FunctionResponseType::ReportBatchItemFailures]);
    let mapping = lambda
        .create_event_source_mapping()
        .event_source_arn(arn)
        .function_name(function)
        .set_function_response_types(types)
        .send()
        .await
        .unwrap();
    eventually("the mapping to be enabled", async || {
        let found = lambda.get_event_source_mapping().uuid(mapping.uuid().unwrap()).send().await.unwrap();
        (found.state() == Some("Enabled")).then_some(())
    })
    .await;
}

async fn counts(cluster: &Cluster, queue: &str) -> (u64, u64) {
    let attributes = cluster
        .sqs()
        .get_queue_attributes()
        .queue_url(queue)
        .attribute_names(QueueAttributeName::All)
        .send()
        .await;
    let attributes = attributes.unwrap().attributes().unwrap().clone();
    let count = |name| attributes[&name].parse().unwrap();
    (
        count(QueueAttributeName::ApproximateNumberOfMessages),
        count(QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
    )
}

async fn empty(cluster: &Cluster, queue: &str) {
    eventually("the queue to be empty", async || (counts(cluster, queue).await == (0, 0)).then_some(()))
        .await;
}
