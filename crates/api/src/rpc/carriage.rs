//! The caller's side of calls in streams (proto/lambfold/api/v1/calls.proto): calls that are made at the same time share
//! a message, and so do their answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::metadata;
use super::status::fault_of;
use crate::fault::Fault;
use crate::http_path;
use crate::wire_messages::{Answer, AnswerBatch, Call, CallBatch, CallHead, answer};

/// The largest input that shares a stream with others; what is larger would hold them up.
pub(super) const LARGEST_INPUT: usize = 64 << 10;

/// Calls that wait to be put into a message, before their callers wait.
const CALLS_WAITING: usize = 1024;

/// A message of calls is sent once it holds as much.
const BATCH_BYTES: usize = 256 << 10;

/// The largest answers of all operations, and room for those that travel with it. A peer is trusted: the limit of each
/// operation is kept by who answers.
const LARGEST_ANSWER_BATCH: usize = 160 << 20;

/// The stream to one peer that calls travel in; opened when it is needed, and again after a loss.
#[derive(Default)]
pub(super) struct Carriage {
    line: Mutex<Option<Arc<Line>>>,
}

impl Carriage {
    /// One call. An error says that the stream broke, or could not be opened.
    pub(super) async fn carry(
        &self,
        channel: &Channel,
        token: Option<&MetadataValue<Ascii>>,
        path: &'static str,
        head: CallHead,
        input: Bytes,
    ) -> Result<Result<Bytes, Fault>, Status> {
        let mut call = Call { id: 0, path: path.to_owned(), head: Some(head), input };
        loop {
            let line = self.line(channel, token);
            match line.call(call).await {
                Ok(answer) => return answer,
                // It ended before it took the call.
                Err(returned) => call = returned,
            }
        }
    }

    fn line(&self, channel: &Channel, token: Option<&MetadataValue<Ascii>>) -> Arc<Line> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        match &*line {
            Some(line) if !line.waiting.is_ended() => line.clone(),
            _ => line.insert(Line::open(channel.clone(), token)).clone(),
        }
    }
}

/// One open stream.
struct Line {
    outgoing: mpsc::UnboundedSender<Outgoing>,
    room: Arc<Semaphore>,
    waiting: Arc<Waiting>,
    next_id: AtomicU64,
}

enum Outgoing {
    Call(Box<(Call, OwnedSemaphorePermit)>),
    Cancelled(u64),
    End,
}

impl Line {
    fn open(channel: Channel, token: Option<&MetadataValue<Ascii>>) -> Arc<Self> {
        let (outgoing, calls) = mpsc::unbounded_channel();
        let waiting = Arc::new(Waiting::default());
        let mut request = Request::new(batches(calls));
        if let Some(token) = token {
            metadata::inject_token(token, request.metadata_mut());
        }
        tokio::spawn(listen(channel, request, waiting.clone(), outgoing.downgrade()));
        let room = Arc::new(Semaphore::new(CALLS_WAITING));
        Arc::new(Self { outgoing, room, waiting, next_id: AtomicU64::new(0) })
    }

    /// Returns the call if the stream has ended and never took it.
    async fn call(&self, mut call: Call) -> Result<Result<Result<Bytes, Fault>, Status>, Call> {
        let Ok(permit) = self.room.clone().acquire_owned().await else { return Err(call) };
        call.id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let Some(answer) = self.waiting.begin(call.id) else { return Err(call) };
        let waits = Waits { line: self, id: call.id };
        let outgoing = Outgoing::Call(Box::new((call, permit)));
        if let Err(mpsc::error::SendError(Outgoing::Call(unsent))) = self.outgoing.send(outgoing) {
            return Err(unsent.0);
        }
        let answer = answer.await.unwrap_or_else(|_| Err(Status::unavailable("the stream of calls is gone")));
        drop(waits);
        Ok(answer.map(outcome))
    }
}

fn outcome(answer: Answer) -> Result<Bytes, Fault> {
    match answer.outcome {
        Some(answer::Outcome::Output(output)) => Ok(output),
        Some(answer::Outcome::Fault(detail)) => Err(fault_of(detail)),
        None => Err(Fault::internal()),
    }
}

/// A caller that waits. If it goes before its answer comes, the callee is told.
struct Waits<'a> {
    line: &'a Line,
    id: u64,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if self.line.waiting.take(self.id).is_some() {
            // When the stream has gone, so has the call.
            let _ = self.line.outgoing.send(Outgoing::Cancelled(self.id));
        }
    }
}

/// Callers by the ids of their calls.
#[derive(Default)]
struct Waiting(Mutex<Callers>);

#[derive(Default)]
struct Callers {
    answers: HashMap<u64, oneshot::Sender<Result<Answer, Status>>>,
    ended: bool,
}

impl Waiting {
    fn lock(&self) -> std::sync::MutexGuard<'_, Callers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_ended(&self) -> bool {
        self.lock().ended
    }

    /// `None` when no more calls are taken.
    fn begin(&self, id: u64) -> Option<oneshot::Receiver<Result<Answer, Status>>> {
        let mut callers = self.lock();
        if callers.ended {
            return None;
        }
        let (tell, answer) = oneshot::channel();
        callers.answers.insert(id, tell);
        Some(answer)
    }

    fn take(&self, id: u64) -> Option<oneshot::Sender<Result<Answer, Status>>> {
        self.lock().answers.remove(&id)
    }

    /// No further calls; those under way go on.
    fn retire(&self) {
        self.lock().ended = true;
    }

    fn tell(&self, answers: Vec<Answer>) {
        let mut callers = self.lock();
        for answer in answers {
            if let Some(tell) = callers.answers.remove(&answer.id) {
                // The caller may just have gone.
                let _ = tell.send(Ok(answer));
            }
        }
    }

    /// No answers will come any more, because of `status`.
    fn end(&self, status: &Status) {
        let mut callers = self.lock();
        callers.ended = true;
        for (_, tell) in callers.answers.drain() {
            let _ = tell.send(Err(status.clone()));
        }
    }
}

/// What waits, joined, until the line ends.
fn batches(calls: mpsc::UnboundedReceiver<Outgoing>) -> impl stream::Stream<Item = CallBatch> + Send {
    stream::unfold(calls, |mut calls| async move {
        let mut batch = CallBatch::default();
        let mut bytes = 0;
        let mut next = calls.recv().await;
        // Whoever can run now may have a call, too.
        tokio::task::yield_now().await;
        while let Some(outgoing) = next {
            match outgoing {
                Outgoing::Call(call) => {
                    let (call, _room) = *call;
                    bytes += call.encoded_len();
                    batch.calls.push(call);
                }
                Outgoing::Cancelled(id) => batch.cancelled.push(id),
                // What came before it is sent yet; who comes after it finds the channel closed.
                Outgoing::End => calls.close(),
            }
            next = if bytes < BATCH_BYTES { calls.try_recv().ok() } else { None };
        }
        let ended = batch.calls.is_empty() && batch.cancelled.is_empty();
        (!ended).then_some((batch, calls))
    })
}

/// Opens the stream and hands out what comes, until it ends.
async fn listen(
    channel: Channel,
    request: Request<impl stream::Stream<Item = CallBatch> + Send + 'static>,
    waiting: Arc<Waiting>,
    outgoing: mpsc::WeakUnboundedSender<Outgoing>,
) {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(LARGEST_ANSWER_BATCH);
    let codec = ProstCodec::<CallBatch, AnswerBatch>::default();
    let opened = match grpc.ready().await {
        Ok(()) => grpc.streaming(request, http_path("/lambfold.api.v1.Calls/Carry"), codec).await,
        Err(error) => Err(Status::from_error(Box::new(error))),
    };
    let mut answers = match opened {
        Ok(response) => response.into_inner(),
        Err(status) => return waiting.end(&status),
    };
    // Of the callee's end of the stream no caller may make more than that the answer is lost.
    let status = loop {
        match answers.message().await {
            Ok(Some(batch)) => {
                if batch.ending {
                    waiting.retire();
                    // Without a line, nobody sends.
                    let _ = outgoing.upgrade().map(|outgoing| outgoing.send(Outgoing::End));
                }
                waiting.tell(batch.answers);
            }
            Ok(None) => break Status::unavailable("the stream of calls ended"),
            Err(status) => break status,
        }
    };
    waiting.end(&status);
}
