//! StartMessageMoveTask, ListMessageMoveTasks and CancelMessageMoveTask (facts, SQS §8).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambfold_api::sqs::{
    CancelMessageMoveTaskRequest, CancelMessageMoveTaskResult, ListMessageMoveTasksRequest,
    ListMessageMoveTasksResult, ListMessageMoveTasksResultEntry, StartMessageMoveTaskRequest,
    StartMessageMoveTaskResult,
};
use lambfold_api::{CallContext, Fault};
use lambfold_types::{Arn, QueueName, Scope};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::sqs::service::{SqsService, fault};
use crate::sqs::{faults, redrive};
use crate::{MoveStatus, MoveTask, Queue};

const MOST_PER_SECOND: u32 = 500;
const MOST_LISTED: usize = 10;

pub(in crate::sqs) async fn start_message_move_task(
    service: &SqsService,
    ctx: &CallContext,
    input: StartMessageMoveTaskRequest,
) -> Result<StartMessageMoveTaskResult, Fault> {
    let source = queue(service, ctx, input.source_arn.as_deref(), "SourceArn")?;
    let destination = input.destination_arn.as_deref().filter(|arn| !arn.is_empty());
    let destination = destination.map(|arn| queue(service, ctx, Some(arn), "DestinationArn")).transpose()?;
    let per_second = input.max_number_of_messages_per_second.map(rate).transpose()?;
    let sources = service.engine.list_queues(source.scope(), "", None, usize::MAX);
    if !sources.iter().any(|other| redrive::leads_to(other, &source)) {
        return Err(faults::invalid_parameter("Source queue must be configured as a Dead Letter Queue."));
    }
    if let Some(destination) = &destination {
        if destination == &source {
            return Err(faults::invalid_parameter(
                "The source and the destination cannot be the same queue.",
            ));
        }
        if destination.kind().is_fifo() != source.kind().is_fifo() {
            return Err(faults::invalid_parameter(
                "The destination queue must be of the same type as the source queue.",
            ));
        }
    }
    let destination = destination.map(|queue| queue.name().clone());
    let task = service.engine.start_move(&source, destination, per_second).await.map_err(fault(&source))?;
    Ok(StartMessageMoveTaskResult { task_handle: Some(TaskHandle::of(&task).encode()) })
}

pub(in crate::sqs) async fn list_message_move_tasks(
    service: &SqsService,
    ctx: &CallContext,
    input: ListMessageMoveTasksRequest,
) -> Result<ListMessageMoveTasksResult, Fault> {
    let source = queue(service, ctx, input.source_arn.as_deref(), "SourceArn")?;
    let max = input.max_results.unwrap_or(1);
    let max = usize::try_from(max).ok().filter(|max| (1..=MOST_LISTED).contains(max)).ok_or_else(|| {
        faults::invalid_value(&max.to_string(), "MaxResults", "Must be between 1 and 10, if provided.")
    })?;
    let tasks = service.engine.moves(&source).await.map_err(fault(&source))?.into_iter().take(max);
    Ok(ListMessageMoveTasksResult { results: tasks.map(|task| render(&task)).collect() })
}

pub(in crate::sqs) async fn cancel_message_move_task(
    service: &SqsService,
    ctx: &CallContext,
    input: CancelMessageMoveTaskRequest,
) -> Result<CancelMessageMoveTaskResult, Fault> {
    let handle = TaskHandle::decode(input.task_handle.as_deref().unwrap_or_default())
        .ok_or_else(|| faults::invalid_parameter("Value for parameter TaskHandle is invalid."))?;
    let source = queue(service, ctx, Some(&handle.source_arn), "SourceArn")?;
    let id: Option<Uuid> = handle.task_id.parse().ok();
    let id = id.ok_or_else(|| faults::not_found("Task does not exist."))?;
    let moved = service.engine.cancel_move(&source, id).await.map_err(fault(&source))?;
    let moved = moved.ok_or_else(|| faults::not_found("Task does not exist."))?;
    Ok(CancelMessageMoveTaskResult { approximate_number_of_messages_moved: Some(count(moved)) })
}

/// The queue that an ARN names, of the caller's account and region.
fn queue(
    service: &SqsService,
    ctx: &CallContext,
    arn: Option<&str>,
    parameter: &str,
) -> Result<Queue, Fault> {
    let arn: Arn = arn.unwrap_or_default().parse().map_err(|_| {
        faults::invalid_parameter(format!(
            "You must use this format to specify the {parameter}: \
             arn:<partition>:<service>:<region>:<account-id>:<resource-id>"
        ))
    })?;
    let name =
        arn.resource.parse::<QueueName>().ok().filter(|_| arn.service == "sqs" && arn.scope == ctx.scope);
    let found = name.and_then(|name| service.engine.queue(&ctx.scope, &name).ok());
    found.ok_or_else(|| {
        faults::not_found(format!(
            "The resource that you specified for the {parameter} parameter doesn't exist."
        ))
    })
}

fn rate(per_second: i32) -> Result<u32, Fault> {
    let rate = u32::try_from(per_second).ok().filter(|rate| (1..=MOST_PER_SECOND).contains(rate));
    rate.ok_or_else(|| {
        let reason = "Must be between 1 and 500, if provided.";
        faults::invalid_value(&per_second.to_string(), "MaxNumberOfMessagesPerSecond", reason)
    })
}

fn render(task: &MoveTask) -> ListMessageMoveTasksResultEntry {
    let status = match task.status {
        MoveStatus::Running => "RUNNING",
        MoveStatus::Completed => "COMPLETED",
        MoveStatus::Cancelling => "CANCELLING",
        MoveStatus::Cancelled => "CANCELLED",
        MoveStatus::Failed => "FAILED",
    };
    let running = task.status == MoveStatus::Running;
    ListMessageMoveTasksResultEntry {
        task_handle: running.then(|| TaskHandle::of(task).encode()),
        status: Some(status.to_owned()),
        source_arn: Some(arn(&task.scope, &task.source)),
        destination_arn: task.destination.as_ref().map(|name| arn(&task.scope, name)),
        max_number_of_messages_per_second: task.per_second.and_then(|rate| i32::try_from(rate).ok()),
        approximate_number_of_messages_moved: Some(count(task.moved)),
        approximate_number_of_messages_to_move: Some(count(task.to_move)),
        failure_reason: task.failure_reason.clone(),
        started_timestamp: Some(task.started_at.millis()),
    }
}

fn arn(scope: &Scope, name: &QueueName) -> String {
    Arn::queue(scope, name.as_str()).to_string()
}

fn count(messages: u64) -> i64 {
    i64::try_from(messages).unwrap_or(i64::MAX)
}

/// What AWS's task handles say, in its order.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::sqs) struct TaskHandle {
    task_id: String,
    pub(in crate::sqs) source_arn: String,
}

impl TaskHandle {
    fn of(task: &MoveTask) -> Self {
        Self { task_id: task.id.to_string(), source_arn: arn(&task.scope, &task.source) }
    }

    fn encode(&self) -> String {
        STANDARD.encode(serde_json::to_string(self).expect("text can always be written"))
    }

    pub(in crate::sqs) fn decode(text: &str) -> Option<Self> {
        serde_json::from_slice(&STANDARD.decode(text).ok()?).ok()
    }
}
