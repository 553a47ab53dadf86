//! `kill -9` at random moments under load of a FIFO queue: each message goes in once, and of each group they come out in
//! their order (DESIGN §5, invariant 2).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use lambfold_client::Connection;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::fleet::Fleet;
use crate::kill::{kills, pause, random};
use crate::support::{Server, connection, free_addresses};

/// Kills of a run.
const KILLS: usize = 6;
const GROUPS: usize = 4;

/// What the clients know of a group for certain.
#[derive(Default)]
struct Group {
    /// Messages that were sent and acknowledged: all numbers below it.
    sent: u64,
    /// The first number of which nobody has asked for the deletion.
    next: u64,
    /// The `MessageId` by number, and what was wrong.
    ids: BTreeMap<u64, String>,
    faults: Vec<String>,
}

type Shared = Arc<Mutex<Vec<Group>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_and_exactly_once_survive_kills() {
    let directory = tempfile::tempdir().unwrap();
    survive(Fleet::one(directory.path()), kills(KILLS)).await;
}

/// Whose answer a crash cut off asks again, and gets what was in flight for it.
#[tokio::test]
async fn an_attempt_is_repeated_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let addresses = free_addresses();
    let server = Server::start(directory.path(), &addresses);
    let mut client = server.connection();
    let input = json!({ "QueueName": "again.fifo", "Attributes": { "FifoQueue": "true" } });
    let url = client.sqs("CreateQueue", &input).await.unwrap()["QueueUrl"].clone();
    for (group, body) in [("a", "1"), ("a", "2"), ("b", "3")] {
        let message = json!({ "QueueUrl": url, "MessageBody": body, "MessageGroupId": group,
                              "MessageDeduplicationId": body });
        client.sqs("SendMessage", &message).await.unwrap();
    }
    let attempt = |id: &str| {
        json!({ "QueueUrl": url, "MaxNumberOfMessages": 2, "ReceiveRequestAttemptId": id,
                "MessageSystemAttributeNames": ["ApproximateReceiveCount", "MessageGroupId"] })
    };
    let first = client.sqs("ReceiveMessage", &attempt("one")).await.unwrap()["Messages"].clone();
    assert_eq!(first.as_array().map(Vec::len), Some(2), "{first}");
    server.kill();

    let server = Server::start(directory.path(), &addresses);
    let mut client = server.connection();
    let again = client.sqs("ReceiveMessage", &attempt("one")).await.unwrap()["Messages"].clone();
    assert_eq!(again, first);
    let other = client.sqs("ReceiveMessage", &attempt("two")).await.unwrap()["Messages"].clone();
    assert_eq!((other.as_array().map(Vec::len), &other[0]["Body"]), (Some(1), &json!("3")));
    for message in first.as_array().unwrap() {
        let input = json!({ "QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"] });
        client.sqs("DeleteMessage", &input).await.unwrap();
    }
    let again = client.sqs("ReceiveMessage", &attempt("one")).await.unwrap();
    assert!(again.get("Messages").is_none_or(|it| it.as_array().is_none_or(Vec::is_empty)), "{again}");
    server.kill();
}

/// Clients send, receive and delete in order while one node after the other is killed and started anew.
pub(crate) async fn survive(mut fleet: Fleet, kills: usize) {
    let addresses = fleet.addresses();
    let groups: Shared = Arc::new(Mutex::new((0..GROUPS).map(|_| Group::default()).collect()));
    let (stop, stopped) = watch::channel(false);

    let attributes = json!({ "FifoQueue": "true", "VisibilityTimeout": "2" });
    let input = json!({ "QueueName": "survivors.fifo", "Attributes": attributes });
    let answer = fleet.server(0).connection().sqs("CreateQueue", &input).await.unwrap();
    let url = answer["QueueUrl"].as_str().unwrap().to_owned();
    let mut clients = Vec::new();
    for group in 0..GROUPS {
        let (address, url) = (addresses[group % addresses.len()].clone(), url.clone());
        clients.push(tokio::spawn(send(group, address, url, groups.clone(), stopped.clone())));
    }
    for id in 0..3 {
        let (address, url, groups) = (addresses[id % addresses.len()].clone(), url.clone(), groups.clone());
        let stopped = stopped.clone();
        clients.push(tokio::spawn(async move {
            let mut connection = connection(&address);
            while !*stopped.borrow() {
                if receive_and_delete(&mut connection, &url, &groups).await.is_err() {
                    pause(5).await;
                }
            }
        }));
    }
    for _ in 0..kills {
        pause(200 + random(500)).await;
        fleet.kill_one();
    }
    pause(300).await;
    stop.send(true).unwrap();
    for client in clients {
        client.await.unwrap();
    }
    let all_are_out = || groups.lock().unwrap().iter().all(|group| group.next >= group.sent);
    let mut connection = fleet.server(0).connection();
    let mut empty = 0;
    // What is still in flight becomes visible by and by: each receive waits for a second.
    while !all_are_out() && empty < 10 {
        match receive_and_delete(&mut connection, &url, &groups).await {
            Ok(0) => empty += 1,
            Ok(_) => empty = 0,
            // A queue whose node was killed is taken over within seconds.
            Err(_) => pause(100).await,
        }
    }
    let groups = groups.lock().unwrap();
    for (number, group) in groups.iter().enumerate() {
        assert!(group.faults.is_empty(), "group {number}: {:?}", group.faults);
        assert!(group.next >= group.sent, "group {number}: {} is lost", group.next);
        assert!(group.sent > 50, "group {number}: only {} messages went in", group.sent);
    }
    println!("{} sent in order, {kills} kills", groups.iter().map(|group| group.sent).sum::<u64>());
    assert!(fleet.terminate(), "a graceful stop succeeds");
}

/// Sends numbers to a group, each until it is acknowledged, under its own deduplication id.
async fn send(group: usize, address: String, url: String, groups: Shared, stopped: watch::Receiver<bool>) {
    let mut connection = connection(&address);
    let mut number = 0;
    while !*stopped.borrow() {
        let entries: Vec<Value> = (number..number + 1 + random(10))
            .map(|n| {
                json!({ "Id": n.to_string(), "MessageBody": format!("{group} {n}"),
                        "MessageGroupId": group.to_string(), "MessageDeduplicationId": format!("{group}-{n}") })
            })
            .collect();
        match connection.sqs("SendMessageBatch", &json!({ "QueueUrl": url, "Entries": entries })).await {
            Ok(answer) => {
                let sent = answer["Successful"].as_array().map_or(0, Vec::len);
                assert_eq!(sent, entries.len(), "{answer}");
                number += sent as u64;
                groups.lock().unwrap()[group].sent = number;
            }
            Err(_) => pause(5).await,
        }
    }
}

async fn receive_and_delete(
    connection: &mut Connection,
    url: &str,
    groups: &Shared,
) -> Result<usize, lambfold_client::Error> {
    let input = json!({ "QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1 });
    let answer = connection.sqs("ReceiveMessage", &input).await?;
    let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
    if messages.is_empty() {
        return Ok(0);
    }
    {
        let mut groups = groups.lock().unwrap();
        for message in &messages {
            let (group, number) = message["Body"].as_str().unwrap().split_once(' ').unwrap();
            let (group, number) = (&mut groups[group.parse::<usize>().unwrap()], number.parse().unwrap());
            if number > group.next {
                group.faults.push(format!("{number} overtook {}", group.next));
            }
            group.next = group.next.max(number + 1);
            let id = message["MessageId"].as_str().unwrap();
            if group.ids.entry(number).or_insert_with(|| id.to_owned()) != id {
                group.faults.push(format!("{number} went in twice"));
            }
        }
    }
    let entries: Vec<Value> = messages
        .iter()
        .enumerate()
        .map(|(n, message)| json!({ "Id": n.to_string(), "ReceiptHandle": message["ReceiptHandle"] }))
        .collect();
    connection.sqs("DeleteMessageBatch", &json!({ "QueueUrl": url, "Entries": entries })).await?;
    Ok(messages.len())
}
