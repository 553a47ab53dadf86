//! Settings of a mapping from SQS: ranges, defaults, and what goes together (facts, Lambda API §9).

use lambfold_api::Fault;
use lambfold_api::lambda::{
    DestinationConfig, EventSourceMappingLoggingConfig, EventSourceMappingMetricsConfig, FilterCriteria,
    FunctionResponseTypeList, ProvisionedPollerConfig, ScalingConfig,
};

use crate::faults;

/// Defaults of a standard queue.
pub(super) const BATCH_SIZE: u32 = 10;

/// `BatchSize` with its window: more than 10 needs one.
pub(super) fn batch(size: i64, window: i64) -> Result<(u32, u32), Fault> {
    let size = u32::try_from(size).ok().filter(|size| (1..=10_000).contains(size));
    let size = size.ok_or_else(|| faults::invalid_parameter("Batch size must be between 1 and 10000."))?;
    let window = u32::try_from(window).ok().filter(|window| *window <= 300);
    let window = window.ok_or_else(|| {
        faults::invalid_parameter("Maximum batch window in seconds must be between 0 and 300.")
    })?;
    if size > 10 && window == 0 {
        return Err(faults::invalid_parameter(
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10",
        ));
    }
    Ok((size, window))
}

/// `FunctionResponseTypes`: whether it asks for partial responses.
pub(super) fn partial(types: Option<&FunctionResponseTypeList>) -> bool {
    types.is_some_and(|types| types.iter().any(|kind| kind == "ReportBatchItemFailures"))
}

/// `ScalingConfig.MaximumConcurrency`: 2 to 1000.
pub(super) fn maximum_concurrency(config: Option<&ScalingConfig>) -> Result<Option<u32>, Fault> {
    match config.and_then(|config| config.maximum_concurrency) {
        None => Ok(None),
        Some(limit) => u32::try_from(limit)
            .ok()
            .filter(|limit| (2..=1000).contains(limit))
            .map(Some)
            .ok_or_else(|| faults::invalid_parameter("MaximumConcurrency must be between 2 and 1000.")),
    }
}

/// Filters would have to act, and do not yet; none at all passes.
pub(super) fn no_filters(criteria: Option<&FilterCriteria>) -> Result<(), Fault> {
    let any =
        criteria.and_then(|criteria| criteria.filters.as_ref()).is_some_and(|filters| !filters.is_empty());
    if any { Err(faults::not_supported("FilterCriteria")) } else { Ok(()) }
}

/// Refuses what create and update both take and nothing here would act on.
macro_rules! refuse_shared {
    ($input:expr) => {{
        let input = $input;
        $crate::mappings::settings::of_other_sources(&[
            ("ParallelizationFactor", input.parallelization_factor.is_some_and(|factor| factor != 1)),
            ("MaximumRecordAgeInSeconds", input.maximum_record_age_in_seconds.is_some_and(|age| age != -1)),
            ("MaximumRetryAttempts", input.maximum_retry_attempts.is_some_and(|attempts| attempts != -1)),
            ("BisectBatchOnFunctionError", input.bisect_batch_on_function_error == Some(true)),
            ("TumblingWindowInSeconds", input.tumbling_window_in_seconds.is_some_and(|window| window != 0)),
            (
                "SourceAccessConfigurations",
                input.source_access_configurations.as_ref().is_some_and(|list| !list.is_empty()),
            ),
            ("AmazonManagedKafkaEventSourceConfig", input.amazon_managed_kafka_event_source_config.is_some()),
            ("SelfManagedKafkaEventSourceConfig", input.self_managed_kafka_event_source_config.is_some()),
            ("DocumentDBEventSourceConfig", input.document_db_event_source_config.is_some()),
        ])?;
        $crate::mappings::settings::not_acted_on(
            input.kms_key_arn.as_deref(),
            input.provisioned_poller_config.as_ref(),
            input.metrics_config.as_ref(),
            input.logging_config.as_ref(),
        )
    }};
}

pub(super) use refuse_shared;

/// Names the first setting that is given and belongs to another kind of source.
pub(crate) fn of_other_sources(settings: &[(&str, bool)]) -> Result<(), Fault> {
    match settings.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(faults::invalid_parameter(format!(
            "Unsupported {name} parameter for given event source mapping type."
        ))),
        None => Ok(()),
    }
}

/// Settings of queues that nothing would act on yet.
pub(crate) fn not_acted_on(
    kms_key: Option<&str>,
    poller: Option<&ProvisionedPollerConfig>,
    metrics: Option<&EventSourceMappingMetricsConfig>,
    logging: Option<&EventSourceMappingLoggingConfig>,
) -> Result<(), Fault> {
    if poller.is_some() {
        Err(faults::not_supported("ProvisionedPollerConfig"))
    } else if kms_key.is_some_and(|key| !key.is_empty()) {
        Err(faults::not_supported("KMSKeyArn"))
    } else if metrics.and_then(|it| it.metrics.as_ref()).is_some_and(|metrics| !metrics.is_empty()) {
        Err(faults::not_supported("MetricsConfig"))
    } else if logging.is_some_and(|it| it.system_log_level.is_some()) {
        Err(faults::not_supported("LoggingConfig"))
    } else {
        Ok(())
    }
}

/// SQS mappings have no destinations.
pub(super) fn no_destinations(config: Option<&DestinationConfig>) -> Result<(), Fault> {
    let set = config.is_some_and(|config| {
        config.on_failure.as_ref().is_some_and(|it| it.destination.is_some())
            || config.on_success.as_ref().is_some_and(|it| it.destination.is_some())
    });
    if set {
        return Err(faults::invalid_parameter(
            "Unsupported DestinationConfig parameter for given event source mapping type.",
        ));
    }
    Ok(())
}
