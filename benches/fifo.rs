//! Whole lives of messages of a FIFO queue, in the order of their groups.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use lambfold_client::Connection;
use serde_json::json;
use tokio::task::JoinSet;

use crate::answers::{Batch, Entries, Message, Received, Send};
use crate::cell::{Cell, latencies, note};
use crate::queues::{body, delete_all, unique};
use crate::target::Target;

/// The number of the last message that was seen, by group.
type Seen = Arc<Mutex<BTreeMap<String, u64>>>;

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
    let (mut senders, mut receivers) = (JoinSet::new(), JoinSet::new());
    for number in 0..half {
        let own = (0..groups).filter(|group| group % half == number).collect();
        senders.spawn(send_loop(target.connection(), url.clone(), own, batch, seconds));
        let (stop, deleted, seen) = (stop.clone(), deleted.clone(), seen.clone());
        receivers.spawn(receive_loop(target.connection(), url.clone(), batch, stop, deleted, seen));
    }
    let (mut all, mut errors) = (latencies(), 0);
    let started = Instant::now();
    while let Some(sender) = senders.join_next().await {
        let (failed, times) = sender?;
        all.add(times)?;
        errors += failed;
    }
    let (units, elapsed) = (deleted.load(Ordering::Relaxed), started.elapsed());
    stop.store(true, Ordering::Relaxed);
    while let Some(receiver) = receivers.join_next().await {
        errors += receiver?;
    }
    target.delete_queue(&url).await?;
    Ok(Cell::new(&format!("fifo c{connections} g{groups} b{batch}"), units, elapsed, &all, errors))
}

/// Sends in the turn of its groups. The deduplication id is `<group>-<number>`, where numbers rise.
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
            Send {
                message_body: &body,
                message_group_id: Some(group.to_string()),
                message_deduplication_id: Some(format!("{group}-{sent}")),
                ..Send::default()
            }
        };
        let (operation, request) = if batch == 1 {
            ("SendMessage", serde_json::to_vec(&Send { queue_url: Some(&url), ..message() }))
        } else {
            let entry = |id: usize| Send { id: Some(id.to_string()), ..message() };
            let entries = Entries { queue_url: &url, entries: (0..batch).map(entry).collect() };
            ("SendMessageBatch", serde_json::to_vec(&entries))
        };
        let began = Instant::now();
        let sent = match connection.sqs_bytes(operation, request.unwrap_or_default().into()).await {
            Ok(_) if batch == 1 => true,
            Ok(answer) => Batch::successes(&answer).is_ok_and(|count| count == batch as u64),
            Err(_) => false,
        };
        if sent {
            note(&mut times, began.elapsed());
        } else {
            errors += 1;
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
    let names = json!(["MessageGroupId", "MessageDeduplicationId"]);
    let receive: Bytes = json!({ "QueueUrl": url, "MaxNumberOfMessages": batch, "WaitTimeSeconds": 1,
                                 "MessageSystemAttributeNames": names, "AttributeNames": names })
    .to_string()
    .into();
    let mut errors = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(answer) = connection.sqs_bytes("ReceiveMessage", receive.clone()).await else {
            errors += 1;
            continue;
        };
        let Ok(messages) = Received::parse(&answer) else {
            errors += 1;
            continue;
        };
        errors += messages.iter().filter(|message| !is_in_order(message, &seen)).count() as u64;
        match delete_all(&mut connection, &url, &messages).await {
            Ok(count) => _ = deleted.fetch_add(count, Ordering::Relaxed),
            Err(_) => errors += 1,
        }
    }
    errors
}

/// Notes a message; false if one that was sent later was seen before, or if it does not tell.
fn is_in_order(message: &Message<'_>, seen: &Seen) -> bool {
    let Some(attributes) = &message.attributes else { return false };
    let number =
        attributes.message_deduplication_id.as_deref().and_then(|id| id.rsplit_once('-')?.1.parse().ok());
    let (Some(group), Some(number)) = (&attributes.message_group_id, number) else { return false };
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    match seen.get_mut(group.as_ref()) {
        Some(last) => std::mem::replace(last, number) < number,
        None => seen.insert(group.to_string(), number).is_none(),
    }
}
