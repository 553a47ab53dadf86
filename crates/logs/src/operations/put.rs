//! Events written by clients.

use std::time::Duration;

use lambfold_api::logs::{PutLogEventsRequest, PutLogEventsResponse, RejectedLogEventsInfo};
use lambfold_api::{CallContext, Fault};
use lambfold_types::Timestamp;

use crate::record::{Batch, EVENT_OVERHEAD, GroupSettings, NewEvent};
use crate::service::Shared;
use crate::{faults, writer};

/// Sequence tokens have meant nothing since 2023: whatever comes is taken, and this is what goes back.
pub(crate) const SEQUENCE_TOKEN: &str = "49640000000000000000000000000000000000000000000000000000";

/// Of a batch, in bytes as AWS counts them.
const MOST_BATCH_BYTES: usize = 1_048_576;
/// Of an event, with its overhead.
const MOST_EVENT_BYTES: usize = 1_048_576;
/// From the first to the last event of a batch.
const MOST_SPAN: Duration = Duration::from_hours(24);
/// How old and how far in the future an event may be.
const MOST_AGE: Duration = Duration::from_hours(24 * 14);
const MOST_AHEAD: Duration = Duration::from_hours(2);

pub(crate) async fn put(
    shared: &Shared,
    ctx: &CallContext,
    input: PutLogEventsRequest,
) -> Result<PutLogEventsResponse, Fault> {
    let events = input.log_events.map(|events| events.items).unwrap_or_default();
    let mut events: Vec<NewEvent> = events
        .into_iter()
        .map(|event| NewEvent {
            time: Timestamp::from_millis(event.timestamp.unwrap_or_default()),
            message: event.message.unwrap_or_default(),
        })
        .collect();
    check(&events)?;
    let group = input.log_group_name.unwrap_or_default();
    let settings = super::group(shared, &ctx.scope, &group).await?.settings;
    let rejected = reject(&mut events, &settings, shared.clock.now());
    let batch = Batch {
        scope: ctx.scope.clone(),
        group,
        stream: input.log_stream_name.unwrap_or_default(),
        events,
        create: false,
    };
    writer::told(&shared.intake.append(shared, batch).await?)?;
    Ok(PutLogEventsResponse {
        next_sequence_token: Some(SEQUENCE_TOKEN.to_owned()),
        rejected_log_events_info: rejected,
        rejected_entity_info: None,
    })
}

fn check(events: &[NewEvent]) -> Result<(), Fault> {
    if let Some(large) = events.iter().map(NewEvent::bytes).find(|bytes| *bytes > MOST_EVENT_BYTES) {
        let text = format!("Log event too large: {large} bytes exceeds limit of {MOST_EVENT_BYTES}");
        return Err(faults::invalid(text));
    }
    let bytes: usize = events.iter().map(|event| event.message.len() + EVENT_OVERHEAD).sum();
    if bytes > MOST_BATCH_BYTES {
        let text = format!("Upload too large: {bytes} bytes exceeds limit of {MOST_BATCH_BYTES}");
        return Err(faults::invalid(text));
    }
    if !events.is_sorted_by_key(|event| event.time) {
        return Err(faults::invalid(
            "Log events in a single PutLogEvents request must be in chronological order.",
        ));
    }
    if let (Some(first), Some(last)) = (events.first(), events.last())
        && last.time.since(first.time) > MOST_SPAN
    {
        return Err(faults::invalid(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        ));
    }
    Ok(())
}

/// Takes out what is too old, has expired already or lies too far ahead, and tells where it stood.
fn reject(
    events: &mut Vec<NewEvent>,
    settings: &GroupSettings,
    now: Timestamp,
) -> Option<RejectedLogEventsInfo> {
    let index = |at: usize| i32::try_from(at).unwrap_or(i32::MAX);
    let too_old = events.partition_point(|event| event.time < now - MOST_AGE);
    let expired =
        settings.expired_before(now).map_or(0, |before| events.partition_point(|event| event.time < before));
    let too_new = events.partition_point(|event| event.time <= now + MOST_AHEAD);
    let info = RejectedLogEventsInfo {
        too_new_log_event_start_index: (too_new < events.len()).then(|| index(too_new)),
        too_old_log_event_end_index: (too_old > 0).then(|| index(too_old)),
        expired_log_event_end_index: (expired > 0).then(|| index(expired)),
    };
    events.truncate(too_new);
    events.drain(..too_old.max(expired).min(events.len()));
    (info != RejectedLogEventsInfo::default()).then_some(info)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time: i64) -> NewEvent {
        NewEvent { time: Timestamp::from_millis(time), message: "m".into() }
    }

    #[test]
    fn events_of_other_times_are_taken_out() {
        let day = 86_400_000;
        let now = Timestamp::from_millis(100 * day);
        let settings = GroupSettings { retention_days: Some(3), ..GroupSettings::default() };
        let mut events: Vec<NewEvent> =
            [80 * day, 96 * day, 98 * day, 100 * day, 101 * day].map(event).to_vec();
        let info = reject(&mut events, &settings, now).unwrap();
        assert_eq!(info.too_old_log_event_end_index, Some(1));
        assert_eq!(info.expired_log_event_end_index, Some(2));
        assert_eq!(info.too_new_log_event_start_index, Some(4));
        assert_eq!(events, [98 * day, 100 * day].map(event));
        assert_eq!(reject(&mut events, &settings, now), None);
    }

    #[test]
    fn batches_have_an_order_and_bounds() {
        assert!(check(&[event(1), event(1), event(2)]).is_ok());
        assert!(check(&[event(2), event(1)]).unwrap_err().message().contains("chronological"));
        assert!(check(&[event(0), event(86_400_001)]).unwrap_err().message().contains("24 hours"));
        let large = |bytes| NewEvent { message: "x".repeat(bytes), ..event(1) };
        assert!(check(&[large(MOST_EVENT_BYTES - 26)]).is_ok());
        assert!(check(&[large(MOST_EVENT_BYTES - 25)]).unwrap_err().message().contains("too large"));
        assert!(check(&[large(600_000), large(600_000)]).unwrap_err().message().contains("Upload"));
    }
}
