//! The plainest of clients: bytes out, answers in.

use std::net::SocketAddr;

use lambfold_api::Operation;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::edge::within;

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// What came after the last answer.
    seen: Vec<u8>,
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn request_id(&self) -> uuid::Uuid {
        let id = self.header("x-amzn-requestid").unwrap_or_else(|| panic!("no request id: {}", self.head));
        id.parse().unwrap()
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, seen: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next answer; `None` if the connection ends before it is whole.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        within(self.read()).await
    }

    async fn read(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(end) = self.seen.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let head: Vec<u8> = self.seen.drain(..end).collect();
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: String::new() };
        let length = answer.header("content-length").map_or(0, |value| value.parse().unwrap());
        while self.seen.len() < length {
            self.more().await?;
        }
        answer.body = String::from_utf8(self.seen.drain(..length).collect()).unwrap();
        Some(answer)
    }

    async fn more(&mut self) -> Option<()> {
        let read = self.stream.read_buf(&mut self.seen).await.unwrap_or(0);
        (read > 0).then_some(())
    }

    /// One request and its answer.
    pub(crate) async fn ask(&mut self, head: &str, body: &[u8]) -> Answer {
        self.send(&request(head, body)).await;
        self.answer().await.unwrap_or_else(|| panic!("an answer to {head}"))
    }

    /// What still comes until the edge ends the connection.
    pub(crate) async fn rest(mut self) -> Vec<u8> {
        within(async {
            while self.more().await.is_some() {}
            self.seen
        })
        .await
    }

    /// Whether the edge has ended the connection, as far as is known without waiting.
    pub(crate) fn is_cut_off(&mut self) -> bool {
        match self.stream.try_read_buf(&mut self.seen) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }

    pub(crate) fn seen(&self) -> &[u8] {
        &self.seen
    }
}

/// A request with Host and length.
pub(crate) fn request(head: &str, body: &[u8]) -> Vec<u8> {
    let host = if head.to_ascii_lowercase().contains("\r\nhost:") { "" } else { "\r\nHost: edge:4566" };
    let mut request = format!("{head}{host}\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    request.extend_from_slice(body);
    request
}

/// The head of an operation of SQS in JSON.
pub(crate) fn sqs(operation: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nContent-Type: application/x-amz-json-1.0\r\nX-Amz-Target: AmazonSQS.{operation}"
    )
}

/// The head of an operation in AWS JSON.
pub(crate) fn target(operation: &Operation) -> String {
    let Operation { json_version, target_prefix, name, .. } = operation;
    format!(
        "POST / HTTP/1.1\r\nContent-Type: application/x-amz-json-{json_version}\r\nX-Amz-Target: {target_prefix}.{name}"
    )
}

/// The head of an operation of SQS in the Query protocol.
pub(crate) const FORM: &str = "POST / HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded";

/// A request that creates a queue, and so is answered with its URL.
pub(crate) fn create_queue(name: &str) -> Vec<u8> {
    request(&sqs("CreateQueue"), format!(r#"{{"QueueName":"{name}"}}"#).as_bytes())
}
