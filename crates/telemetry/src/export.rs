//! Tells when spans do not get where they are to go, and when they do again: once each, as batches follow every few seconds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// Passes spans on to `E`, and says in the log what becomes of them.
#[derive(Debug)]
pub(crate) struct Told<E> {
    exporter: E,
    /// Where it sends them.
    endpoint: String,
    fails: AtomicBool,
}

impl<E> Told<E> {
    pub(crate) fn new(exporter: E, endpoint: &str) -> Self {
        Self { exporter, endpoint: endpoint.to_owned(), fails: AtomicBool::new(false) }
    }
}

impl<E: SpanExporter> SpanExporter for Told<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        let failed = self.fails.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Err(error) if !failed => {
                let endpoint = &self.endpoint;
                tracing::warn!(%endpoint, %error, "spans cannot be exported, and are lost until they can");
            }
            Ok(()) if failed => tracing::info!(endpoint = %self.endpoint, "spans are exported again"),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
