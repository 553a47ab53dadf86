//! Starting, stopping, and refusing to start.

use std::time::{Duration, Instant};

use serde_json::json;

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
