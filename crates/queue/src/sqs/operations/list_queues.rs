//! ListQueues and GetQueueUrl.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lambfold_api::sqs::{GetQueueUrlRequest, GetQueueUrlResult, ListQueuesRequest, ListQueuesResult};
use lambfold_api::{CallContext, Fault};
use lambfold_types::{QueueName, Scope};

use crate::sqs::service::SqsService;
use crate::sqs::{faults, queue_url};

/// The most that one answer lists (facts, SQS §2).
const MOST_LISTED: usize = 1000;

pub(in crate::sqs) async fn list_queues(
    service: &SqsService,
    ctx: &CallContext,
    input: ListQueuesRequest,
) -> Result<ListQueuesResult, Fault> {
    let max = match input.max_results {
        None => MOST_LISTED,
        Some(max) => {
            usize::try_from(max).ok().filter(|max| (1..=MOST_LISTED).contains(max)).ok_or_else(|| {
                faults::invalid_value(
                    &max.to_string(),
                    "MaxResults",
                    "Must be between 1 and 1000, if provided.",
                )
            })?
        }
    };
    let after = input.next_token.as_deref().filter(|token| !token.is_empty()).map(read_token).transpose()?;
    let prefix = input.queue_name_prefix.unwrap_or_default();
    let mut found = service.engine.list_queues(&ctx.scope, &prefix, after.as_ref(), max + 1);
    let more = found.len() > max;
    found.truncate(max);
    // Without MaxResults AWS lists up to a thousand and gives no token.
    let next_token =
        found.last().filter(|_| more && input.max_results.is_some()).map(|queue| token(queue.name()));
    let queue_urls = found.iter().map(|queue| queue_url::render(ctx, queue.scope(), queue.name())).collect();
    Ok(ListQueuesResult { queue_urls, next_token })
}

fn token(last: &QueueName) -> String {
    URL_SAFE_NO_PAD.encode(last.as_str())
}

fn read_token(text: &str) -> Result<QueueName, Fault> {
    let name = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    name.and_then(|name| name.parse().ok())
        .ok_or_else(|| faults::invalid_parameter("Invalid or expired NextToken."))
}

pub(in crate::sqs) async fn get_queue_url(
    service: &SqsService,
    ctx: &CallContext,
    input: GetQueueUrlRequest,
) -> Result<GetQueueUrlResult, Fault> {
    let name: QueueName =
        input.queue_name.unwrap_or_default().parse().map_err(|_| faults::no_such_queue())?;
    let account = match input.queue_owner_aws_account_id.as_deref() {
        None | Some("") => ctx.scope.account,
        Some(account) => account.parse().map_err(|_| faults::no_such_queue())?,
    };
    let scope = Scope { account, region: ctx.scope.region.clone() };
    service.engine.queue(&scope, &name).map_err(|error| faults::of_engine(&error, name.as_str()))?;
    Ok(GetQueueUrlResult { queue_url: Some(queue_url::render(ctx, &scope, &name)) })
}
