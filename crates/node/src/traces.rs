//! The spans of this process and of its peers as one.

use std::collections::BTreeMap;
use std::sync::Arc;

use lambfold_api::telemetry::{GetTraceRequest, GetTraceResponse, Traces};
use lambfold_api::{CallContext, Fault};

/// Asks every source and joins what they tell; a source that is away has nothing to tell.
pub(crate) struct JoinedTraces(pub(crate) Vec<Arc<dyn Traces>>);

#[async_trait::async_trait]
impl Traces for JoinedTraces {
    async fn get_trace(&self, ctx: &CallContext, input: GetTraceRequest) -> Result<GetTraceResponse, Fault> {
        let mut spans = BTreeMap::new();
        for source in &self.0 {
            match source.get_trace(ctx, input.clone()).await {
                Ok(answer) => spans.extend(answer.spans.into_iter().map(|span| {
                    let key = (span.start_us, span.end_us, span.span_id.clone());
                    (key, span)
                })),
                Err(fault) => tracing::debug!(%fault, "a peer did not tell its spans"),
            }
        }
        Ok(GetTraceResponse { spans: spans.into_values().collect() })
    }
}
