//! Log streams.

use lambfold_api::logs::{
    CreateLogStreamRequest, CreateLogStreamResponse, DeleteLogStreamRequest, DeleteLogStreamResponse,
    DescribeLogStreamsRequest, DescribeLogStreamsResponse, LogStream,
};
use lambfold_api::{CallContext, Fault};
use lambfold_types::{Arn, Scope, Timestamp};

use super::limit;
use crate::record::Stream;
use crate::service::Shared;
use crate::store::{Created, Found, StreamQuery};
use crate::{faults, identifier};

pub(crate) async fn create(
    shared: &Shared,
    ctx: &CallContext,
    input: CreateLogStreamRequest,
) -> Result<CreateLogStreamResponse, Fault> {
    let (scope, now) = (ctx.scope.clone(), shared.clock.now());
    let (group, stream) =
        (input.log_group_name.unwrap_or_default(), input.log_stream_name.unwrap_or_default());
    match shared.store(move |store| store.create_stream(&scope, &group, &stream, now)).await? {
        Created::Made => Ok(CreateLogStreamResponse {}),
        Created::Exists => Err(faults::stream_exists()),
        Created::NoGroup => Err(faults::no_group()),
    }
}

pub(crate) async fn delete(
    shared: &Shared,
    ctx: &CallContext,
    input: DeleteLogStreamRequest,
) -> Result<DeleteLogStreamResponse, Fault> {
    let scope = ctx.scope.clone();
    let (group, stream) =
        (input.log_group_name.unwrap_or_default(), input.log_stream_name.unwrap_or_default());
    match shared.store(move |store| store.delete_stream(&scope, &group, &stream)).await? {
        Found::Here(()) => Ok(DeleteLogStreamResponse {}),
        Found::NoStream => Err(faults::no_stream()),
        Found::NoGroup => Err(faults::no_group()),
    }
}

pub(crate) async fn describe(
    shared: &Shared,
    ctx: &CallContext,
    input: DescribeLogStreamsRequest,
) -> Result<DescribeLogStreamsResponse, Fault> {
    let scope = &ctx.scope;
    let group =
        identifier::either(scope, input.log_group_name.as_ref(), input.log_group_identifier.as_ref())?;
    let by_last_event = input.order_by.as_deref() == Some("LastEventTime");
    if by_last_event && input.log_stream_name_prefix.is_some() {
        return Err(faults::invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
    }
    let most = limit(input.limit, 50);
    let query = StreamQuery {
        prefix: input.log_stream_name_prefix.unwrap_or_default(),
        by_last_event,
        descending: input.descending.unwrap_or_default(),
        after: input.next_token.as_deref().map(parse_token).transpose()?,
        max: most + 1,
    };
    let (of, name) = (scope.clone(), group.clone());
    let Found::Here(mut streams) = shared.store(move |store| store.streams(&of, &name, &query)).await? else {
        return Err(faults::no_group());
    };
    let more = streams.len() > most;
    streams.truncate(most);
    let next_token = streams.last().filter(|_| more).map(token);
    let streams: Vec<LogStream> = streams.into_iter().map(|stream| render(scope, &group, stream)).collect();
    Ok(DescribeLogStreamsResponse { log_streams: Some(streams.into()), next_token })
}

/// `<time of the last event>:<name>`; no name has a colon.
fn token(stream: &Stream) -> String {
    format!("{}:{}", stream.last_event.map_or(0, Timestamp::millis), stream.name)
}

fn parse_token(text: &str) -> Result<(i64, String), Fault> {
    let (time, name) = text.split_once(':').ok_or_else(faults::invalid_token)?;
    Ok((time.parse().map_err(|_| faults::invalid_token())?, name.to_owned()))
}

fn render(scope: &Scope, group: &str, stream: Stream) -> LogStream {
    let arn = Arn::log_group(scope, &format!("{group}:log-stream:{}", stream.name)).to_string();
    LogStream {
        creation_time: Some(stream.created.millis()),
        first_event_timestamp: stream.first_event.map(Timestamp::millis),
        last_event_timestamp: stream.last_event.map(Timestamp::millis),
        last_ingestion_time: stream.last_ingestion.map(Timestamp::millis),
        // Sequence tokens are no longer checked; AWS still shows one.
        upload_sequence_token: Some(super::put::SEQUENCE_TOKEN.to_owned()),
        arn: Some(arn),
        // As on AWS since 2019.
        stored_bytes: Some(0),
        log_stream_name: Some(stream.name),
    }
}
