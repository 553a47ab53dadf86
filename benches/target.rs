//! What is measured: an endpoint.

use std::sync::Arc;

use lambfold_client::{Connection, Credentials, Endpoint};
use lambfold_clock::SystemClock;
use serde_json::{Value, json};

use crate::caller::Caller;

/// An AWS endpoint and how to reach it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it is.
    pub endpoint: Endpoint,
    /// The region to sign for.
    pub region: String,
}

impl Target {
    /// The endpoint at `host:port` or a URL.
    pub fn new(endpoint: &str) -> Self {
        Self { endpoint: endpoint.into(), region: "us-east-1".to_owned() }
    }

    /// A new connection to it.
    pub fn connection(&self) -> Connection {
        let clock = Arc::new(SystemClock::new());
        Connection::new(&self.endpoint, &Credentials::default(), &self.region, clock)
    }

    /// A new connection to it for the operations of SQS that are counted.
    pub(crate) fn caller(&self) -> Caller {
        Caller::new(&self.endpoint, &self.region, Arc::new(SystemClock::new()))
    }

    /// Makes a queue and returns its URL.
    pub async fn create_queue(&self, name: &str) -> anyhow::Result<String> {
        self.create_queue_with(name, &json!({})).await
    }

    /// The same with attributes.
    pub async fn create_queue_with(&self, name: &str, attributes: &Value) -> anyhow::Result<String> {
        let input = json!({ "QueueName": name, "Attributes": attributes });
        let answer = self.connection().sqs("CreateQueue", &input).await?;
        let url = answer["QueueUrl"].as_str();
        url.map(str::to_owned).ok_or_else(|| anyhow::anyhow!("CreateQueue answered without a QueueUrl"))
    }

    /// Deletes a queue.
    pub async fn delete_queue(&self, url: &str) -> anyhow::Result<()> {
        self.connection().sqs("DeleteQueue", &json!({ "QueueUrl": url })).await?;
        Ok(())
    }

    /// Makes a function and waits until it is active.
    pub async fn create_function(
        &self,
        name: &str,
        runtime: &str,
        handler: &str,
        zip: &[u8],
    ) -> anyhow::Result<()> {
        use base64::Engine;
        let mut connection = self.connection();
        let code = base64::engine::general_purpose::STANDARD.encode(zip);
        let input = json!({
            "FunctionName": name, "Runtime": runtime, "Handler": handler, "Timeout": 30, "MemorySize": 128,
            "Role": "arn:aws:iam::000000000000:role/bench", "Code": { "ZipFile": code },
        });
        connection.lambda(http::Method::POST, "/2015-03-31/functions", Some(&input)).await?;
        let path = format!("/2015-03-31/functions/{name}/configuration");
        for _ in 0..500 {
            let configuration = connection.lambda(http::Method::GET, &path, None).await?;
            match configuration["State"].as_str() {
                Some("Active") => return Ok(()),
                Some("Failed") => anyhow::bail!("{name} failed: {}", configuration["StateReason"]),
                _ => pause(10).await,
            }
        }
        anyhow::bail!("{name} did not become active")
    }

    /// Deletes a function.
    pub async fn delete_function(&self, name: &str) -> anyhow::Result<Value> {
        let path = format!("/2015-03-31/functions/{name}");
        Ok(self.connection().lambda(http::Method::DELETE, &path, None).await?)
    }
}

/// Waits in real time: the generator measures a real server.
#[expect(clippy::disallowed_methods, reason = "a load generator works in real time")]
pub async fn pause(millis: u64) {
    tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
}

/// The same until an instant.
#[expect(clippy::disallowed_methods, reason = "a load generator works in real time")]
pub async fn pause_until(instant: std::time::Instant) {
    tokio::time::sleep_until(instant.into()).await;
}

/// What `work` comes to, if it does before an instant.
pub async fn before<T>(instant: std::time::Instant, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(instant.into(), work).await.ok()
}

/// A package of files, which may be executed.
pub fn zip_of(files: &[(&str, &[u8])]) -> anyhow::Result<Vec<u8>> {
    use std::io::Write;
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (file, content) in files {
        archive.start_file(*file, zip::write::SimpleFileOptions::default().unix_permissions(0o755))?;
        archive.write_all(content)?;
    }
    Ok(archive.finish()?.into_inner())
}
