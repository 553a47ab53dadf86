//! Starting, stopping, and refusing to start.

use std::io::{BufRead, BufReader};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::kill::pause;
use crate::support::{Server, free_addresses, up};

#[tokio::test]
async fn a_second_start_has_everything_back() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let addresses = free_addresses();
    let began = Instant::now();
    let server = Server::start(&data, &addresses);
    // A debug build on a loaded machine; the release build's figure stands in docs/performance.md.
    assert!(began.elapsed() < Duration::from_secs(20));
    for wanted in [&addresses.0, &addresses.1, "us-east-1", "000000000000", "Isolation", "aws --endpoint-url"]
    {
        assert!(server.banner.contains(wanted), "{wanted} is missing in {}", server.banner);
    }
    let mut client = server.connection();
    let url = client.sqs("CreateQueue", &json!({ "QueueName": "kept" })).await.unwrap()["QueueUrl"].clone();
    client.sqs("SendMessage", &json!({ "QueueUrl": url, "MessageBody": "still here" })).await.unwrap();
    assert!(server.terminate());

    let server = Server::start(&data, &addresses);
    let mut client = server.connection();
    let answer =
        client.sqs("ReceiveMessage", &json!({ "QueueUrl": url, "WaitTimeSeconds": 2 })).await.unwrap();
    assert_eq!(answer["Messages"][0]["Body"], "still here");
    assert!(server.terminate());
}

#[test]
fn a_log_of_json_has_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let addresses = free_addresses();
    let mut command = up(&directory.path().join("data"), &addresses.0, &addresses.1);
    let mut server = command.args(["--log-format", "json"]).spawn().unwrap();
    let mut ready = None;
    for line in BufReader::new(server.stderr.take().unwrap()).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if event["message"] == "Ready." {
            // What follows tells of the stop.
            assert!(Command::new("kill").arg(server.id().to_string()).status().unwrap().success());
            ready = Some(event);
        }
    }
    let ready = ready.unwrap();
    assert_eq!(ready["http"], format!("http://{}", addresses.0));
    assert_eq!(ready["grpc"], format!("http://{}", addresses.1));
    let output = server.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b""[..]));
}

#[tokio::test]
async fn that_nobody_takes_its_traces_is_told_once() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let settings = [("LAMBFOLD_OTLP_ENDPOINT", "http://127.0.0.1:1"), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let server = Server::serve(
        &data,
        &free_addresses(),
        "gateway,queue,control,dispatcher,poller,worker,logs",
        &settings,
    );
    let mut client = server.connection();
    let told = || {
        let log = std::fs::read_to_string(data.with_extension("log")).unwrap();
        log.lines()
            .filter(|line| line.contains("spans cannot be exported") && line.contains("127.0.0.1:1"))
            .count()
    };
    // Each request makes a span, and a batch soon.
    for _ in 0..20 {
        client.sqs("ListQueues", &json!({})).await.unwrap();
        pause(100).await;
    }
    assert_eq!(told(), 1);
    assert!(server.terminate());
    assert_eq!(told(), 1);
}

#[test]
fn two_servers_on_one_directory_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let _first = Server::start(&data, &free_addresses());
    let (address, grpc) = free_addresses();
    let output = up(&data, &address, &grpc).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(
        text.contains("in use by another Lambfold") && text.contains(&data.display().to_string()),
        "{text}"
    );
}

#[test]
fn a_port_in_use_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = up(&directory.path().join("data"), &address, &free_addresses().1).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(text.contains(&address) && text.contains("in use"), "{text}");
}

#[test]
fn a_wrong_setting_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (address, grpc) = free_addresses();
    let mut command = up(directory.path(), &address, &grpc);
    let output = command.env("LAMBFOLD_QUEUE__NONSENSE", "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(text.contains("nonsense"), "{text}");
}

#[test]
fn it_has_as_many_files_as_it_may_have() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_after("ulimit -Sn 300", &directory.path().join("data"), &free_addresses());
    let (limit, most) = server.file_limits();
    assert_eq!(limit, most);
    assert!(server.terminate());
}
