//! Queue nodes that share a Postgres database: any answers for any queue, and when one dies or hangs the others take over
//! what it owned, with nothing lost, no FIFO disorder and no second owner (DESIGN §3, many nodes).

use std::time::{Duration, Instant};

use lambfold_client::Connection;
use lambfold_store_postgres::testing::own_server;
use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::kill::{self, kills, pause};
use crate::kill_fifo;
use crate::support::connection;

/// Within this time a queue of a node that died is answered for again.
const TAKEOVER: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_on_postgres_loses_nothing_by_kills() {
    let directory = tempfile::tempdir().unwrap();
    let Some(database) = own_server() else { return };
    kill::survive(Fleet::sharing(directory.path(), 1, &database), kills(6), 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_lose_nothing_by_kills() {
    let directory = tempfile::tempdir().unwrap();
    let Some(database) = own_server() else { return };
    kill::survive(Fleet::sharing(directory.path(), 3, &database), kills(6), 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_keep_order_and_exactly_once_through_kills() {
    let directory = tempfile::tempdir().unwrap();
    let Some(database) = own_server() else { return };
    kill_fifo::survive(Fleet::sharing(directory.path(), 3, &database), kills(6)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_answers_for_any_queue() {
    let directory = tempfile::tempdir().unwrap();
    let Some(database) = own_server() else { return };
    let fleet = Fleet::sharing(directory.path(), 2, &database);
    let (mut one, mut other) = (fleet.server(0).connection(), fleet.server(1).connection());

    let url = create(&mut one, "jobs", &json!({ "VisibilityTimeout": "600" })).await;
    send(&mut other, &url, "a").await.unwrap();
    send(&mut one, &url, "b").await.unwrap();
    let taken = receive(&mut other, &url).await.unwrap();
    assert_eq!(taken.len(), 1);
    // A handle of one node is good at the other.
    let delete = json!({ "QueueUrl": url, "ReceiptHandle": taken[0]["ReceiptHandle"] });
    one.sqs("DeleteMessage", &delete).await.unwrap();
    assert_eq!(receive(&mut one, &url).await.unwrap().len(), 1);
    assert!(
        receive(&mut other, &url).await.unwrap().is_empty(),
        "the other one is in flight, wherever it was received"
    );

    // What one node changes holds at the other at once.
    let change = json!({ "QueueUrl": url, "Attributes": { "DelaySeconds": "7" } });
    other.sqs("SetQueueAttributes", &change).await.unwrap();
    for connection in [&mut one, &mut other] {
        let asked = json!({ "QueueUrl": url, "AttributeNames": ["DelaySeconds", "ApproximateNumberOfMessagesNotVisible"] });
        let answer = connection.sqs("GetQueueAttributes", &asked).await.unwrap();
        assert_eq!(answer["Attributes"]["DelaySeconds"], "7");
        assert_eq!(answer["Attributes"]["ApproximateNumberOfMessagesNotVisible"], "1");
        let listed = connection.sqs("ListQueues", &json!({})).await.unwrap();
        assert_eq!(listed["QueueUrls"].as_array().unwrap().len(), 1);
    }
    one.sqs("DeleteQueue", &json!({ "QueueUrl": url })).await.unwrap();
    let gone = send(&mut other, &url, "late").await.unwrap_err().to_string();
    assert!(gone.contains("does not exist"), "{gone}");
    // The name is free again, and the new queue knows nothing of the old one.
    create(&mut other, "jobs", &json!({})).await;
    assert!(receive(&mut one, &url).await.unwrap().is_empty());
    assert!(fleet.terminate());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_and_move_tasks_cross_nodes() {
    let directory = tempfile::tempdir().unwrap();
    let Some(database) = own_server() else { return };
    let mut fleet = Fleet::sharing(directory.path(), 2, &database);
    let (mut one, mut other) = (fleet.server(0).connection(), fleet.server(1).connection());
    // Each node owns the queue that it is asked for first.
    let dead = create(&mut one, "dead", &json!({})).await;
    assert!(receive(&mut one, &dead).await.unwrap().is_empty());
    let policy =
        json!({ "deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:dead", "maxReceiveCount": 1 });
    let attributes = json!({ "RedrivePolicy": policy.to_string(), "VisibilityTimeout": "0" });
    let jobs = create(&mut other, "jobs", &attributes).await;
    for n in 0..20 {
        send(&mut other, &jobs, &n.to_string()).await.unwrap();
    }
    until(|| async {
        let mut other = connection(&fleet.addresses()[1]);
        receive(&mut other, &jobs).await.unwrap();
        count(&mut other, &dead).await == 20
    })
    .await;
    assert_eq!(count(&mut one, &jobs).await, 0, "nothing is in both");

    // The task runs where the dead-letter queue is; that node is killed, and the other goes on with it.
    let start =
        json!({ "SourceArn": "arn:aws:sqs:us-east-1:000000000000:dead", "MaxNumberOfMessagesPerSecond": 2 });
    other.sqs("StartMessageMoveTask", &start).await.unwrap();
    pause(1_500).await;
    fleet.kill(0);
    let drain = json!({ "QueueUrl": jobs, "Attributes": { "RedrivePolicy": "" } });
    other.sqs("SetQueueAttributes", &drain).await.unwrap();
    until(|| async {
        let mut other = connection(&fleet.addresses()[1]);
        count(&mut other, &jobs).await == 20 && count(&mut other, &dead).await == 0
    })
    .await;
    let asked = json!({ "SourceArn": "arn:aws:sqs:us-east-1:000000000000:dead" });
    until(|| async {
        let mut other = connection(&fleet.addresses()[1]);
        let tasks = other.sqs("ListMessageMoveTasks", &asked).await.unwrap();
        tasks["Results"][0]["Status"] == "COMPLETED"
    })
    .await;
    fleet.start_node(0);
    assert!(fleet.terminate());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_owner_is_replaced_within_ten_seconds() {
    let directory = tempfile::tempdir().unwrap();
    let Some(database) = own_server() else { return };
    let mut fleet = Fleet::sharing(directory.path(), 2, &database);
    let url = create(&mut fleet.server(0).connection(), "jobs", &json!({})).await;
    send(&mut fleet.server(0).connection(), &url, "kept").await.unwrap();
    fleet.kill(0);
    let killed = Instant::now();
    let mut other = fleet.server(1).connection();
    let received = loop {
        match receive(&mut other, &url).await {
            Ok(messages) => break messages,
            Err(_) => pause(50).await,
        }
    };
    assert!(killed.elapsed() < TAKEOVER, "the takeover took {:?}", killed.elapsed());
    assert_eq!(received.len(), 1, "nothing is lost");
    println!("taken over after {:?}", killed.elapsed());
    fleet.start_node(0);
    assert!(fleet.terminate());
}

/// The owner is stopped past its lease with calls on their way to it; another takes over. When it goes on, it commits
/// nothing and hands out nothing that is the other's by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_was_paused_past_its_lease_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let Some(database) = own_server() else { return };
    let fleet = Fleet::sharing(directory.path(), 2, &database);
    let attributes = json!({ "FifoQueue": "true", "VisibilityTimeout": "600" });
    let url = create(&mut fleet.server(0).connection(), "jobs.fifo", &attributes).await;
    for n in 0..3 {
        send_in_order(&mut fleet.server(0).connection(), &url, n).await.unwrap();
    }
    fleet.server(0).stop().await;
    // On their way to a node that hangs.
    let late: Vec<_> = (0..4)
        .map(|n| {
            let (mut connection, url) = (fleet.server(0).connection(), url.clone());
            tokio::spawn(async move {
                if n % 2 == 0 {
                    receive(&mut connection, &url).await.map(|messages| bodies(&messages))
                } else {
                    send_in_order(&mut connection, &url, 90 + n).await.map(|()| Vec::new())
                }
            })
        })
        .collect();
    let mut other = fleet.server(1).connection();
    let stopped = Instant::now();
    let first = loop {
        match receive(&mut other, &url).await {
            Ok(messages) => break messages,
            Err(_) => pause(50).await,
        }
    };
    assert!(stopped.elapsed() < TAKEOVER, "the takeover took {:?}", stopped.elapsed());
    assert_eq!(bodies(&first), ["0"]);
    send_in_order(&mut other, &url, 3).await.unwrap();

    fleet.server(0).signal("CONT");
    // What hung is refused, or answered by the new owner as if it had come only now: the group is locked, so that no
    // receive may get anything.
    let mut accepted = Vec::new();
    for (n, call) in late.into_iter().enumerate() {
        match call.await.unwrap() {
            Ok(received) => {
                assert!(received.is_empty(), "the paused node handed out {received:?}");
                if n % 2 == 1 {
                    accepted.push((90 + n).to_string());
                }
            }
            Err(error) => println!("refused after the pause: {error}"),
        }
    }
    // Both nodes agree on what is there, in order and once.
    let mut seen = Vec::new();
    let mut taken = first;
    while let Some(message) = taken.pop() {
        seen.extend(bodies(std::slice::from_ref(&message)));
        let delete = json!({ "QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"] });
        fleet.server(0).connection().sqs("DeleteMessage", &delete).await.unwrap();
        taken = receive(&mut fleet.server(0).connection(), &url).await.unwrap();
    }
    assert_eq!(seen[..4], ["0", "1", "2", "3"], "order holds through the takeover");
    for body in &accepted {
        assert_eq!(seen.iter().filter(|seen| *seen == body).count(), 1, "{body} was acknowledged");
    }
    assert!(fleet.terminate());
}

async fn create(connection: &mut Connection, name: &str, attributes: &Value) -> String {
    let input = json!({ "QueueName": name, "Attributes": attributes });
    let answer = connection.sqs("CreateQueue", &input).await.unwrap();
    answer["QueueUrl"].as_str().unwrap().to_owned()
}

async fn send(connection: &mut Connection, url: &str, body: &str) -> Result<(), lambfold_client::Error> {
    connection.sqs("SendMessage", &json!({ "QueueUrl": url, "MessageBody": body })).await.map(drop)
}

async fn send_in_order(
    connection: &mut Connection,
    url: &str,
    n: usize,
) -> Result<(), lambfold_client::Error> {
    let input = json!({
        "QueueUrl": url, "MessageBody": n.to_string(), "MessageGroupId": "g", "MessageDeduplicationId": n.to_string(),
    });
    connection.sqs("SendMessage", &input).await.map(drop)
}

async fn receive(connection: &mut Connection, url: &str) -> Result<Vec<Value>, lambfold_client::Error> {
    let answer = connection.sqs("ReceiveMessage", &json!({ "QueueUrl": url })).await?;
    Ok(answer["Messages"].as_array().cloned().unwrap_or_default())
}

fn bodies(messages: &[Value]) -> Vec<String> {
    messages.iter().map(|message| message["Body"].as_str().unwrap().to_owned()).collect()
}

async fn count(connection: &mut Connection, url: &str) -> u64 {
    let asked = json!({ "QueueUrl": url, "AttributeNames": ["ApproximateNumberOfMessages"] });
    let answer = connection.sqs("GetQueueAttributes", &asked).await.unwrap();
    answer["Attributes"]["ApproximateNumberOfMessages"].as_str().unwrap().parse().unwrap()
}

/// Waits until something is so, for up to half a minute.
async fn until<F: Future<Output = bool>>(is_so: impl Fn() -> F) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < Duration::from_secs(30), "it did not come about");
        pause(100).await;
    }
}
