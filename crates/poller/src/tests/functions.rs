//! Functions that do what a test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use lambfold_api::lambda::{
    ErrorCode, InvocationRequest, InvocationResponse, InvokeWithResponseStreamFrame,
    InvokeWithResponseStreamRequest, LambdaInvoke,
};
use lambfold_api::{BoxStream, CallContext, Fault, TraceContext};
use lambfold_clock::ManualClock;
use lambfold_types::{Clock, Timestamp};
use serde_json::Value;
use tokio::sync::Notify;

use super::queues::Queues;

/// What a function does with a batch.
#[derive(Clone, Debug)]
pub(super) enum Does {
    /// Processes it all and answers this.
    Answers(&'static str),
    /// Processes all but the bodies that start with `bad`, and names their messages.
    ReportsBad,
    /// Fails.
    Fails,
    /// Is not even begun.
    Refuses(u16),
    /// Hangs until it is released, then processes it all.
    Hangs,
    /// Panics, as a bug of ours would.
    Panics,
}

/// One invocation.
#[derive(Clone, Debug)]
pub(super) struct Invocation {
    pub(super) at: Timestamp,
    pub(super) bodies: Vec<String>,
    pub(super) event: Value,
    pub(super) trace: Option<TraceContext>,
    pub(super) qualifier: Option<String>,
}

pub(super) struct Functions {
    clock: ManualClock,
    queues: Arc<Queues>,
    state: Mutex<State>,
    released: Notify,
}

#[derive(Default)]
pub(super) struct State {
    /// By function name; the rest succeeds.
    pub(super) does: BTreeMap<String, Does>,
    pub(super) invocations: BTreeMap<String, Vec<Invocation>>,
    pub(super) running: usize,
    pub(super) most_running: usize,
}

impl Functions {
    pub(super) fn new(clock: ManualClock, queues: Arc<Queues>) -> Arc<Self> {
        Arc::new(Self { clock, queues, state: Mutex::default(), released: Notify::new() })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn does(&self, function: &str, does: Does) {
        self.state().does.insert(function.to_owned(), does);
    }

    pub(super) fn invocations(&self, function: &str) -> Vec<Invocation> {
        self.state().invocations.get(function).cloned().unwrap_or_default()
    }

    pub(super) fn batches(&self, function: &str) -> Vec<Vec<String>> {
        self.invocations(function).into_iter().map(|it| it.bodies).collect()
    }

    /// Lets go all that hang now.
    pub(super) fn release(&self) {
        self.released.notify_waiters();
    }
}

struct Running<'a>(&'a Functions);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.state().running -= 1;
    }
}

#[async_trait::async_trait]
impl LambdaInvoke for Functions {
    async fn invoke(&self, ctx: &CallContext, input: InvocationRequest) -> Result<InvocationResponse, Fault> {
        let patient = ctx.deadline.is_some_and(|it| it > self.clock.now() + Duration::from_secs(1));
        if input.invocation_type.as_deref() != Some("RequestResponse") || !patient {
            self.queues.broken("an invocation that does not wait for the function");
        }
        let name = input.function_name.unwrap();
        let event: Value = serde_json::from_slice(&input.payload.unwrap()).unwrap();
        let records = event["Records"].as_array().unwrap().clone();
        for record in &records {
            let queue = record["eventSourceARN"].as_str().unwrap().rsplit(':').next().unwrap();
            let handle = record["receiptHandle"].as_str().unwrap();
            if !self.queues.is_held(queue, handle) {
                self.queues.broken("a message was invoked that somebody else could have");
            }
        }
        let does = {
            let mut state = self.state();
            state.running += 1;
            state.most_running = state.most_running.max(state.running);
            let invocation = Invocation {
                at: self.clock.now(),
                bodies: records.iter().map(|it| it["body"].as_str().unwrap().to_owned()).collect(),
                event: event.clone(),
                trace: ctx.trace,
                qualifier: input.qualifier,
            };
            state.invocations.entry(name.clone()).or_default().push(invocation);
            state.does.get(&name).cloned().unwrap_or(Does::Answers("null"))
        };
        let _running = Running(self);
        let is_bad = |record: &Value| record["body"].as_str().is_some_and(|body| body.starts_with("bad"));
        let (payload, processed) = match does {
            Does::Answers(payload) => (payload.to_owned(), records),
            Does::Hangs => {
                self.released.notified().await;
                ("null".to_owned(), records)
            }
            Does::ReportsBad => {
                let (bad, good): (Vec<Value>, Vec<Value>) = records.into_iter().partition(is_bad);
                let bad: Vec<Value> = bad
                    .iter()
                    .map(|record| serde_json::json!({ "itemIdentifier": record["messageId"] }))
                    .collect();
                (serde_json::json!({ "batchItemFailures": bad }).to_string(), good)
            }
            Does::Fails => {
                return Ok(InvocationResponse {
                    status_code: Some(200),
                    function_error: Some("Unhandled".into()),
                    payload: Some(r#"{"errorMessage":"oh"}"#.into()),
                    ..InvocationResponse::default()
                });
            }
            Does::Refuses(429) => {
                return Err(Fault::new(ErrorCode::TooManyRequestsException, "Rate Exceeded."));
            }
            Does::Refuses(503) => return Err(Fault::unavailable()),
            Does::Refuses(status) => return Err(Fault::raw("Refused", "Refused", status, "no")),
            Does::Panics => panic!("a test says so"),
        };
        let ids = processed.iter().map(|it| it["messageId"].as_str().unwrap().to_owned());
        self.queues.state().processed.extend(ids);
        Ok(InvocationResponse {
            status_code: Some(200),
            payload: Some(payload.into()),
            ..InvocationResponse::default()
        })
    }

    async fn invoke_with_response_stream(
        &self,
        _: &CallContext,
        _: InvokeWithResponseStreamRequest,
    ) -> Result<BoxStream<Result<InvokeWithResponseStreamFrame, Fault>>, Fault> {
        self.queues.broken("an invocation that streams its answer")
    }
}
