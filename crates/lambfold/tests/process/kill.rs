//! `kill -9` at random moments under load: what was acknowledged stays so (DESIGN §5, invariant 1).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lambfold_client::Connection;
use lambfold_types::Entropy;
use serde_json::json;
use tokio::sync::watch;

use crate::fleet::Fleet;
use crate::support::connection;

/// Kills of a run.
const KILLS: usize = 12;
const QUEUE: &str = "survivors";

/// What the clients know for certain.
#[derive(Default)]
struct Ledger {
    /// Sends that were acknowledged.
    sent: BTreeSet<String>,
    /// Deletes that were asked for, acknowledged or not.
    delete_asked: BTreeSet<String>,
    /// Deletes that were acknowledged, and when.
    deleted: BTreeMap<String, Instant>,
    /// Messages received after their delete had been acknowledged.
    risen: Vec<String>,
}

type Shared = Arc<Mutex<Ledger>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_nothing_deleted_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    survive(Fleet::one(directory.path()), kills(KILLS), 800).await;
}

/// Kills of a run: `usual`, unless the environment asks for more.
pub(crate) fn kills(usual: usize) -> usize {
    std::env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(usual)
}

/// Clients send, receive and delete while one node after the other is killed and started anew. `least` messages have to go
/// in meanwhile for that to say anything.
pub(crate) async fn survive(mut fleet: Fleet, kills: usize, least: usize) {
    let addresses = fleet.addresses();
    let ledger = Shared::default();
    let (stop, stopped) = watch::channel(false);

    let url = create_queue(&mut fleet.server(0).connection()).await;
    let mut clients = Vec::new();
    for id in 0..6 {
        clients.push(tokio::spawn(send(
            id,
            addresses[id % addresses.len()].clone(),
            url.clone(),
            ledger.clone(),
            stopped.clone(),
        )));
    }
    for id in 0..3 {
        clients.push(tokio::spawn(receive(
            addresses[id % addresses.len()].clone(),
            url.clone(),
            ledger.clone(),
            stopped.clone(),
        )));
    }
    for _ in 0..kills {
        pause(100 + random(400)).await;
        fleet.kill_one();
    }
    pause(300).await;
    stop.send(true).unwrap();
    for client in clients {
        client.await.unwrap();
    }

    let left = drain(&mut fleet.server(0).connection(), &url, &ledger).await;
    let ledger = ledger.lock().unwrap();
    assert!(ledger.sent.len() > least, "only {} messages went in", ledger.sent.len());
    assert!(ledger.deleted.len() > least / 4, "only {} messages were deleted", ledger.deleted.len());
    assert_eq!(ledger.risen, Vec::<String>::new(), "deleted messages came back");
    let lost: Vec<_> =
        ledger.sent.iter().filter(|id| !ledger.delete_asked.contains(*id) && !left.contains(*id)).collect();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged messages are lost: {lost:?}",
        lost.len(),
        ledger.sent.len()
    );
    println!(
        "{} sent, {} deleted, {} left, {kills} kills",
        ledger.sent.len(),
        ledger.deleted.len(),
        left.len()
    );
    drop(ledger);
    assert!(fleet.terminate(), "a graceful stop succeeds");
}

async fn create_queue(connection: &mut Connection) -> String {
    let attributes = json!({ "VisibilityTimeout": "4" });
    let answer =
        connection.sqs("CreateQueue", &json!({ "QueueName": QUEUE, "Attributes": attributes })).await;
    answer.unwrap()["QueueUrl"].as_str().unwrap().to_owned()
}

async fn send(id: usize, address: String, url: String, ledger: Shared, stopped: watch::Receiver<bool>) {
    let mut connection = connection(&address);
    for round in 0.. {
        if *stopped.borrow() {
            return;
        }
        let bodies: Vec<String> = (0..=(round % 10)).map(|n| format!("{id}-{round}-{n}")).collect();
        let entries: Vec<_> = bodies
            .iter()
            .enumerate()
            .map(|(n, body)| json!({ "Id": n.to_string(), "MessageBody": body }))
            .collect();
        match connection.sqs("SendMessageBatch", &json!({ "QueueUrl": url, "Entries": entries })).await {
            Ok(answer) => {
                let mut ledger = ledger.lock().unwrap();
                for entry in answer["Successful"].as_array().into_iter().flatten() {
                    let index: usize = entry["Id"].as_str().unwrap().parse().unwrap();
                    ledger.sent.insert(bodies[index].clone());
                }
            }
            Err(_) => pause(5).await,
        }
    }
}

async fn receive(address: String, url: String, ledger: Shared, stopped: watch::Receiver<bool>) {
    let mut connection = connection(&address);
    while !*stopped.borrow() {
        if receive_and_delete(&mut connection, &url, &ledger).await.is_err() {
            pause(5).await;
        }
    }
}

async fn receive_and_delete(
    connection: &mut Connection,
    url: &str,
    ledger: &Shared,
) -> Result<usize, lambfold_client::Error> {
    let asked = Instant::now();
    let input = json!({ "QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1 });
    let answer = connection.sqs("ReceiveMessage", &input).await?;
    let messages: Vec<(String, String)> = answer["Messages"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|message| {
            (
                message["Body"].as_str().unwrap().to_owned(),
                message["ReceiptHandle"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    {
        let mut ledger = ledger.lock().unwrap();
        for (body, _) in &messages {
            if ledger.deleted.get(body).is_some_and(|deleted| *deleted < asked) {
                ledger.risen.push(body.clone());
            }
            ledger.delete_asked.insert(body.clone());
        }
    }
    if messages.is_empty() {
        return Ok(0);
    }
    let entries: Vec<_> = messages
        .iter()
        .enumerate()
        .map(|(n, (_, handle))| json!({ "Id": n.to_string(), "ReceiptHandle": handle }))
        .collect();
    let answer =
        connection.sqs("DeleteMessageBatch", &json!({ "QueueUrl": url, "Entries": entries })).await?;
    let now = Instant::now();
    let mut ledger = ledger.lock().unwrap();
    for entry in answer["Successful"].as_array().into_iter().flatten() {
        let index: usize = entry["Id"].as_str().unwrap().parse().unwrap();
        ledger.deleted.insert(messages[index].0.clone(), now);
    }
    Ok(messages.len())
}

/// Receives and deletes until the queue says that it holds nothing; what was there.
async fn drain(connection: &mut Connection, url: &str, ledger: &Shared) -> BTreeSet<String> {
    let mut left = BTreeSet::new();
    let names = json!(["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]);
    loop {
        let asked_before = ledger.lock().unwrap().delete_asked.clone();
        // A queue whose node was killed is taken over within seconds.
        if receive_and_delete(connection, url, ledger).await.is_err() {
            pause(100).await;
            continue;
        }
        {
            let mut ledger = ledger.lock().unwrap();
            let new: Vec<_> = ledger.delete_asked.difference(&asked_before).cloned().collect();
            for body in new {
                ledger.delete_asked.remove(&body);
                left.insert(body);
            }
        }
        let input = json!({ "QueueUrl": url, "AttributeNames": names });
        let counts = connection.sqs("GetQueueAttributes", &input).await.unwrap();
        let counts = counts["Attributes"].as_object().unwrap();
        if counts.values().all(|count| count == "0") {
            return left;
        }
    }
}

pub(crate) fn random(below: u64) -> u64 {
    let mut bytes = [0; 8];
    lambfold_clock::SystemEntropy.fill(&mut bytes);
    u64::from_le_bytes(bytes) % below
}

#[expect(clippy::disallowed_methods, reason = "the processes under test live in real time")]
pub(crate) async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
