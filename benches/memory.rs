//! What queued messages cost in memory, and how soon they are there again after a restart.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::queues::{available, fill, settle, unique};
use crate::rounds::middle;
use crate::server::Server;
use crate::target::{Target, pause};

/// Restarts of each kind.
const RESTARTS: usize = 3;

/// Fills a queue of a server of its own under `directory` up to `messages`, and prints resident memory on the way. Then
/// stops the server in each of two ways and prints the time from exec to the first message received. At the end it
/// doubles the queue, to show whether memory stays flat.
pub async fn run(directory: &Path, messages: u64, memory: bool, restart: bool) -> anyhow::Result<()> {
    let mut server = Server::lambfold(directory)?;
    settle().await;
    let idle = server.resident_mib()?;
    let name = unique("bench-memory");
    let url = server.target().create_queue(&name).await?;
    for count in [messages / 10, messages / 2, messages] {
        let resident = grow(&server, &url, count).await?;
        if memory {
            tell("", count, resident, idle);
        }
    }
    for graceful in if restart { &[true, false][..] } else { &[] } {
        let (mut times, mut ready) = (Vec::new(), Vec::new());
        for _ in 0..RESTARTS {
            if *graceful {
                server.stop()?;
            } else {
                // As `kill -9` does.
                drop(server);
            }
            let began = Instant::now();
            server = Server::lambfold(directory)?;
            ready.push(began.elapsed().as_secs_f64());
            first_message(&server.target(), &name).await?;
            times.push(began.elapsed().as_secs_f64());
        }
        let how = if *graceful { "restart at" } else { "restart after kill -9 at" };
        println!(
            "{:<38} {:.3} s from exec to the first message, {:.3} s to Ready (medians of {RESTARTS})",
            format!("{how} {messages}"),
            middle(times).unwrap_or_default(),
            middle(ready).unwrap_or_default(),
        );
    }
    if memory {
        // Last, so that the restarts are at what the table says.
        let since = if restart { ", filled up after a restart" } else { "" };
        tell(since, 2 * messages, grow(&server, &url, 2 * messages).await?, idle);
    }
    Ok(())
}

/// Fills the queue up to `count` messages and returns what is resident then.
async fn grow(server: &Server, url: &str, count: u64) -> anyhow::Result<f64> {
    let queued = available(&server.target(), url).await?;
    fill(&server.target(), url, count.saturating_sub(queued)).await?;
    settle().await;
    server.resident_mib()
}

fn tell(since: &str, messages: u64, resident: f64, idle: f64) {
    let above = resident - idle;
    println!(
        "{:<38} {resident:.1} MiB resident, {above:.1} above idle: {:.2} per 100,000 messages{since}",
        format!("memory at {messages}"),
        above / hundreds_of_thousands(messages),
    );
}

/// Receives until a message comes.
async fn first_message(target: &Target, name: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_mins(2);
    let mut connection = target.connection();
    let url = connection.sqs("GetQueueUrl", &json!({ "QueueName": name })).await?["QueueUrl"].clone();
    while Instant::now() < deadline {
        let answer = connection.sqs("ReceiveMessage", &json!({ "QueueUrl": url })).await?;
        if answer["Messages"].as_array().is_some_and(|messages| !messages.is_empty()) {
            return Ok(());
        }
        pause(1).await;
    }
    anyhow::bail!("no message came")
}

#[expect(clippy::cast_precision_loss, reason = "counts of a bench are far below 2^52")]
fn hundreds_of_thousands(count: u64) -> f64 {
    count.max(1) as f64 / 1e5
}
