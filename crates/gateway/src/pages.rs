//! Our own pages beside AWS's APIs: health, metrics, traces, packages.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use lambfold_api::telemetry::{GetTraceRequest, Span, Traces};
use lambfold_api::{CallContext, Fault};
use lambfold_types::{Entropy, Scope, uuid_v4};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

/// Where packages of functions are fetched: what `Code.Location` of `GetFunction` leads to.
#[async_trait]
pub trait Packages: Send + Sync + 'static {
    /// The package with that SHA-256 in lower-case hexadecimal, if there is one.
    async fn package(&self, sha256: &str) -> Result<Option<Bytes>, Fault>;
}

/// What the pages show.
pub(crate) struct Pages {
    pub(crate) registry: Arc<Registry>,
    pub(crate) ready: Arc<dyn Fn() -> bool + Send + Sync>,
    pub(crate) traces: Arc<dyn Traces>,
    pub(crate) packages: Option<Arc<dyn Packages>>,
}

impl Pages {
    /// Whether the path is one of ours. No path of AWS's begins so.
    pub(crate) fn has(path: &str) -> bool {
        matches!(path, "/livez" | "/readyz" | "/metrics")
            || path.starts_with("/_lambfold/")
            || path.starts_with("/_localstack/")
    }

    /// The page at `path`.
    pub(crate) async fn answer(&self, method: &Method, path: &str, entropy: &dyn Entropy) -> Response<Bytes> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "Only GET is answered here.\n");
        }
        match path {
            "/livez" => text(StatusCode::OK, "live\n"),
            "/readyz" if (self.ready)() => text(StatusCode::OK, "ready\n"),
            "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            "/metrics" => self.metrics(),
            "/_localstack/health" => health(),
            _ => {
                let page = if let Some(id) = path.strip_prefix("/_lambfold/traces/") {
                    self.trace(id, entropy).await
                } else if let Some(name) = path.strip_prefix("/_lambfold/packages/") {
                    self.package(name).await
                } else {
                    None
                };
                page.unwrap_or_else(|| text(StatusCode::NOT_FOUND, "There is no such page.\n"))
            }
        }
    }

    fn metrics(&self) -> Response<Bytes> {
        let mut page = String::new();
        if encode(&mut page, &self.registry).is_err() {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "The metrics could not be written.\n");
        }
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        with_type(StatusCode::OK, kind, page.into())
    }

    async fn trace(&self, id: &str, entropy: &dyn Entropy) -> Option<Response<Bytes>> {
        // Accepts X-Ray's form, too.
        let id: String = id.strip_prefix("1-").unwrap_or(id).chars().filter(|it| *it != '-').collect();
        if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let id = id.to_ascii_lowercase();
        let ctx = CallContext::internal(Scope::default(), uuid_v4(entropy));
        Some(match self.traces.get_trace(&ctx, GetTraceRequest { trace_id: id.clone() }).await {
            Ok(answer) => {
                let spans: Vec<Value> = answer.spans.into_iter().map(span).collect();
                json_page(&json!({ "trace_id": id, "spans": spans }))
            }
            Err(fault) => {
                tracing::warn!(%fault, "a trace could not be fetched");
                text(StatusCode::BAD_GATEWAY, "The spans could not be fetched.\n")
            }
        })
    }

    async fn package(&self, name: &str) -> Option<Response<Bytes>> {
        let sha256 = name.strip_suffix(".zip").unwrap_or(name);
        if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        Some(match self.packages.as_ref()?.package(&sha256.to_ascii_lowercase()).await {
            Ok(package) => with_type(StatusCode::OK, "application/zip", package?),
            Err(fault) => {
                tracing::warn!(%fault, "a package could not be fetched");
                text(StatusCode::BAD_GATEWAY, "The package could not be fetched.\n")
            }
        })
    }
}

/// What tools that know LocalStack wait for.
fn health() -> Response<Bytes> {
    let version = env!("CARGO_PKG_VERSION");
    // With the blanks that Python's json puts there: scripts compare text.
    let page = format!(
        "{{\"services\": {{\"lambda\": \"available\", \"logs\": \"available\", \"sqs\": \"available\"}}, \"edition\": \"lambfold\", \"version\": \"{version}\"}}"
    );
    with_type(StatusCode::OK, "application/json", page.into())
}

fn span(span: Span) -> Value {
    let links =
        span.links.into_iter().map(|link| json!({ "trace_id": link.trace_id, "span_id": link.span_id }));
    json!({
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_span_id,
        "name": span.name,
        "role": span.role,
        "start_us": span.start_us,
        "end_us": span.end_us,
        "attributes": span.attributes,
        "links": links.collect::<Value>(),
    })
}

fn json_page(page: &Value) -> Response<Bytes> {
    with_type(StatusCode::OK, "application/json", page.to_string().into())
}

fn text(status: StatusCode, page: &'static str) -> Response<Bytes> {
    with_type(status, "text/plain; charset=utf-8", Bytes::from_static(page.as_bytes()))
}

fn with_type(status: StatusCode, kind: &'static str, page: Bytes) -> Response<Bytes> {
    let mut response = Response::new(page);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
