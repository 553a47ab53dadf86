//! Sending, and whole lives of messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use lambfold_client::{Connection, Error};
use serde_json::json;
use tokio::task::JoinSet;

use crate::answers::{Batch, Delete, Entries, Message, Received, Send};
use crate::cell::{Cell, latencies, note};
use crate::target::{Target, pause};

/// Size of a message body, in bytes.
pub const BODY_BYTES: usize = 256;

/// The body that is sent.
pub fn body() -> String {
    "lambfold-".chars().cycle().take(BODY_BYTES).collect()
}

/// Sends for `seconds` over `connections`, `batch` messages a request, into a queue of its own.
pub async fn send(target: &Target, connections: usize, batch: usize, seconds: f64) -> anyhow::Result<Cell> {
    let url = target.create_queue(&unique("bench-send")).await?;
    let cell =
        send_to(target, &format!("send c{connections} b{batch}"), &url, connections, batch, seconds).await?;
    target.delete_queue(&url).await?;
    Ok(cell)
}

/// The same load against the bare reference, which has no queues to make.
pub async fn send_to_reference(target: &Target, connections: usize, seconds: f64) -> anyhow::Result<Cell> {
    let url = "http://127.0.0.1:4566/000000000000/reference";
    send_to(target, &format!("reference c{connections} b1"), url, connections, 1, seconds).await
}

/// Sends, receives and deletes for `seconds` in a new queue: half of `connections` send, half receive and delete.
/// Counts messages whose delete was acknowledged.
pub async fn whole_life(
    target: &Target,
    connections: usize,
    batch: usize,
    seconds: f64,
) -> anyhow::Result<Cell> {
    let url = target.create_queue(&unique("bench-life")).await?;
    let cell = life_in(target, &url, connections, batch, seconds).await?;
    target.delete_queue(&url).await?;
    Ok(cell)
}

async fn send_to(
    target: &Target,
    name: &str,
    url: &str,
    connections: usize,
    batch: usize,
    seconds: f64,
) -> anyhow::Result<Cell> {
    let mut senders = JoinSet::new();
    for _ in 0..connections {
        senders.spawn(send_loop(target.connection(), send_request(url, batch)?, batch, seconds));
    }
    let started = Instant::now();
    let (mut all, mut sent, mut errors) = (latencies(), 0, 0);
    while let Some(sender) = senders.join_next().await {
        let (counted, failed, times) = sender?;
        all.add(times)?;
        sent += counted;
        errors += failed;
    }
    Ok(Cell::new(name, sent, started.elapsed(), &all, errors))
}

pub(crate) async fn life_in(
    target: &Target,
    url: &str,
    connections: usize,
    batch: usize,
    seconds: f64,
) -> anyhow::Result<Cell> {
    let (deleted, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let half = (connections / 2).max(1);
    let (mut senders, mut receivers) = (JoinSet::new(), JoinSet::new());
    for _ in 0..half {
        senders.spawn(send_loop(target.connection(), send_request(url, batch)?, batch, seconds));
        let (stop, deleted) = (stop.clone(), deleted.clone());
        receivers.spawn(receive_loop(target.connection(), url.to_owned(), batch, stop, deleted));
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

async fn send_loop(
    mut connection: Connection,
    (operation, request): (&'static str, Bytes),
    batch: usize,
    seconds: f64,
) -> (u64, u64, Histogram<u64>) {
    let (mut times, mut sent, mut errors) = (latencies(), 0, 0);
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < until {
        let began = Instant::now();
        let counted = match connection.sqs_bytes(operation, request.clone()).await {
            Ok(_) if batch == 1 => 1,
            Ok(answer) => Batch::successes(&answer).unwrap_or(0),
            Err(_) => 0,
        };
        if counted > 0 {
            note(&mut times, began.elapsed());
            sent += counted;
        } else {
            errors += 1;
        }
    }
    (sent, errors, times)
}

/// The operation and its body: the same for every request, so it is written once.
pub(crate) fn send_request(url: &str, batch: usize) -> anyhow::Result<(&'static str, Bytes)> {
    let body = body();
    let message = Send { message_body: &body, ..Send::default() };
    if batch == 1 {
        let request = serde_json::to_vec(&Send { queue_url: Some(url), ..message })?;
        return Ok(("SendMessage", request.into()));
    }
    let entry = |id: usize| Send { id: Some(id.to_string()), message_body: &body, ..Send::default() };
    let entries = Entries { queue_url: url, entries: (0..batch).map(entry).collect() };
    Ok(("SendMessageBatch", serde_json::to_vec(&entries)?.into()))
}

async fn receive_loop(
    mut connection: Connection,
    url: String,
    batch: usize,
    stop: Arc<AtomicBool>,
    deleted: Arc<AtomicU64>,
) -> u64 {
    let request: Bytes =
        json!({ "QueueUrl": url, "MaxNumberOfMessages": batch, "WaitTimeSeconds": 1 }).to_string().into();
    let mut errors = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(answer) = connection.sqs_bytes("ReceiveMessage", request.clone()).await else {
            errors += 1;
            continue;
        };
        let outcome = match Received::parse(&answer) {
            Ok(messages) => delete_all(&mut connection, &url, &messages).await,
            Err(error) => Err(error.into()),
        };
        match outcome {
            Ok(count) => _ = deleted.fetch_add(count, Ordering::Relaxed),
            Err(_) => errors += 1,
        }
    }
    errors
}

/// Deletes what was received; returns how many deletes were acknowledged.
pub(crate) async fn delete_all(
    connection: &mut Connection,
    url: &str,
    messages: &[Message<'_>],
) -> Result<u64, Error> {
    match messages {
        [] => Ok(0),
        [one] => {
            let request = Delete { id: None, queue_url: Some(url), receipt_handle: &one.receipt_handle };
            connection.sqs_bytes("DeleteMessage", serde_json::to_vec(&request)?.into()).await.map(|_| 1)
        }
        many => {
            let entries = many.iter().enumerate().map(|(id, message)| Delete {
                id: Some(id.to_string()),
                queue_url: None,
                receipt_handle: &message.receipt_handle,
            });
            let entries = entries.collect();
            let request = serde_json::to_vec(&Entries { queue_url: url, entries })?;
            let answer = connection.sqs_bytes("DeleteMessageBatch", request.into()).await?;
            Ok(Batch::successes(&answer)?)
        }
    }
}

/// Queues at least `count` messages, ten a request.
pub(crate) async fn fill(target: &Target, url: &str, count: u64) -> anyhow::Result<()> {
    const FILLERS: u64 = 8;
    let mut fillers = JoinSet::new();
    for _ in 0..FILLERS {
        let (mut connection, (operation, request)) = (target.connection(), send_request(url, 10)?);
        fillers.spawn(async move {
            for _ in 0..count.div_ceil(10 * FILLERS) {
                connection.sqs_bytes(operation, request.clone()).await?;
            }
            Ok::<_, Error>(())
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
