//! SQS over the memory store, in time that is wound by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lambfold_api::sqs::{
    ChangeMessageVisibilityRequest, CreateQueueRequest, DeleteMessageRequest, GetQueueAttributesRequest,
    Message, ReceiveMessageRequest, SendMessageRequest, SendMessageResult, Sqs,
};
use lambfold_api::{CallContext, Fault};
use lambfold_clock::{ManualClock, SeededEntropy};
use lambfold_queue::store::MemoryStore;
use lambfold_queue::{Options, QueueService, SqsService};
use lambfold_types::{PlainSealer, Scope, Timestamp};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) struct Rig {
    pub(crate) sqs: SqsService,
    clock: ManualClock,
    registry: Registry,
}

impl Rig {
    pub(crate) fn start(options: Options) -> Self {
        let clock = ManualClock::at(Timestamp::from_millis(1_700_000_000_000));
        let service = QueueService::build(
            options,
            Arc::new(MemoryStore::new()),
            Arc::new(clock.clone()),
            Arc::new(SeededEntropy::new(7)),
            Arc::new(PlainSealer),
        );
        let service = service.unwrap();
        let sqs = SqsService::new(service.handle());
        let mut registry = Registry::default();
        registry.register_collector(Box::new(service.metrics()));
        // Runs for as long as the test does.
        tokio::spawn(service.run(CancellationToken::new()));
        Self { sqs, clock, registry }
    }

    pub(crate) async fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.calm().await;
    }

    /// Lets every task run until it waits.
    pub(crate) async fn calm(&self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn queue(&self, name: &str, attributes: &[(&str, &str)]) -> String {
        self.create(name, attributes).await.unwrap()
    }

    pub(crate) async fn create(&self, name: &str, attributes: &[(&str, &str)]) -> Result<String, Fault> {
        let input = CreateQueueRequest {
            queue_name: Some(name.into()),
            attributes: map(attributes),
            ..CreateQueueRequest::default()
        };
        Ok(self.sqs.create_queue(&context(), input).await?.queue_url.unwrap())
    }

    pub(crate) async fn send(&self, queue: &str, body: &str) -> Result<SendMessageResult, Fault> {
        self.sqs.send_message(&context(), message(queue, body)).await
    }

    pub(crate) async fn receive(&self, queue: &str, max: i32) -> Result<Vec<Message>, Fault> {
        let input = ReceiveMessageRequest { max_number_of_messages: Some(max), ..receive_from(queue) };
        Ok(self.sqs.receive_message(&context(), input).await?.messages)
    }

    pub(crate) async fn delete(&self, queue: &str, handle: &str) -> Result<(), Fault> {
        let input =
            DeleteMessageRequest { queue_url: Some(queue.into()), receipt_handle: Some(handle.into()) };
        self.sqs.delete_message(&context(), input).await.map(drop)
    }

    pub(crate) async fn hide(&self, queue: &str, handle: &str, seconds: i32) -> Result<(), Fault> {
        let input = ChangeMessageVisibilityRequest {
            queue_url: Some(queue.into()),
            receipt_handle: Some(handle.into()),
            visibility_timeout: Some(seconds),
        };
        self.sqs.change_message_visibility(&context(), input).await.map(drop)
    }

    /// The page of metrics.
    pub(crate) fn metrics(&self) -> String {
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &self.registry).unwrap();
        page
    }

    /// Visible, in flight, delayed.
    pub(crate) async fn counts(&self, queue: &str) -> [u64; 3] {
        let input =
            GetQueueAttributesRequest { queue_url: Some(queue.into()), attribute_names: vec!["All".into()] };
        let found = self.sqs.get_queue_attributes(&context(), input).await.unwrap().attributes;
        ["", "NotVisible", "Delayed"]
            .map(|state| found[&format!("ApproximateNumberOfMessages{state}")].parse().unwrap())
    }
}

pub(crate) fn context() -> CallContext {
    CallContext::internal(Scope::default(), Uuid::nil())
}

pub(crate) fn message(queue: &str, body: &str) -> SendMessageRequest {
    SendMessageRequest {
        queue_url: Some(queue.into()),
        message_body: Some(body.into()),
        ..SendMessageRequest::default()
    }
}

pub(crate) fn receive_from(queue: &str) -> ReceiveMessageRequest {
    ReceiveMessageRequest { queue_url: Some(queue.into()), ..ReceiveMessageRequest::default() }
}

pub(crate) fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What a refusal says: code of the JSON protocol's shape, status and message.
pub(crate) fn refusal<T: std::fmt::Debug>(outcome: Result<T, Fault>) -> (String, u16, String) {
    let fault = outcome.unwrap_err();
    (fault.code().to_owned(), fault.http_status(), fault.message().to_owned())
}
