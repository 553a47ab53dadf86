//! Following what comes in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lambfold_api::logs::start_live_tail_response_stream::Frame;
use lambfold_api::logs::{
    ErrorCode, LiveTailSessionLogEvent, LiveTailSessionMetadata, LiveTailSessionStart, LiveTailSessionUpdate,
    StartLiveTailRequest, StartLiveTailResponseStream,
};
use lambfold_api::{BoxStream, CallContext, Fault};
use lambfold_types::{Arn, Scope, Timestamp, uuid_v4};
use tokio::sync::broadcast::error::RecvError;

use crate::pattern::Pattern;
use crate::service::Shared;
use crate::store::StreamFilter;
use crate::tail::{Arrived, Follower};
use crate::{faults, identifier};

/// How long a session lasts.
const LONGEST: Duration = Duration::from_hours(3);
/// An update comes at least this often, with or without events.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// After the first event of an update, so that more can join it. AWS sends one update a second.
const GATHER: Duration = Duration::from_millis(50);
/// Of one update, in events and in bytes; what is beyond is left out, and the update says so (`sampled`).
const MOST_EVENTS: usize = 500;
const MOST_BYTES: usize = 1 << 20;

/// One session.
struct Session {
    shared: Arc<Shared>,
    follower: Follower,
    scope: Scope,
    /// The identifier that events of each group carry.
    groups: BTreeMap<String, String>,
    streams: StreamFilter,
    pattern: Pattern,
    ends: Timestamp,
    start: Option<LiveTailSessionStart>,
    over: bool,
}

pub(crate) async fn start(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: StartLiveTailRequest,
) -> Result<BoxStream<Result<StartLiveTailResponseStream, Fault>>, Fault> {
    let identifiers = input.log_group_identifiers.clone().map(|it| it.items).unwrap_or_default();
    let streams = match (&input.log_stream_names, &input.log_stream_name_prefixes) {
        (Some(_), Some(_)) => {
            return Err(faults::invalid(
                "logStreamNames and logStreamNamePrefixes cannot both be specified.",
            ));
        }
        (None, None) => StreamFilter::All,
        _ if identifiers.len() > 1 => {
            return Err(faults::invalid("Log streams can be chosen only within one log group."));
        }
        (Some(names), None) => StreamFilter::Names(names.items.clone()),
        (None, Some(prefixes)) => StreamFilter::Prefixes(prefixes.items.clone()),
    };
    let pattern = Pattern::parse(input.log_event_filter_pattern.as_deref().unwrap_or_default())
        .map_err(|error| faults::invalid_pattern(&error))?;
    let Some(follower) = shared.tails.follow(ctx.scope.account) else {
        let text = "There are as many live tail sessions as there may be.";
        return Err(Fault::new(ErrorCode::LimitExceededException, text));
    };
    let mut groups = BTreeMap::new();
    for identifier in &identifiers {
        let name = identifier::group_name(&ctx.scope, identifier)?;
        super::group(shared, &ctx.scope, &name).await?;
        let Scope { account, .. } = &ctx.scope;
        groups.insert(name.clone(), format!("{account}:{name}"));
    }
    let arns = groups.keys().map(|name| Arn::log_group(&ctx.scope, name).to_string()).collect::<Vec<_>>();
    let session = Session {
        follower,
        scope: ctx.scope.clone(),
        groups,
        streams,
        pattern,
        ends: shared.clock.now() + LONGEST,
        start: Some(LiveTailSessionStart {
            request_id: Some(ctx.request_id.to_string()),
            session_id: Some(uuid_v4(&*shared.entropy).to_string()),
            log_group_identifiers: Some(arns.into()),
            log_stream_names: input.log_stream_names,
            log_stream_name_prefixes: input.log_stream_name_prefixes,
            log_event_filter_pattern: input.log_event_filter_pattern,
        }),
        over: false,
        shared: shared.clone(),
    };
    Ok(Box::pin(futures_util::stream::unfold(session, |mut session| async move {
        let frame = session.next().await?;
        Some((frame, session))
    })))
}

impl Session {
    async fn next(&mut self) -> Option<Result<StartLiveTailResponseStream, Fault>> {
        if let Some(start) = self.start.take() {
            return Some(Ok(StartLiveTailResponseStream { frame: Some(Frame::SessionStart(start)) }));
        }
        if self.over {
            return None;
        }
        let shared = self.shared.clone();
        let clock = &*shared.clock;
        if clock.now() >= self.ends {
            self.over = true;
            return Some(Err(Fault::new(ErrorCode::SessionTimeoutException, "Session timed out.")));
        }
        let mut update = Update::default();
        let mut until = clock.sleep_until((clock.now() + HEARTBEAT).min(self.ends));
        loop {
            tokio::select! {
                biased;
                () = shared.stopping.cancelled() => {
                    self.over = true;
                    return None;
                }
                arrived = self.follower.arrivals.recv() => match arrived {
                    Ok(arrived) => {
                        let first = update.events.is_empty();
                        self.add(&arrived, &mut update);
                        if first && !update.events.is_empty() {
                            until = clock.sleep_until(clock.now() + GATHER);
                        }
                    }
                    Err(RecvError::Lagged(_)) => update.sampled = true,
                    Err(RecvError::Closed) => return None,
                },
                () = &mut until => return Some(Ok(update.frame())),
            }
        }
    }

    fn add(&self, arrived: &Arrived, update: &mut Update) {
        let Some(identifier) = self.groups.get(&arrived.group) else { return };
        if arrived.scope != self.scope {
            return;
        }
        for event in &arrived.events {
            if self.streams.admits(&event.stream) && self.pattern.matches(&event.message) {
                if update.events.len() == MOST_EVENTS || update.bytes + event.message.len() > MOST_BYTES {
                    update.sampled = true;
                    return;
                }
                update.bytes += event.message.len();
                update.events.push(LiveTailSessionLogEvent {
                    log_stream_name: Some(event.stream.clone()),
                    log_group_identifier: Some(identifier.clone()),
                    message: Some(event.message.clone()),
                    timestamp: Some(event.position.time_ms),
                    ingestion_time: Some(event.ingested.millis()),
                });
            }
        }
    }
}

#[derive(Default)]
struct Update {
    events: Vec<LiveTailSessionLogEvent>,
    bytes: usize,
    sampled: bool,
}

impl Update {
    fn frame(self) -> StartLiveTailResponseStream {
        let update = LiveTailSessionUpdate {
            session_metadata: Some(LiveTailSessionMetadata { sampled: Some(self.sampled) }),
            session_results: Some(self.events.into()),
        };
        StartLiveTailResponseStream { frame: Some(Frame::SessionUpdate(update)) }
    }
}
