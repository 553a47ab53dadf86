//! From Pending to Active, and from InProgress to Successful: in the background, and again after a crash.

use std::sync::Arc;
use std::time::Duration;

use lambfold_api::Fault;
use tokio_util::sync::CancellationToken;

use crate::functions::timestamp;
use crate::packages;
use crate::record::{Function, LastUpdate, State};
use crate::service::Shared;
use crate::store::Decision;

/// How long to wait before another look when the store or the object store failed.
const AFTER_A_FAILURE: Duration = Duration::from_secs(1);

pub(crate) async fn run(shared: &Arc<Shared>, shutdown: CancellationToken) {
    loop {
        let woken = shared.activate.notified();
        let failed = match activate_all(shared).await {
            Ok(()) => false,
            Err(fault) => {
                tracing::warn!(%fault, "functions wait for their activation");
                true
            }
        };
        let again = shared.clock.sleep_until(shared.clock.now() + AFTER_A_FAILURE);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = woken => {}
            () = again, if failed => {}
        }
    }
}

async fn activate_all(shared: &Arc<Shared>) -> Result<(), Fault> {
    let waiting = shared.store(|store| {
        let mut functions = store.snapshot()?.functions;
        functions.retain(|function| needs_activation(function.record.state, function.record.last_update));
        Ok(functions)
    });
    for function in waiting.await? {
        activate(shared, function).await?;
    }
    Ok(())
}

fn needs_activation(state: State, last_update: Option<LastUpdate>) -> bool {
    state == State::Pending || last_update == Some(LastUpdate::InProgress)
}

async fn activate(shared: &Arc<Shared>, function: Function) -> Result<(), Fault> {
    let Function { scope, name, record } = function;
    let found = packages::exists(&shared.objects, &record.configuration.code_sha256).await?;
    let (revision_id, wanted) = (shared.uuid(), record.configuration.configuration_id);
    let last_modified = timestamp(shared.clock.now());
    let shown = format!("{scope}/{name}");
    let change = shared.change(move |store| {
        store.edit_function(&scope, &name, &mut |record| {
            // Changed again meanwhile: the next round sees to it.
            if record.configuration.configuration_id != wanted
                || !needs_activation(record.state, record.last_update)
            {
                return Decision::Leave;
            }
            record.revision_id.clone_from(&revision_id);
            record.last_modified.clone_from(&last_modified);
            if found {
                record.state = State::Active;
                record.last_update = Some(LastUpdate::Successful);
                record.serving = Some(record.configuration.clone());
            } else if record.state == State::Pending {
                record.state = State::Failed;
            } else {
                record.last_update = Some(LastUpdate::Failed);
            }
            Decision::Keep
        })
    });
    change.await?;
    if !found {
        tracing::error!(function = shown, "the package of a function is missing in the object store");
    }
    Ok(())
}
