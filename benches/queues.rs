//! Sending, and whole lives of messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use lambfold_client::Connection;
use serde_json::{Value, json};

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

async fn send_to(
    target: &Target,
    name: &str,
    url: &str,
    connections: usize,
    batch: usize,
    seconds: f64,
) -> anyhow::Result<Cell> {
    let senders = (0..connections)
        .map(|_| tokio::spawn(send_loop(target.connection(), url.to_owned(), batch, seconds)));
    let started = Instant::now();
    let (mut all, mut sent, mut errors) = (latencies(), 0, 0);
    for sender in senders.collect::<Vec<_>>() {
        let (counted, failed, times) = sender.await?;
        all.add(times)?;
        sent += counted;
        errors += failed;
    }
    Ok(Cell::new(name, sent, started.elapsed(), &all, errors))
}

async fn send_loop(
    mut connection: Connection,
    url: String,
    batch: usize,
    seconds: f64,
) -> (u64, u64, Histogram<u64>) {
    let (operation, input) = send_request(&url, batch);
    let (mut times, mut sent, mut errors) = (latencies(), 0, 0);
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < until {
        let began = Instant::now();
        match connection.sqs(operation, &input).await {
            Ok(answer) => {
                note(&mut times, began.elapsed());
                sent +=
                    if batch == 1 { 1 } else { answer["Successful"].as_array().map_or(0, Vec::len) as u64 };
            }
            Err(_) => errors += 1,
        }
    }
    (sent, errors, times)
}

fn send_request(url: &str, batch: usize) -> (&'static str, Value) {
    let body = body();
    if batch == 1 {
        return ("SendMessage", json!({ "QueueUrl": url, "MessageBody": body }));
    }
    let entries: Vec<_> = (0..batch).map(|id| json!({ "Id": id.to_string(), "MessageBody": body })).collect();
    ("SendMessageBatch", json!({ "QueueUrl": url, "Entries": entries }))
}

/// Sends, receives and deletes for `seconds`: half of `connections` send, half receive and delete. Counts messages
/// whose delete was acknowledged. With `backlog`, that many messages are queued before.
pub async fn whole_life(
    target: &Target,
    connections: usize,
    batch: usize,
    seconds: f64,
    backlog: u64,
) -> anyhow::Result<Cell> {
    let url = target.create_queue(&unique("bench-life")).await?;
    fill(target, &url, backlog).await?;
    let deleted = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let half = (connections / 2).max(1);
    let senders: Vec<_> = (0..half)
        .map(|_| tokio::spawn(send_loop(target.connection(), url.clone(), batch, seconds)))
        .collect();
    let receivers: Vec<_> = (0..half)
        .map(|_| {
            let (stop, deleted) = (stop.clone(), deleted.clone());
            tokio::spawn(receive_loop(target.connection(), url.clone(), batch, stop, deleted))
        })
        .collect();
    let (mut all, mut errors) = (latencies(), 0);
    let started = Instant::now();
    for sender in senders {
        let (_, failed, times) = sender.await?;
        all.add(times)?;
        errors += failed;
    }
    let (units, elapsed) = (deleted.load(Ordering::Relaxed), started.elapsed());
    stop.store(true, Ordering::Relaxed);
    for receiver in receivers {
        errors += receiver.await?;
    }
    target.delete_queue(&url).await?;
    let name = format!(
        "life c{connections} b{batch}{}",
        if backlog > 0 { format!(" at {backlog}") } else { String::new() }
    );
    Ok(Cell::new(&name, units, elapsed, &all, errors))
}

async fn receive_loop(
    mut connection: Connection,
    url: String,
    batch: usize,
    stop: Arc<AtomicBool>,
    deleted: Arc<AtomicU64>,
) -> u64 {
    let receive = json!({ "QueueUrl": url, "MaxNumberOfMessages": batch, "WaitTimeSeconds": 1 });
    let mut errors = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(answer) = connection.sqs("ReceiveMessage", &receive).await else {
            errors += 1;
            continue;
        };
        let messages = answer["Messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        match delete_all(&mut connection, &url, messages).await {
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
    messages: &[Value],
) -> Result<u64, lambfold_client::Error> {
    match messages {
        [] => Ok(0),
        [one] => {
            let input = json!({ "QueueUrl": url, "ReceiptHandle": one["ReceiptHandle"] });
            connection.sqs("DeleteMessage", &input).await.map(|_| 1)
        }
        many => {
            let entry = |(id, message): (usize, &Value)| json!({ "Id": id.to_string(), "ReceiptHandle": message["ReceiptHandle"] });
            let entries: Vec<_> = many.iter().enumerate().map(entry).collect();
            let input = json!({ "QueueUrl": url, "Entries": entries });
            let answer = connection.sqs("DeleteMessageBatch", &input).await;
            answer.map(|answer| answer["Successful"].as_array().map_or(0, Vec::len) as u64)
        }
    }
}

async fn fill(target: &Target, url: &str, backlog: u64) -> anyhow::Result<()> {
    let workers = 8;
    let fillers = (0..workers).map(|_| {
        let (mut connection, (operation, input)) = (target.connection(), send_request(url, 10));
        let requests = backlog / (10 * workers);
        tokio::spawn(async move {
            for _ in 0..requests {
                connection.sqs(operation, &input).await?;
            }
            Ok::<_, lambfold_client::Error>(())
        })
    });
    for filler in fillers.collect::<Vec<_>>() {
        filler.await??;
    }
    Ok(())
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
