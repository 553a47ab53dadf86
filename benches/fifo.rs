//! Whole lives of messages of a FIFO queue, in the order of their groups.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::json;
use tokio::task::JoinSet;

use crate::answers::{Entries, Message, Received, Sample, Send, stored};
use crate::caller::Caller;
use crate::cell::{Cell, latencies, note};
use crate::lead::Lead;
use crate::queues::{BODY_BYTES, Load, delete_request, unique};
use crate::target::Target;

/// The number of the last message that was seen, by group.
type Seen = Arc<Mutex<BTreeMap<String, u64>>>;

/// Sends, receives and deletes in `groups` message groups: each connection that sends has groups of its own. Counts messages
/// whose delete was acknowledged; one that comes before another of its group that was sent earlier counts as an error.
pub async fn whole_life(target: &Target, load: Load, groups: usize) -> anyhow::Result<Cell> {
    let name = format!("{}.fifo", unique("bench-life"));
    let url = target.create_queue_with(&name, &json!({ "FifoQueue": "true" })).await?;
    let (deleted, stop, seen) =
        (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)), Seen::default());
    let (Load { connections, batch, seconds, .. }, half, lead) = (load, load.half(), load.lead());
    let (mut senders, mut receivers) = (JoinSet::new(), JoinSet::new());
    for number in 0..half {
        let groups = (0..groups).filter(|group| group % half == number).collect();
        let sender = Sender { caller: target.caller(), url: url.clone(), groups, batch };
        senders.spawn(sender.run(lead.clone(), seconds));
        let receiver = Receiver {
            caller: target.caller(),
            url: url.clone(),
            batch,
            deleted: deleted.clone(),
            lead: lead.clone(),
            seen: seen.clone(),
        };
        receivers.spawn(receiver.run(stop.clone()));
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

/// One connection that sends.
struct Sender {
    caller: Caller,
    url: String,
    groups: Vec<usize>,
    batch: usize,
}

impl Sender {
    /// Sends in the turn of its groups. The deduplication id is `<group>-<number>`, where numbers rise.
    async fn run(mut self, lead: Arc<Lead>, seconds: f64) -> (u64, Histogram<u64>) {
        let (sample, mut times, mut errors, mut sent) = (Sample::of(BODY_BYTES), latencies(), 0, 0usize);
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        let (batch, groups) = (self.batch, self.groups);
        while lead.take(u32::try_from(batch).unwrap_or(u32::MAX), until).await {
            let mut message = || {
                let group = groups.get(sent % groups.len().max(1)).copied().unwrap_or_default();
                sent += 1;
                Send {
                    message_body: &sample.body,
                    message_group_id: Some(group.to_string()),
                    message_deduplication_id: Some(format!("{group}-{sent}")),
                    ..Send::default()
                }
            };
            let (operation, request) = if batch == 1 {
                ("SendMessage", serde_json::to_vec(&Send { queue_url: Some(&self.url), ..message() }))
            } else {
                let entry = |id: usize| Send { id: Some(id.to_string()), ..message() };
                let entries = Entries { queue_url: &self.url, entries: (0..batch).map(entry).collect() };
                ("SendMessageBatch", serde_json::to_vec(&entries))
            };
            let began = Instant::now();
            let sent = match self.caller.call(operation, &request.unwrap_or_default()).await {
                Ok(answer) => stored(answer, batch, &sample),
                Err(_) => 0,
            };
            if sent == batch as u64 {
                note(&mut times, began.elapsed());
            } else {
                errors += 1;
                lead.give(batch as u64 - sent);
            }
        }
        (errors, times)
    }
}

/// One connection that receives and deletes.
struct Receiver {
    caller: Caller,
    url: String,
    batch: usize,
    deleted: Arc<AtomicU64>,
    lead: Arc<Lead>,
    seen: Seen,
}

impl Receiver {
    /// Until it is told to stop; how often something went wrong.
    async fn run(mut self, stop: Arc<AtomicBool>) -> u64 {
        let names = json!(["MessageGroupId", "MessageDeduplicationId"]);
        let receive = json!({ "QueueUrl": self.url, "MaxNumberOfMessages": self.batch, "WaitTimeSeconds": 1,
                              "MessageSystemAttributeNames": names, "AttributeNames": names })
        .to_string();
        let sample = Sample::of(BODY_BYTES);
        let mut errors = 0;
        while !stop.load(Ordering::Relaxed) {
            let Ok(answer) = self.caller.call("ReceiveMessage", receive.as_bytes()).await else {
                errors += 1;
                continue;
            };
            let Ok(messages) = Received::parse(answer) else {
                errors += 1;
                continue;
            };
            let is_right = |message: &&Message<'_>| is_in_order(message, &self.seen) && sample.is(message);
            errors += messages.iter().filter(|message| !is_right(message)).count() as u64;
            match delete_request(&self.url, &messages) {
                Ok(Some(request)) => match request.send(&mut self.caller).await {
                    Ok(count) => {
                        self.deleted.fetch_add(count, Ordering::Relaxed);
                        self.lead.give(count);
                    }
                    Err(_) => errors += 1,
                },
                Ok(None) => {}
                Err(_) => errors += 1,
            }
        }
        errors
    }
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
