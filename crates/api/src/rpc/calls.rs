//! The callee's side of calls in streams (proto/lambfold/api/v1/calls.proto).

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream::{self, FuturesUnordered};
use futures_util::{FutureExt, StreamExt, future};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::head;
use super::metadata::PeerContext;
use super::status::{detail_of, status_from_fault};
use crate::BoxStream;
use crate::context::CallContext;
use crate::fault::Fault;
use crate::operation::Operation;
use crate::wire_messages::{Answer, AnswerBatch, Call, CallBatch, answer, calls_server};

/// Calls of one stream that may be under way at a time, long polls among them. One more is refused as overload.
const UNDER_WAY: usize = 1 << 16;

/// Groups of answers that may wait to be sent, before who makes them waits.
const ANSWERS_WAITING: usize = 256;

/// An answer batch is sent once it holds as much. One answer alone may be larger.
const BATCH_BYTES: usize = 256 << 10;

/// The largest batch of calls that is taken: what [`super::carriage`] makes at most, and room.
const LARGEST_CALL_BATCH: usize = 4 << 20;

/// A service as a stream of calls reaches it. Generated.
#[async_trait::async_trait]
pub trait Carried: Send + Sync + 'static {
    /// Its operations.
    fn operations(&self) -> &'static [&'static Operation];

    /// Answers a call of one of them: the encoded answer.
    async fn carried(&self, call: CarriedCall) -> Result<Bytes, Fault>;
}

/// One call out of a stream.
pub struct CarriedCall {
    pub(crate) operation: &'static Operation,
    pub(crate) ctx: CallContext,
    pub(crate) id: Option<Uuid>,
    pub(crate) input: Bytes,
}

type Table = HashMap<&'static str, (&'static Operation, Arc<dyn Carried>)>;

/// Serves `lambfold.api.v1.Calls`: hands the calls of a stream to the services that were added.
pub struct Calls {
    source: Arc<PeerContext>,
    table: Table,
    stop: CancellationToken,
}

impl Calls {
    /// For peers that `source` admits. When `stop` is cancelled, what is under way is answered yet, and callers are
    /// told to go elsewhere.
    pub fn new(source: Arc<PeerContext>, stop: CancellationToken) -> Self {
        Self { source, table: Table::new(), stop }
    }

    /// Takes calls of `service`.
    pub fn add(&mut self, service: impl Carried) {
        let service: Arc<dyn Carried> = Arc::new(service);
        for operation in service.operations() {
            self.table.insert(operation.rpc_path, (operation, service.clone()));
        }
    }

    /// Adds it to `routes`.
    pub fn add_to(self, routes: &mut RoutesBuilder) {
        let line = Served { source: self.source, table: Arc::new(self.table), stop: self.stop };
        routes
            .add_service(calls_server::CallsServer::new(line).max_decoding_message_size(LARGEST_CALL_BATCH));
    }
}

#[derive(Clone)]
struct Served {
    source: Arc<PeerContext>,
    table: Arc<Table>,
    stop: CancellationToken,
}

#[tonic::async_trait]
impl calls_server::Calls for Served {
    type CarryStream = BoxStream<Result<AnswerBatch, Status>>;

    async fn carry(
        &self,
        request: Request<Streaming<CallBatch>>,
    ) -> Result<Response<Self::CarryStream>, Status> {
        self.source.admit(request.metadata()).map_err(|fault| status_from_fault(&fault))?;
        let (tell, answers) = mpsc::channel(ANSWERS_WAITING);
        let gone = CancellationToken::new();
        let reads = gone.clone().drop_guard();
        tokio::spawn(self.clone().serve(request.into_inner(), tell, gone));
        Ok(Response::new(Box::pin(batches(answers).map(move |batch| {
            let _ = &reads;
            Ok(batch)
        }))))
    }
}

/// The calls under way of one stream, by id, and how to end each.
#[derive(Default)]
struct UnderWay(Mutex<HashMap<u64, future::AbortHandle>>);

impl UnderWay {
    /// `None` when there are too many.
    fn begin(&self, id: u64) -> Option<future::AbortRegistration> {
        let (handle, registration) = future::AbortHandle::new_pair();
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (calls.len() < UNDER_WAY).then(|| {
            calls.insert(id, handle);
            registration
        })
    }

    fn end(&self, id: u64) -> Option<future::AbortHandle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)
    }

    fn abort(&self, id: u64) {
        if let Some(handle) = self.end(id) {
            handle.abort();
        }
    }

    fn abort_all(&self) {
        let calls = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for handle in calls.into_values() {
            handle.abort();
        }
    }
}

impl Served {
    /// Until the caller has ended its side and has its answers, or is `gone`: what it asked for is given up then.
    async fn serve(
        self,
        mut calls: Streaming<CallBatch>,
        tell: mpsc::Sender<AnswerBatch>,
        gone: CancellationToken,
    ) {
        let under_way = Arc::new(UnderWay::default());
        let mut told = false;
        loop {
            let batch = tokio::select! {
                () = self.stop.cancelled(), if !told => {
                    told = true;
                    let ending = AnswerBatch { answers: Vec::new(), ending: true };
                    if tell.send(ending).await.is_err() {
                        break;
                    }
                    continue;
                }
                () = gone.cancelled() => break,
                batch = calls.message() => batch,
            };
            match batch {
                Ok(Some(batch)) => {
                    // In this order: a call may have been given up before it was sent.
                    self.begin(batch.calls, &under_way, &tell);
                    batch.cancelled.into_iter().for_each(|id| under_way.abort(id));
                }
                Ok(None) => {
                    // The stream of answers ends with the last who may tell one.
                    drop(tell);
                    gone.cancelled().await;
                    break;
                }
                Err(_) => break,
            }
        }
        under_way.abort_all();
    }

    /// Answers `calls` in a task of their own. Those that are ready together are told together.
    fn begin(&self, calls: Vec<Call>, under_way: &Arc<UnderWay>, tell: &mpsc::Sender<AnswerBatch>) {
        if calls.is_empty() {
            return;
        }
        let mut answers: FuturesUnordered<_> = calls
            .into_iter()
            .map(|call| {
                let (this, under_way) = (self.clone(), under_way.clone());
                let registration = under_way.begin(call.id);
                async move {
                    let id = call.id;
                    let Some(registration) = registration else {
                        return Some(told(id, Err(Fault::overloaded(std::time::Duration::from_millis(100)))));
                    };
                    let outcome = AssertUnwindSafe(this.answer(call)).catch_unwind();
                    let outcome = future::Abortable::new(outcome, registration).await.ok()?;
                    under_way.end(id);
                    Some(told(id, outcome.unwrap_or_else(|_| Err(Fault::internal()))))
                }
            })
            .collect();
        let tell = tell.clone();
        tokio::spawn(async move {
            while let Some(first) = answers.next().await {
                let mut ready: Vec<Answer> = first.into_iter().collect();
                let mut bytes: usize = ready.iter().map(size).sum();
                while bytes < BATCH_BYTES
                    && let Some(Some(next)) = answers.next().now_or_never()
                {
                    bytes += next.as_ref().map_or(0, size);
                    ready.extend(next);
                }
                if !ready.is_empty()
                    && tell.send(AnswerBatch { answers: ready, ending: false }).await.is_err()
                {
                    return;
                }
            }
        });
    }

    async fn answer(&self, call: Call) -> Result<Bytes, Fault> {
        let Some((operation, service)) = self.table.get(call.path.as_str()) else {
            return Err(Fault::unknown_operation(&call.path));
        };
        let head = call.head.unwrap_or_default();
        let (ctx, id) = head::context(&head, self.source.clock())?;
        service.carried(CarriedCall { operation, ctx, id, input: call.input }).await
    }
}

fn told(id: u64, outcome: Result<Bytes, Fault>) -> Answer {
    let outcome = match outcome {
        Ok(output) => answer::Outcome::Output(output),
        Err(fault) => answer::Outcome::Fault(detail_of(&fault)),
    };
    Answer { id, outcome: Some(outcome) }
}

/// What waits, joined.
fn batches(answers: mpsc::Receiver<AnswerBatch>) -> impl stream::Stream<Item = AnswerBatch> + Send {
    stream::unfold(answers, |mut answers| async move {
        let mut batch = answers.recv().await?;
        // Whoever can run now may have an answer, too.
        tokio::task::yield_now().await;
        let size = |batch: &AnswerBatch| -> usize { batch.answers.iter().map(size).sum() };
        let mut bytes = size(&batch);
        while bytes < BATCH_BYTES && !batch.ending {
            let Ok(next) = answers.try_recv() else { break };
            bytes += size(&next);
            batch.answers.extend(next.answers);
            batch.ending = next.ending;
        }
        Some((batch, answers))
    })
}

fn size(answer: &Answer) -> usize {
    match &answer.outcome {
        Some(answer::Outcome::Output(output)) => output.len(),
        _ => 0,
    }
}
