//! What the poller tells: a state that is reached, or how the last batch ended.

use std::sync::Arc;

use lambfold_api::Fault;
use lambfold_api::control::{ReportEventSourceMappingRequest, ReportEventSourceMappingResponse};
use lambfold_types::Scope;

use crate::faults;
use crate::record::Desired;
use crate::service::Shared;
use crate::store::Decision;

pub(crate) async fn report(
    shared: &Arc<Shared>,
    input: ReportEventSourceMappingRequest,
) -> Result<ReportEventSourceMappingResponse, Fault> {
    let malformed = || faults::invalid_parameter("The report names no scope.");
    let scope = Scope {
        account: input.account.parse().map_err(|_| malformed())?,
        region: input.region.parse().map_err(|_| malformed())?,
    };
    let edit = move |record: &mut crate::record::MappingRecord| {
        let mut decision = Decision::Leave;
        if !input.last_processing_result.is_empty()
            && record.last_processing_result.as_deref() != Some(input.last_processing_result.as_str())
        {
            record.last_processing_result = Some(input.last_processing_result.clone());
            decision = Decision::Keep;
        }
        // A report about an earlier wish says nothing about the present one.
        if input.generation == record.generation && input.reached_state == record.desired.as_str() {
            if record.desired == Desired::Deleted {
                return Decision::Remove;
            }
            if record.transition.take().is_some() {
                decision = Decision::Keep;
            }
        }
        decision
    };
    let uuid = input.uuid.clone();
    // A mapping that is gone has nothing left to report on.
    shared.change(move |store| store.edit_mapping(&scope, &uuid, &mut |record| edit(record))).await?;
    Ok(ReportEventSourceMappingResponse {})
}
