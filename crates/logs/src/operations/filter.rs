//! Searching a group.

use lambfold_api::logs::{FilterLogEventsRequest, FilterLogEventsResponse, FilteredLogEvent};
use lambfold_api::{CallContext, Fault};

use super::{PAGE_BYTES, PAGE_EVENTS, limit};
use crate::pattern::Pattern;
use crate::record::{EVENT_OVERHEAD, Event};
use crate::service::Shared;
use crate::store::{Found, Page, StreamFilter};
use crate::token::{digits, parse_position};
use crate::{faults, identifier};

/// What one call of the store looks at.
const STEP: Page = Page { events: 2000, bytes: 1 << 20 };
/// What one page looks at. A search that finds little answers with little and goes on with a token, as on AWS.
const MOST_STEPS: usize = 20;

pub(crate) async fn filter(
    shared: &Shared,
    ctx: &CallContext,
    input: FilterLogEventsRequest,
) -> Result<FilterLogEventsResponse, Fault> {
    let scope = ctx.scope.clone();
    let name =
        identifier::either(&scope, input.log_group_name.as_ref(), input.log_group_identifier.as_ref())?;
    let streams = match (input.log_stream_names, input.log_stream_name_prefix) {
        (Some(_), Some(_)) => {
            return Err(faults::invalid(
                "logStreamNamePrefix and logStreamNames cannot both be specified in the same request.",
            ));
        }
        (Some(names), None) => StreamFilter::Names(names.items),
        (None, Some(prefix)) => StreamFilter::Prefixes(vec![prefix]),
        (None, None) => StreamFilter::All,
    };
    let pattern = Pattern::parse(input.filter_pattern.as_deref().unwrap_or_default())
        .map_err(|error| faults::invalid_pattern(&error))?;
    let group = super::group(shared, &scope, &name).await?;
    // The end is inclusive here, unlike GetLogEvents'.
    let times =
        super::times(shared, &group, input.start_time, input.end_time.map(|end| end.saturating_add(1)));
    let mut after = match &input.next_token {
        None => None,
        Some(token) => Some(parse_position(token).ok_or_else(faults::invalid_token)?),
    };
    let most = limit(input.limit, PAGE_EVENTS);
    let (mut found, mut bytes): (Vec<FilteredLogEvent>, usize) = (Vec::new(), 0);
    for _ in 0..MOST_STEPS {
        let (of, name, filter, times) = (scope.clone(), name.clone(), streams.clone(), times.clone());
        let step = shared.store(move |store| store.scan(&of, &name, &filter, times, after, STEP)).await?;
        let Found::Here(step) = step else { return Err(faults::no_group()) };
        for event in step.events {
            let position = event.position;
            if pattern.matches(&event.message) {
                let size = event.message.len() + EVENT_OVERHEAD;
                if found.len() == most || !found.is_empty() && bytes + size > PAGE_BYTES {
                    return Ok(page(found, after.map(digits)));
                }
                bytes += size;
                found.push(render(event));
            }
            after = Some(position);
        }
        let Some(resume) = step.resume else { return Ok(page(found, None)) };
        after = Some(resume);
        if found.len() == most {
            break;
        }
    }
    Ok(page(found, after.map(digits)))
}

fn page(found: Vec<FilteredLogEvent>, next_token: Option<String>) -> FilterLogEventsResponse {
    FilterLogEventsResponse {
        events: Some(found.into()),
        // AWS no longer says.
        searched_log_streams: Some(Vec::new().into()),
        next_token,
    }
}

fn render(event: Event) -> FilteredLogEvent {
    FilteredLogEvent {
        log_stream_name: Some(event.stream),
        timestamp: Some(event.position.time_ms),
        message: Some(event.message),
        ingestion_time: Some(event.ingested.millis()),
        event_id: Some(digits(event.position)),
    }
}
