//! From a send to the answer of the long poll that waits for it.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::cell::{Cell, latencies, note};
use crate::queues::unique;
use crate::target::{Target, pause};

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
        while Instant::now() < until {
            let now = origin.elapsed().as_nanos().to_string();
            sender.sqs("SendMessage", &json!({ "QueueUrl": send_url, "MessageBody": now })).await?;
            pause(1000 / rate.max(1)).await;
        }
        Ok::<_, lambfold_client::Error>(())
    });
    let (mut times, mut received) = (latencies(), 0);
    while Instant::now() < until {
        let input = json!({ "QueueUrl": url, "MaxNumberOfMessages": 1, "WaitTimeSeconds": 1 });
        let answer = receiver.sqs("ReceiveMessage", &input).await?;
        for message in answer["Messages"].as_array().into_iter().flatten() {
            let sent: u64 = message["Body"].as_str().unwrap_or_default().parse()?;
            note(&mut times, origin.elapsed().saturating_sub(Duration::from_nanos(sent)));
            received += 1;
            let input = json!({ "QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"] });
            deleter.sqs("DeleteMessage", &input).await?;
        }
    }
    sending.await??;
    target.delete_queue(&url).await?;
    Ok(Cell::new(&format!("long poll at {rate}/s"), received, origin.elapsed(), &times, 0))
}
