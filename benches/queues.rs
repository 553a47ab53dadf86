//! Sending, and whole lives of messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::json;
use tokio::task::JoinSet;

use crate::answers::{Delete, Entries, Message, Received, Sample, Send, stored, successes};
use crate::caller::Caller;
use crate::cell::{Cell, latencies, note};
use crate::lead::Lead;
use crate::target::{Target, pause};

/// Size of a message body, in bytes.
pub const BODY_BYTES: usize = 256;

/// What a cell asks of a server.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// In all; of whole lives one half sends, the other receives and deletes.
    pub connections: usize,
    /// Messages a request.
    pub batch: usize,
    /// How long it lasts.
    pub seconds: f64,
    /// How many requests' worth of messages those who send may be ahead of those who delete; 0: as many as they can.
    pub lead: usize,
}

impl Load {
    fn until(&self) -> Instant {
        Instant::now() + Duration::from_secs_f64(self.seconds)
    }

    /// Connections that send, and as many that receive and delete.
    pub(crate) fn half(&self) -> usize {
        (self.connections / 2).max(1)
    }

    pub(crate) fn lead(&self) -> Arc<Lead> {
        Arc::new(Lead::of(self.lead * self.batch))
    }
}

/// Sends into a queue of its own.
pub async fn send(target: &Target, load: Load) -> anyhow::Result<Cell> {
    let url = target.create_queue(&unique("bench-send")).await?;
    let cell = send_to(target, "send", &url, load, stored).await?;
    target.delete_queue(&url).await?;
    Ok(cell)
}

/// The same load against the bare reference, which has no queues to make, and answers nothing but that it has committed.
pub async fn send_to_reference(target: &Target, load: Load) -> anyhow::Result<Cell> {
    let url = "http://127.0.0.1:4566/000000000000/reference";
    send_to(target, "reference", url, load, |answer, _, _| (answer == b"{}").into()).await
}

/// Sends, receives and deletes in a new queue. Counts messages whose delete was acknowledged.
pub async fn whole_life(target: &Target, load: Load) -> anyhow::Result<Cell> {
    let url = target.create_queue(&unique("bench-life")).await?;
    let cell = life_in(target, &url, load).await?;
    target.delete_queue(&url).await?;
    Ok(cell)
}

/// How many messages of a batch were stored, by the answer.
type Count = fn(&[u8], usize, &Sample) -> u64;

async fn send_to(target: &Target, what: &str, url: &str, load: Load, count: Count) -> anyhow::Result<Cell> {
    let Load { connections, batch, .. } = load;
    let mut senders = JoinSet::new();
    for _ in 0..connections {
        senders.spawn(Sender::new(target, url, load, count)?.run(Arc::new(Lead::of(0)), load.until()));
    }
    let started = Instant::now();
    let (mut all, mut sent, mut errors) = (latencies(), 0, 0);
    while let Some(sender) = senders.join_next().await {
        let (counted, failed, times) = sender?;
        all.add(times)?;
        sent += counted;
        errors += failed;
    }
    Ok(Cell::new(&format!("{what} c{connections} b{batch}"), sent, started.elapsed(), &all, errors))
}

pub(crate) async fn life_in(target: &Target, url: &str, load: Load) -> anyhow::Result<Cell> {
    let Load { connections, batch, .. } = load;
    let (deleted, stop, lead) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)), load.lead());
    let (mut senders, mut receivers) = (JoinSet::new(), JoinSet::new());
    for _ in 0..load.half() {
        senders.spawn(Sender::new(target, url, load, stored)?.run(lead.clone(), load.until()));
        let (stop, deleted, lead) = (stop.clone(), deleted.clone(), lead.clone());
        receivers.spawn(receive_loop(target.caller(), url.to_owned(), batch, stop, deleted, lead));
    }
    let (mut all, mut errors) = (latencies(), 0);
    let started = Instant::now();
    while let Some(sender) = senders.join_next().await {
        let (_, failed, times) = sender?;
        all.add(times)?;
        errors += failed;
    }
    let (units, elapsed) = (deleted.load(Ordering::Relaxed), started.elapsed());
    stop.store(true, Ordering::Relaxed);
    while let Some(receiver) = receivers.join_next().await {
        errors += receiver?;
    }
    Ok(Cell::new(&format!("life c{connections} b{batch}"), units, elapsed, &all, errors))
}

/// One connection that sends the same request again and again.
struct Sender {
    caller: Caller,
    operation: &'static str,
    request: Vec<u8>,
    sample: Sample,
    batch: usize,
    count: Count,
}

impl Sender {
    fn new(target: &Target, url: &str, load: Load, count: Count) -> anyhow::Result<Self> {
        let (sample, batch) = (Sample::of(BODY_BYTES), load.batch);
        let (operation, request) = send_request(url, &sample, batch)?;
        Ok(Self { caller: target.caller(), operation, request, sample, batch, count })
    }

    /// How many messages were stored, how many requests failed, and the latencies of the others.
    async fn run(mut self, lead: Arc<Lead>, until: Instant) -> (u64, u64, Histogram<u64>) {
        let (mut times, mut sent, mut errors) = (latencies(), 0, 0);
        let batch = u32::try_from(self.batch).unwrap_or(u32::MAX);
        while lead.take(batch, until).await {
            let began = Instant::now();
            let counted = match self.caller.call(self.operation, &self.request).await {
                Ok(answer) => (self.count)(answer, self.batch, &self.sample),
                Err(_) => 0,
            };
            lead.give(u64::from(batch).saturating_sub(counted));
            if counted > 0 {
                note(&mut times, began.elapsed());
                sent += counted;
            } else {
                errors += 1;
            }
        }
        (sent, errors, times)
    }
}

/// The operation and its body: the same for every request, so it is written once.
fn send_request(url: &str, sample: &Sample, batch: usize) -> anyhow::Result<(&'static str, Vec<u8>)> {
    let message = Send { message_body: &sample.body, ..Send::default() };
    if batch == 1 {
        let request = serde_json::to_vec(&Send { queue_url: Some(url), ..message })?;
        return Ok(("SendMessage", request));
    }
    let entry = |id: usize| Send { id: Some(id.to_string()), message_body: &sample.body, ..Send::default() };
    let entries = Entries { queue_url: url, entries: (0..batch).map(entry).collect() };
    Ok(("SendMessageBatch", serde_json::to_vec(&entries)?))
}

async fn receive_loop(
    mut caller: Caller,
    url: String,
    batch: usize,
    stop: Arc<AtomicBool>,
    deleted: Arc<AtomicU64>,
    lead: Arc<Lead>,
) -> u64 {
    let request = json!({ "QueueUrl": url, "MaxNumberOfMessages": batch, "WaitTimeSeconds": 1 }).to_string();
    let sample = Sample::of(BODY_BYTES);
    let mut errors = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(answer) = caller.call("ReceiveMessage", request.as_bytes()).await else {
            errors += 1;
            continue;
        };
        let Ok(messages) = Received::parse(answer) else {
            errors += 1;
            continue;
        };
        errors += messages.iter().filter(|message| !sample.is(message)).count() as u64;
        match delete_request(&url, &messages) {
            Ok(Some(request)) => match request.send(&mut caller).await {
                Ok(count) => {
                    deleted.fetch_add(count, Ordering::Relaxed);
                    lead.give(count);
                }
                Err(_) => errors += 1,
            },
            Ok(None) => {}
            Err(_) => errors += 1,
        }
    }
    errors
}

/// A request to delete what was received, which borrows nothing of the answer.
pub(crate) struct DeleteRequest {
    operation: &'static str,
    input: Vec<u8>,
    entries: usize,
}

impl DeleteRequest {
    /// Returns how many deletes were acknowledged.
    pub(crate) async fn send(&self, caller: &mut Caller) -> anyhow::Result<u64> {
        let answer = caller.call(self.operation, &self.input).await?;
        if self.entries == 1 { Ok(1) } else { Ok(successes(answer)?) }
    }
}

/// The request that deletes `messages`, if there are any.
pub(crate) fn delete_request(
    url: &str,
    messages: &[Message<'_>],
) -> serde_json::Result<Option<DeleteRequest>> {
    let (operation, input) = match messages {
        [] => return Ok(None),
        [one] => {
            let request = Delete { id: None, queue_url: Some(url), receipt_handle: &one.receipt_handle };
            ("DeleteMessage", serde_json::to_vec(&request)?)
        }
        many => {
            let entries = many.iter().enumerate().map(|(id, message)| Delete {
                id: Some(id.to_string()),
                queue_url: None,
                receipt_handle: &message.receipt_handle,
            });
            let entries = entries.collect();
            ("DeleteMessageBatch", serde_json::to_vec(&Entries { queue_url: url, entries })?)
        }
    };
    Ok(Some(DeleteRequest { operation, input, entries: messages.len() }))
}

/// Queues at least `count` messages, ten a request.
pub(crate) async fn fill(target: &Target, url: &str, count: u64) -> anyhow::Result<()> {
    const FILLERS: u64 = 8;
    let mut fillers = JoinSet::new();
    let sample = Sample::of(BODY_BYTES);
    for _ in 0..FILLERS {
        let (mut caller, (operation, request)) = (target.caller(), send_request(url, &sample, 10)?);
        fillers.spawn(async move {
            for _ in 0..count.div_ceil(10 * FILLERS) {
                caller.call(operation, &request).await?;
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(filler) = fillers.join_next().await {
        filler??;
    }
    Ok(())
}

/// Messages that could be received now.
pub(crate) async fn available(target: &Target, url: &str) -> anyhow::Result<u64> {
    let name = "ApproximateNumberOfMessages";
    let input = json!({ "QueueUrl": url, "AttributeNames": [name] });
    let answer = target.connection().sqs("GetQueueAttributes", &input).await?;
    Ok(answer["Attributes"][name].as_str().unwrap_or("0").parse()?)
}

/// A name that no earlier run used.
pub fn unique(stem: &str) -> String {
    use lambfold_types::uuid_v4;
    format!("{stem}-{}", uuid_v4(&lambfold_clock::SystemEntropy).simple())
}

/// Lets the server settle between cells.
pub async fn settle() {
    pause(200).await;
}
