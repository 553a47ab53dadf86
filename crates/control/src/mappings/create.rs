//! CreateEventSourceMapping.

use std::sync::Arc;

use lambfold_api::lambda::{CreateEventSourceMappingRequest, EventSourceMappingConfiguration};
use lambfold_api::sqs::GetQueueAttributesRequest;
use lambfold_api::{CallContext, Fault, FunctionTarget};
use lambfold_types::{Arn, FunctionName, QueueName};

use super::{render, settings};
use crate::record::{Desired, FORMAT, FunctionRecord, Mapping, MappingRecord};
use crate::service::Shared;
use crate::{faults, functions, tags};

pub(crate) async fn create(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: CreateEventSourceMappingRequest,
) -> Result<EventSourceMappingConfiguration, Fault> {
    let source = input
        .event_source_arn
        .clone()
        .ok_or_else(|| faults::invalid_parameter("Unrecognized event source."))?;
    let queue: Arn = source.parse().map_err(|_| faults::invalid_parameter("Unrecognized event source."))?;
    if queue.service != "sqs" {
        return Err(faults::not_supported(&format!("{} event sources", queue.service)));
    }
    settings::no_destinations(input.destination_config.as_ref())?;
    settings::no_filters(input.filter_criteria.as_ref())?;
    refuse_settings(&input)?;
    let (size, window) = (input.batch_size, input.maximum_batching_window_in_seconds);
    let (batch_size, window_seconds) = settings::batch(
        size.map_or(i64::from(settings::BATCH_SIZE), i64::from),
        window.map_or(0, i64::from),
    )?;
    let maximum_concurrency = settings::maximum_concurrency(input.scaling_config.as_ref())?;
    let given_tags = input.tags.as_deref().cloned().unwrap_or_default();
    tags::check(&given_tags)?;
    let (target, function) =
        function(shared, ctx, input.function_name.as_deref().unwrap_or_default()).await?;
    check_queue(shared, ctx, &queue, function.configuration.timeout).await?;

    let enabled = input.enabled.unwrap_or(true);
    let mapping = Mapping {
        scope: target.scope.clone(),
        uuid: shared.uuid(),
        record: MappingRecord {
            format: FORMAT,
            event_source_arn: source.clone(),
            function_name: target.name.to_string(),
            qualifier: target.qualifier.as_ref().map(ToString::to_string),
            generation: 1,
            desired: if enabled { Desired::Enabled } else { Desired::Disabled },
            // Created disabled, there is nothing to wait for.
            transition: enabled.then(|| "Creating".to_owned()),
            batch_size,
            window_seconds,
            maximum_concurrency,
            report_batch_item_failures: settings::partial(input.function_response_types.as_ref()),
            last_modified_ms: shared.clock.now().millis(),
            last_processing_result: None,
            tags: given_tags,
        },
    };
    let answer = render::configuration(&mapping.scope, &mapping.uuid, &mapping.record);
    match shared.change(move |store| store.create_mapping(&mapping)).await? {
        None => Ok(answer),
        Some(uuid) => Err(exists(&source, &target.name, &uuid)),
    }
}

pub(super) fn exists(source: &str, function: &FunctionName, uuid: &str) -> Fault {
    faults::conflict(format!(
        "An event source mapping with SQS arn (\" {source} \") and function (\" {function} \") already exists. Please \
         update or delete the existing mapping with UUID {uuid}"
    ))
}

/// Settings of streams and Kafka have no meaning for a queue; others nothing would act on.
fn refuse_settings(input: &CreateEventSourceMappingRequest) -> Result<(), Fault> {
    settings::of_other_sources(&[
        ("StartingPosition", input.starting_position.is_some()),
        ("StartingPositionTimestamp", input.starting_position_timestamp.is_some()),
        ("Topics", input.topics.as_ref().is_some_and(|list| !list.is_empty())),
        ("Queues", input.queues.as_ref().is_some_and(|list| !list.is_empty())),
        ("SelfManagedEventSource", input.self_managed_event_source.is_some()),
    ])?;
    settings::refuse_shared!(input)
}

/// The function that a mapping names, or the version, also through an alias; AWS words its absence in its own way here.
pub(super) async fn function(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    name: &str,
) -> Result<(FunctionTarget, FunctionRecord), Fault> {
    let target = FunctionTarget::read(ctx, name, None)?;
    match functions::find(shared, &target).await {
        Ok(found) => Ok((target, found.record)),
        Err(fault) if fault.http_status() == 404 => Err(faults::invalid_parameter("Function does not exist")),
        Err(fault) => Err(fault),
    }
}

/// The queue must exist, and leave a function the time to finish.
async fn check_queue(
    shared: &Shared,
    ctx: &CallContext,
    queue: &Arn,
    function_timeout: u32,
) -> Result<(), Fault> {
    if queue.resource.parse().is_ok_and(|name: QueueName| name.is_fifo()) {
        return Err(faults::not_supported("FIFO queues"));
    }
    let request = GetQueueAttributesRequest {
        queue_url: Some(format!("{}/{}/{}", ctx.endpoint, queue.scope.account, queue.resource)),
        attribute_names: vec!["VisibilityTimeout".to_owned()],
    };
    let in_its_region = CallContext { scope: queue.scope.clone(), ..ctx.clone() };
    let attributes = shared.sqs.get_queue_attributes(&in_its_region, request).await.map_err(|fault| {
        if fault.is_sender() {
            faults::invalid_parameter(format!(
                "Error occurred while ReceiveMessage. SQS Error Code: {}. SQS Error Message: {}",
                fault.query_code(),
                fault.message()
            ))
        } else {
            fault
        }
    })?;
    let visibility: u32 =
        attributes.attributes.get("VisibilityTimeout").and_then(|text| text.parse().ok()).unwrap_or_default();
    if visibility < function_timeout {
        return Err(faults::invalid_parameter(format!(
            "Queue visibility timeout: {visibility} seconds is less than Function timeout: {function_timeout} seconds"
        )));
    }
    Ok(())
}
