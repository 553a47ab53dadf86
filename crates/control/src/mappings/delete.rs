//! DeleteEventSourceMapping: the poller ends what runs, then the mapping is gone.

use std::sync::Arc;

use lambfold_api::lambda::{DeleteEventSourceMappingRequest, EventSourceMappingConfiguration};
use lambfold_api::{CallContext, Fault};

use super::update::{busy, edit};
use crate::faults;
use crate::record::{Desired, MappingRecord};
use crate::service::Shared;

pub(crate) async fn delete(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: DeleteEventSourceMappingRequest,
) -> Result<EventSourceMappingConfiguration, Fault> {
    let now = shared.clock.now().millis();
    let apply = move |record: &mut MappingRecord| {
        if busy(record) {
            return Err(faults::in_use("Cannot delete the event source mapping because it is in use."));
        }
        record.desired = Desired::Deleted;
        record.transition = Some("Deleting".to_owned());
        record.generation += 1;
        record.last_modified_ms = now;
        Ok(())
    };
    edit(shared, ctx.scope.clone(), input.uuid.unwrap_or_default(), apply).await
}
