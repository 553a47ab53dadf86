//! One keep-alive connection over which SQS is asked again and again, for as little as a client can spend: the generator
//! shares the processors with what it measures, and a general HTTP client took a third of what a request costs. Every
//! request is signed over its body as an SDK signs it; buffers are kept, a request is one write, and an answer is read
//! into place.

mod answer;

use std::sync::Arc;

use anyhow::{Context, bail};
use lambfold_client::{Credentials, Endpoint, Signer, Stream, sha256_hex};
use lambfold_types::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::answer::{Answer, Progress};

/// What a connection reads at once.
const READ: usize = 64 << 10;

/// A connection that signs. One request at a time; reconnects by itself after a loss.
pub(crate) struct Caller {
    endpoint: Endpoint,
    clock: Arc<dyn Clock>,
    signer: Signer,
    stream: Option<Box<dyn Stream>>,
    canonical: String,
    request: Vec<u8>,
    answer: Answer,
}

impl Caller {
    /// A connection to `endpoint`, made when it is first used.
    pub(crate) fn new(endpoint: &Endpoint, region: &str, clock: Arc<dyn Clock>) -> Self {
        Self {
            endpoint: endpoint.clone(),
            clock,
            signer: Signer::new(Credentials::default(), region, "sqs"),
            stream: None,
            canonical: String::with_capacity(512),
            request: Vec::with_capacity(READ),
            answer: Answer::default(),
        }
    }

    /// An operation whose input is JSON already; the answer's JSON. Fails unless the answer is a success.
    pub(crate) async fn call(&mut self, operation: &str, input: &[u8]) -> anyhow::Result<&[u8]> {
        self.write_request(operation, input);
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.endpoint.connect().await.with_context(|| format!("connect to {}", self.endpoint))?,
        };
        stream.write_all(&self.request).await?;
        self.answer.clear();
        while let Progress::Wants = self.answer.progress()? {
            if stream.read_buf(self.answer.room(READ)).await? == 0 {
                self.answer.end()?;
                break;
            }
        }
        if self.answer.keeps_alive() {
            self.stream = Some(stream);
        }
        let body = self.answer.body();
        match self.answer.status() {
            200..300 => Ok(body),
            status => bail!("{status}: {}", String::from_utf8_lossy(body)),
        }
    }

    /// The signed request, in one piece.
    fn write_request(&mut self, operation: &str, input: &[u8]) {
        const SIGNED: &str = "content-type;host;x-amz-date;x-amz-target";
        const TYPE: &str = "application/x-amz-json-1.0";
        let host = self.endpoint.authority();
        let access_key_id = self.signer.access_key_id().to_owned();
        let stamp = self.signer.stamp(self.clock.now());

        let body = sha256_hex(input);
        let canonical = &mut self.canonical;
        canonical.clear();
        for part in ["POST\n/\n\ncontent-type:", TYPE, "\nhost:", host, "\nx-amz-date:", stamp.time()] {
            canonical.push_str(part);
        }
        for part in ["\nx-amz-target:AmazonSQS.", operation, "\n\n", SIGNED, "\n", &digits(&body)] {
            canonical.push_str(part);
        }
        let signature = stamp.signature(canonical);

        let length = input.len().to_string();
        let request = &mut self.request;
        request.clear();
        let head: [&[u8]; 19] = [
            b"POST / HTTP/1.1\r\nhost: ",
            host.as_bytes(),
            b"\r\ncontent-type: ",
            TYPE.as_bytes(),
            b"\r\nx-amz-target: AmazonSQS.",
            operation.as_bytes(),
            b"\r\nx-amz-date: ",
            stamp.time().as_bytes(),
            b"\r\nauthorization: AWS4-HMAC-SHA256 Credential=",
            access_key_id.as_bytes(),
            b"/",
            stamp.scope().as_bytes(),
            b", SignedHeaders=",
            SIGNED.as_bytes(),
            b", Signature=",
            &signature,
            b"\r\ncontent-length: ",
            length.as_bytes(),
            b"\r\n\r\n",
        ];
        for part in head {
            request.extend_from_slice(part);
        }
        request.extend_from_slice(input);
    }
}

fn digits(digits: &[u8; 64]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(digits)
}

#[cfg(test)]
mod tests {
    use lambfold_clock::ManualClock;
    use lambfold_types::Timestamp;

    use super::*;

    /// What goes out is what the general client signs.
    #[test]
    fn it_signs_as_the_general_client_does() {
        let clock = ManualClock::at(Timestamp::from_millis(1_440_938_160_000));
        let mut caller = Caller::new(&"127.0.0.1:4566".into(), "us-east-1", Arc::new(clock.clone()));
        caller.write_request("SendMessage", b"{}");
        let text = String::from_utf8(caller.request.clone()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "{}");

        let mut request = http::Request::post("/");
        for line in head.lines().skip(1).filter(|line| !line.starts_with("authorization")) {
            let (name, value) = line.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let mut signer = Signer::new(Credentials::default(), "us-east-1", "sqs");
        signer.sign(&mut parts, b"{}", clock.now());
        let expected = parts.headers["authorization"].to_str().unwrap();
        assert!(head.contains(expected), "{head}\n{expected}");
    }
}
