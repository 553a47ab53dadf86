//! One trace from the caller's send to the handler, as an OTLP receiver sees it (DESIGN §5, invariant 8).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_sdk_sqs::types::QueueAttributeName;
use lambfold_telemetry::{LogFormat, Options, Telemetry};
use lambfold_testkit::{Cluster, Function, Layout, eventually, unique};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = self.0.lock().unwrap();
        for resource in request.into_inner().resource_spans {
            spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

const TRACE_ID: &str = "5759e988bd862e3fe1be46a994272793";
const PARENT: &str = "53995c3f42cd8ad8";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_from_the_send_to_the_handler() {
    let receiver = Receiver::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(receiver.clone()));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let options =
        Options { log_format: LogFormat::Text, log_filter: "warn".into(), otlp_endpoint: Some(endpoint) };
    let telemetry = Telemetry::init(&options).unwrap();

    // Each role in a node of its own: the context crosses every boundary that it can cross.
    let cluster = Cluster::with(Layout::NodePerRole, telemetry.recorder(), |_| {}).await;
    let seen = send_one_traced_message(&cluster).await;
    assert!(seen.contains(&dashed(TRACE_ID)), "the function saw {seen}");
    cluster.stop().await;
    tokio::task::spawn_blocking(move || telemetry.shutdown()).await.unwrap();

    let spans = receiver.0.lock().unwrap().clone();
    let of_trace: Vec<&Span> = spans.iter().filter(|span| hex::encode(&span.trace_id) == TRACE_ID).collect();
    let mut by_name: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    for span in &of_trace {
        by_name.entry(span.name.as_str()).or_default().push(span);
    }
    let one = |name: &str| -> &Span {
        let found = by_name.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", by_name.keys()));
        found[0]
    };
    let is_child = |child: &Span, parent: &Span| {
        assert_eq!(
            hex::encode(&child.parent_span_id),
            hex::encode(&parent.span_id),
            "{} is a child of {}",
            child.name,
            parent.name
        );
    };
    let gateway = one("gateway.request");
    assert_eq!(hex::encode(&gateway.parent_span_id), PARENT, "the request continues the caller's trace");
    let sent = one("queue.send");
    is_child(sent, gateway);
    let batch = one("poller.batch");
    assert!(
        batch.links.iter().any(|link| hex::encode(&link.trace_id) == TRACE_ID),
        "the batch links to its message's sender"
    );
    let dispatched = one("dispatcher.invoke");
    is_child(dispatched, batch);
    let invoked = one("worker.invoke");
    is_child(invoked, dispatched);
    let deleted = one("queue.delete");
    is_child(deleted, batch);
    assert!(seen.contains(&hex::encode(&invoked.span_id)), "the function's parent is worker.invoke: {seen}");
}

/// Sends a message as part of the trace; returns the `_X_AMZN_TRACE_ID` that the handler told.
async fn send_one_traced_message(cluster: &Cluster) -> String {
    let (sqs, lambda) = (cluster.sqs(), cluster.lambda());
    let told = create_queue(cluster).await;
    let queue = create_queue(cluster).await;
    let function =
        Function { runtime: "python3.12", file: "index.py", source: TELLER, environment: &[("TOLD", &told)] }
            .deploy(&lambda)
            .await;
    let arn = sqs
        .get_queue_attributes()
        .queue_url(&queue)
        .attribute_names(QueueAttributeName::QueueArn)
        .send()
        .await;
    let arn = arn.unwrap().attributes().unwrap()[&QueueAttributeName::QueueArn].clone();
    let mapping =
        lambda.create_event_source_mapping().event_source_arn(arn).function_name(&function).send().await;
    let uuid = mapping.unwrap().uuid().unwrap().to_owned();
    eventually("the mapping to be enabled", async || {
        let found = lambda.get_event_source_mapping().uuid(&uuid).send().await.unwrap();
        (found.state() == Some("Enabled")).then_some(())
    })
    .await;

    let traced = sqs
        .send_message()
        .queue_url(&queue)
        .message_body("traced")
        .customize()
        .mutate_request(|request| {
            request.headers_mut().insert("traceparent", format!("00-{TRACE_ID}-{PARENT}-01"));
        })
        .send();
    traced.await.unwrap();
    let message = eventually("the handler to tell", async || {
        let received = sqs.receive_message().queue_url(&told).wait_time_seconds(1).send().await.unwrap();
        received.messages().first().and_then(|message| message.body().map(str::to_owned))
    })
    .await;
    eventually("the message to be deleted", async || {
        let all = QueueAttributeName::All;
        let counts = sqs.get_queue_attributes().queue_url(&queue).attribute_names(all).send().await.unwrap();
        let counts = counts.attributes().unwrap();
        let zero = |name| counts[&name] == "0";
        (zero(QueueAttributeName::ApproximateNumberOfMessages)
            && zero(QueueAttributeName::ApproximateNumberOfMessagesNotVisible))
        .then_some(())
    })
    .await;
    let told: Value = serde_json::from_str(&message).unwrap();
    told["trace"].as_str().unwrap().to_owned()
}

/// Sends its trace header to a queue, through Lambfold's own endpoint.
const TELLER: &str = r#"
import json, os, urllib.request

def handler(event, context):
    told = json.dumps({"trace": os.environ.get("_X_AMZN_TRACE_ID", "")})
    body = json.dumps({"QueueUrl": os.environ["TOLD"], "MessageBody": told}).encode()
    request = urllib.request.Request(os.environ["AWS_ENDPOINT_URL"], data=body, headers={
        "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessage"})
    urllib.request.urlopen(request, timeout=5).read()
"#;

async fn create_queue(cluster: &Cluster) -> String {
    let created = cluster.sqs().create_queue().queue_name(unique("queue")).send().await.unwrap();
    created.queue_url().unwrap().to_owned()
}

/// As X-Ray writes it.
fn dashed(trace_id: &str) -> String {
    let (time, rest) = trace_id.split_at(8);
    format!("1-{time}-{rest}")
}
