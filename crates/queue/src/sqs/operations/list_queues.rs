//! ListQueues, ListDeadLetterSourceQueues and GetQueueUrl.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lambfold_api::sqs::{
    GetQueueUrlRequest, GetQueueUrlResult, ListDeadLetterSourceQueuesRequest,
    ListDeadLetterSourceQueuesResult, ListQueuesRequest, ListQueuesResult,
};
use lambfold_api::{CallContext, Fault};
use lambfold_types::{QueueName, Scope};

use crate::Queue;
use crate::sqs::service::SqsService;
use crate::sqs::{faults, queue_url, redrive};

/// The most that one answer lists (facts, SQS §2).
const MOST_LISTED: usize = 1000;

pub(in crate::sqs) async fn list_queues(
    service: &SqsService,
    ctx: &CallContext,
    input: ListQueuesRequest,
) -> Result<ListQueuesResult, Fault> {
    let page = Page::read(input.max_results, input.next_token.as_deref())?;
    let prefix = input.queue_name_prefix.unwrap_or_default();
    let found = service.engine.list_queues(&ctx.scope, &prefix, page.after.as_ref(), page.max + 1);
    let (queue_urls, next_token) = page.render(ctx, found);
    Ok(ListQueuesResult { queue_urls, next_token })
}

pub(in crate::sqs) async fn list_dead_letter_source_queues(
    service: &SqsService,
    ctx: &CallContext,
    input: ListDeadLetterSourceQueuesRequest,
) -> Result<ListDeadLetterSourceQueuesResult, Fault> {
    let target = service.queue(ctx, input.queue_url.as_deref())?;
    let page = Page::read(input.max_results, input.next_token.as_deref())?;
    let mut found = service.engine.list_queues(target.scope(), "", page.after.as_ref(), usize::MAX);
    found.retain(|source| redrive::leads_to(source, &target));
    found.truncate(page.max + 1);
    let (queue_urls, next_token) = page.render(ctx, found);
    Ok(ListDeadLetterSourceQueuesResult { queue_urls, next_token })
}

/// What part of a list is wanted.
struct Page {
    max: usize,
    after: Option<QueueName>,
    /// Without MaxResults AWS lists up to a thousand and gives no token.
    gives_token: bool,
}

impl Page {
    fn read(max_results: Option<i32>, next_token: Option<&str>) -> Result<Self, Fault> {
        let max = match max_results {
            None => MOST_LISTED,
            Some(max) => {
                usize::try_from(max).ok().filter(|max| (1..=MOST_LISTED).contains(max)).ok_or_else(|| {
                    let reason = "Must be between 1 and 1000, if provided.";
                    faults::invalid_value(&max.to_string(), "MaxResults", reason)
                })?
            }
        };
        let after = next_token.filter(|token| !token.is_empty()).map(read_token).transpose()?;
        Ok(Self { max, after, gives_token: max_results.is_some() })
    }

    /// The URLs of the page and the token of the next one, from one queue more than the page holds.
    fn render(&self, ctx: &CallContext, mut found: Vec<Queue>) -> (Vec<String>, Option<String>) {
        let more = found.len() > self.max;
        found.truncate(self.max);
        let next = found.last().filter(|_| more && self.gives_token).map(|queue| token(queue.name()));
        let urls = found.iter().map(|queue| queue_url::render(ctx, queue.scope(), queue.name()));
        (urls.collect(), next)
    }
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
        input.queue_name.ok_or_else(faults::no_queue_name)?.parse().map_err(|_| faults::no_such_queue())?;
    let account = match input.queue_owner_aws_account_id.as_deref() {
        None | Some("") => ctx.scope.account,
        Some(account) => account.parse().map_err(|_| faults::no_such_queue())?,
    };
    let scope = Scope { account, region: ctx.scope.region.clone() };
    service.engine.queue(&scope, &name).map_err(|error| faults::of_engine(&error, name.as_str()))?;
    Ok(GetQueueUrlResult { queue_url: Some(queue_url::render(ctx, &scope, &name)) })
}
