//! Whole lives of messages of a FIFO queue, in the order of their groups.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use lambfold_client::Connection;
use serde_json::{Value, json};

use crate::cell::{Cell, latencies, note};
use crate::queues::{body, delete_all, unique};
use crate::target::Target;

/// The last sequence number that was seen, by group.
type Seen = Arc<Mutex<BTreeMap<String, String>>>;

/// Sends, receives and deletes for `seconds` in `groups` message groups: half of `connections` send, each to groups of its
/// own, half receive and delete. Counts messages whose delete was acknowledged; one that comes before another of its group
/// that was sent earlier counts as an error.
pub async fn whole_life(
    target: &Target,
    connections: usize,
    groups: usize,
    batch: usize,
    seconds: f64,
) -> anyhow::Result<Cell> {
    let name = format!("{}.fifo", unique("bench-life"));
    let url = target.create_queue_with(&name, &json!({ "FifoQueue": "true" })).await?;
    let (deleted, stop, seen) =
        (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)), Seen::default());
    let half = (connections / 2).max(1);
    let senders: Vec<_> = (0..half)
        .map(|number| {
            let own = (0..groups).filter(|group| group % half == number).collect();
            tokio::spawn(send_loop(target.connection(), url.clone(), own, batch, seconds))
        })
        .collect();
    let receivers: Vec<_> = (0..half)
        .map(|_| {
            let (stop, deleted, seen) = (stop.clone(), deleted.clone(), seen.clone());
            tokio::spawn(receive_loop(target.connection(), url.clone(), batch, stop, deleted, seen))
        })
        .collect();
    let (mut all, mut errors) = (latencies(), 0);
    let started = Instant::now();
    for sender in senders {
        let (failed, times) = sender.await?;
        all.add(times)?;
        errors += failed;
    }
    let (units, elapsed) = (deleted.load(Ordering::Relaxed), started.elapsed());
    stop.store(true, Ordering::Relaxed);
    for receiver in receivers {
        errors += receiver.await?;
    }
    target.delete_queue(&url).await?;
    Ok(Cell::new(&format!("fifo c{connections} g{groups} b{batch}"), units, elapsed, &all, errors))
}

async fn send_loop(
    mut connection: Connection,
    url: String,
    groups: Vec<usize>,
    batch: usize,
    seconds: f64,
) -> (u64, Histogram<u64>) {
    let (body, mut times, mut errors, mut sent) = (body(), latencies(), 0, 0usize);
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < until {
        let mut message = || {
            let group = groups.get(sent % groups.len().max(1)).copied().unwrap_or_default();
            sent += 1;
            let id = format!("{group}-{sent}");
            json!({ "MessageBody": body, "MessageGroupId": group.to_string(), "MessageDeduplicationId": id })
        };
        let (operation, mut input) = if batch == 1 {
            ("SendMessage", message())
        } else {
            let mut entries: Vec<Value> = (0..batch).map(|_| message()).collect();
            for (id, entry) in entries.iter_mut().enumerate() {
                entry["Id"] = id.to_string().into();
            }
            ("SendMessageBatch", json!({ "Entries": entries }))
        };
        input["QueueUrl"] = url.clone().into();
        let began = Instant::now();
        match connection.sqs(operation, &input).await {
            Ok(_) => note(&mut times, began.elapsed()),
            Err(_) => errors += 1,
        }
    }
    (errors, times)
}

async fn receive_loop(
    mut connection: Connection,
    url: String,
    batch: usize,
    stop: Arc<AtomicBool>,
    deleted: Arc<AtomicU64>,
    seen: Seen,
) -> u64 {
    let names = json!(["MessageGroupId", "SequenceNumber"]);
    let receive = json!({ "QueueUrl": url, "MaxNumberOfMessages": batch, "WaitTimeSeconds": 1,
                          "MessageSystemAttributeNames": names });
    let mut errors = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(answer) = connection.sqs("ReceiveMessage", &receive).await else {
            errors += 1;
            continue;
        };
        let messages = answer["Messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors += messages.iter().filter(|message| !is_in_order(message, &seen)).count() as u64;
        match delete_all(&mut connection, &url, messages).await {
            Ok(count) => _ = deleted.fetch_add(count, Ordering::Relaxed),
            Err(_) => errors += 1,
        }
    }
    errors
}

/// Notes a message; false if one that was sent later was seen before.
fn is_in_order(message: &Value, seen: &Seen) -> bool {
    let text = |name: &str| message["Attributes"][name].as_str().unwrap_or_default().to_owned();
    let (group, number) = (text("MessageGroupId"), text("SequenceNumber"));
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.insert(group, number.clone()).is_none_or(|before| before < number)
}
