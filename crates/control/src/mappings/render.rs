//! A mapping as the API shows it.

use lambfold_api::lambda::{EventSourceMappingConfiguration, ScalingConfig};
use lambfold_types::{Arn, Scope};

use crate::record::MappingRecord;

/// `EventSourceMappingConfiguration`
#[expect(clippy::cast_precision_loss, reason = "milliseconds since the epoch fit a double")]
pub(super) fn configuration(
    scope: &Scope,
    uuid: &str,
    record: &MappingRecord,
) -> EventSourceMappingConfiguration {
    let integer = |value: u32| i32::try_from(value).ok();
    let types = record.report_batch_item_failures.then(|| "ReportBatchItemFailures".to_owned());
    let function = Arn::function(scope, &record.function_name, record.qualifier.as_deref());
    EventSourceMappingConfiguration {
        uuid: Some(uuid.to_owned()),
        event_source_mapping_arn: Some(Arn::event_source_mapping(scope, uuid).to_string()),
        event_source_arn: Some(record.event_source_arn.clone()),
        function_arn: Some(function.to_string()),
        batch_size: integer(record.batch_size),
        maximum_batching_window_in_seconds: integer(record.window_seconds),
        function_response_types: Some(types.into_iter().collect::<Vec<_>>().into()),
        scaling_config: record
            .maximum_concurrency
            .map(|limit| ScalingConfig { maximum_concurrency: integer(limit) }),
        last_modified: Some(record.last_modified_ms as f64 / 1000.0),
        last_processing_result: record.last_processing_result.clone(),
        state: Some(record.transition.clone().unwrap_or_else(|| record.desired.as_str().to_owned())),
        state_transition_reason: Some("USER_INITIATED".to_owned()),
        ..EventSourceMappingConfiguration::default()
    }
}
