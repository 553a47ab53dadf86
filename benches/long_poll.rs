//! From a send to the answer of the long poll that waits for it.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use crate::answers::{Received, Send};
use crate::cell::{Cell, latencies, note};
use crate::queues::{BODY_BYTES, delete_request, unique};
use crate::target::{Target, pause_until};

/// `rate` messages a second for `seconds`, one receiver that long-polls; the time from before the send to the
/// message's arrival.
pub async fn run(target: &Target, rate: u64, seconds: f64) -> anyhow::Result<Cell> {
    let url = target.create_queue(&unique("bench-poll")).await?;
    let origin = Instant::now();
    let until = origin + Duration::from_secs_f64(seconds);
    let (mut sender, mut receiver, mut deleter) = (target.caller(), target.caller(), target.caller());
    let send_url = url.clone();
    let mut sending = JoinSet::new();
    sending.spawn(async move {
        // By a schedule: a slow send delays none of those after it.
        let mut next = origin;
        while next < until {
            pause_until(next).await;
            let now = format!("{:0BODY_BYTES$}", origin.elapsed().as_nanos());
            let request = Send { queue_url: Some(&send_url), message_body: &now, ..Send::default() };
            sender.call("SendMessage", &serde_json::to_vec(&request)?).await?;
            next += Duration::from_secs(1) / u32::try_from(rate.max(1)).unwrap_or(u32::MAX);
        }
        Ok::<_, anyhow::Error>(origin.elapsed())
    });
    let (mut times, mut received, mut errors) = (latencies(), 0, 0);
    let receive = json!({ "QueueUrl": url, "MaxNumberOfMessages": 1, "WaitTimeSeconds": 1 }).to_string();
    while Instant::now() < until {
        let answer = receiver.call("ReceiveMessage", receive.as_bytes()).await?;
        let arrived = origin.elapsed();
        let messages = Received::parse(answer)?;
        for message in &messages {
            let sent: u64 = message.body.parse()?;
            note(&mut times, arrived.saturating_sub(Duration::from_nanos(sent)));
            received += 1;
            errors += u64::from(!message.is_unharmed());
        }
        if let Some(request) = delete_request(&url, &messages)? {
            request.send(&mut deleter).await?;
        }
    }
    let mut elapsed = origin.elapsed();
    while let Some(sent) = sending.join_next().await {
        elapsed = sent??;
    }
    target.delete_queue(&url).await?;
    Ok(Cell::new(&format!("long poll at {rate}/s"), received, elapsed, &times, errors))
}
