//! From a send to the answer of the long poll that waits for it.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::cell::{Cell, latencies, note};
use crate::queues::unique;
use crate::target::{Target, pause_until};

/// `rate` messages a second for `seconds`, one receiver that long-polls; the time from before the send to the
/// message's arrival.
pub async fn run(target: &Target, rate: u64, seconds: f64) -> anyhow::Result<Cell> {
    let url = target.create_queue(&unique("bench-poll")).await?;
    let origin = Instant::now();
    let until = origin + Duration::from_secs_f64(seconds);
    let (mut sender, mut receiver, mut deleter) =
        (target.connection(), target.connection(), target.connection());
    let send_url = url.clone();
    let sending = tokio::spawn(async move {
        // By a schedule: a slow send delays none of those after it.
        let mut next = origin;
        while next < until {
            pause_until(next).await;
            let now = origin.elapsed().as_nanos().to_string();
            sender.sqs("SendMessage", &json!({ "QueueUrl": send_url, "MessageBody": now })).await?;
            next += Duration::from_secs(1) / u32::try_from(rate.max(1)).unwrap_or(u32::MAX);
        }
        Ok::<_, lambfold_client::Error>(origin.elapsed())
    });
    let (mut times, mut received) = (latencies(), 0);
    loop {
        let input = json!({ "QueueUrl": url, "MaxNumberOfMessages": 1, "WaitTimeSeconds": 1 });
        let answer = receiver.sqs("ReceiveMessage", &input).await?;
        for message in answer["Messages"].as_array().into_iter().flatten() {
            let sent: u64 = message["Body"].as_str().unwrap_or_default().parse()?;
            note(&mut times, origin.elapsed().saturating_sub(Duration::from_nanos(sent)));
            received += 1;
            let input = json!({ "QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"] });
            deleter.sqs("DeleteMessage", &input).await?;
        }
        if Instant::now() >= until {
            break;
        }
    }
    let elapsed = sending.await??;
    target.delete_queue(&url).await?;
    Ok(Cell::new(&format!("long poll at {rate}/s"), received, elapsed, &times, 0))
}
