//! What workers hand over.

use lambfold_api::Fault;
use lambfold_api::logstore::{DeliverRequest, DeliverResponse, DeliveredBatch};
use lambfold_types::{Scope, Timestamp};

use crate::faults;
use crate::record::{Batch, NewEvent};
use crate::service::Shared;

pub(crate) async fn deliver(shared: &Shared, input: DeliverRequest) -> Result<DeliverResponse, Fault> {
    let batches = input.batches.into_iter().map(batch).collect::<Result<_, _>>()?;
    shared.intake.append_all(shared, batches).await?;
    Ok(DeliverResponse {})
}

fn batch(delivered: DeliveredBatch) -> Result<Batch, Fault> {
    let DeliveredBatch { account, region, log_group, log_stream, events } = delivered;
    let malformed = |_| faults::invalid("A batch has no account or region.");
    let scope = Scope {
        account: account.parse().map_err(malformed)?,
        region: region.parse().map_err(|_| faults::invalid("A batch has no region."))?,
    };
    let events = events
        .into_iter()
        .map(|event| NewEvent { time: Timestamp::from_millis(event.time_ms), message: event.message });
    Ok(Batch { scope, group: log_group, stream: log_stream, events: events.collect(), create: true })
}
