//! Reading a stream.

use lambfold_api::logs::{GetLogEventsRequest, GetLogEventsResponse, OutputLogEvent};
use lambfold_api::{CallContext, Fault};

use super::{PAGE_BYTES, PAGE_EVENTS, limit};
use crate::record::{Event, Position};
use crate::service::Shared;
use crate::store::{Found, From, Page};
use crate::token::ReadToken;
use crate::{faults, identifier};

pub(crate) async fn get(
    shared: &Shared,
    ctx: &CallContext,
    input: GetLogEventsRequest,
) -> Result<GetLogEventsResponse, Fault> {
    let scope = ctx.scope.clone();
    let name =
        identifier::either(&scope, input.log_group_name.as_ref(), input.log_group_identifier.as_ref())?;
    let group = super::group(shared, &scope, &name).await?;
    let times = super::times(shared, &group, input.start_time, input.end_time);
    let token = input.next_token.as_deref().map(ReadToken::parse).transpose()?;
    // A token decides the direction, too.
    let from = match token {
        Some(ReadToken::Forward(position)) => From::After(position),
        Some(ReadToken::Backward(position)) => From::Before(position),
        None if input.start_from_head.unwrap_or_default() => From::Head,
        None => From::Tail,
    };
    let page = Page { events: limit(input.limit, PAGE_EVENTS), bytes: PAGE_BYTES };
    let stream = input.log_stream_name.unwrap_or_default();
    let start = times.start;
    let events =
        match shared.store(move |store| store.read(&scope, &name, &stream, times, from, page)).await? {
            Found::Here(events) => events,
            Found::NoGroup => return Err(faults::no_group()),
            Found::NoStream => return Err(faults::no_stream()),
        };
    let (forward, backward) = ends(&events, token, start);
    let events: Vec<OutputLogEvent> = events.into_iter().map(render).collect();
    Ok(GetLogEventsResponse {
        events: Some(events.into()),
        next_forward_token: Some(forward.to_string()),
        next_backward_token: Some(backward.to_string()),
    })
}

/// Where the next reads begin. At an end the token is the one that came: that is how a reader knows.
fn ends(events: &[Event], token: Option<ReadToken>, start: i64) -> (ReadToken, ReadToken) {
    if let (Some(first), Some(last)) = (events.first(), events.last()) {
        return (ReadToken::Forward(last.position), ReadToken::Backward(first.position));
    }
    match token {
        // Who turns round gets what was read last.
        Some(ReadToken::Forward(at)) => {
            let beyond = Position { sequence: at.sequence.saturating_add(1), ..at };
            (ReadToken::Forward(at), ReadToken::Backward(beyond))
        }
        Some(ReadToken::Backward(at)) => {
            let before = Position { sequence: at.sequence.saturating_sub(1), ..at };
            (ReadToken::Forward(before), ReadToken::Backward(at))
        }
        None => {
            let at = Position { time_ms: start, sequence: 0 };
            (ReadToken::Forward(at), ReadToken::Backward(at))
        }
    }
}

fn render(event: Event) -> OutputLogEvent {
    OutputLogEvent {
        timestamp: Some(event.position.time_ms),
        message: Some(event.message),
        ingestion_time: Some(event.ingested.millis()),
    }
}
