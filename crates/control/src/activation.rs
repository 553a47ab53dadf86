//! From Pending to Active, and from InProgress to Successful: in the background, and again after a crash.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lambfold_api::Fault;
use lambfold_types::{FunctionName, Scope};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::functions::{Edition, timestamp};
use crate::record::{Configuration, LastUpdate, State};
use crate::service::Shared;
use crate::store::{Decision, Publication};
use crate::{images, packages};

/// How long to wait before another look when the store or the object store failed.
const AFTER_A_FAILURE: Duration = Duration::from_secs(1);

/// How long an update waits for a data plane that does not take it. One that went away for a moment will hear of it.
const DATA_PLANE_PATIENCE: Duration = Duration::from_secs(1);

/// Which functions wait for their activation.
#[derive(Default)]
pub(crate) struct Activations {
    waiting: Mutex<BTreeSet<(Scope, FunctionName)>>,
    added: Notify,
}

impl Activations {
    /// Wakes the activation of a function whose change is durable.
    pub(crate) fn add(&self, scope: Scope, name: FunctionName) {
        self.waiting().insert((scope, name));
        self.added.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeSet<(Scope, FunctionName)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) async fn run(shared: &Arc<Shared>, shutdown: CancellationToken) {
    let mut searched = false;
    loop {
        let added = shared.activations.added.notified();
        let round = async {
            if !searched {
                search(shared).await?;
                searched = true;
            }
            activate_all(shared).await
        };
        let failed = match round.await {
            Ok(()) => false,
            Err(fault) => {
                tracing::warn!(%fault, "functions wait for their activation");
                true
            }
        };
        let again = shared.clock.sleep_until(shared.clock.now() + AFTER_A_FAILURE);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = added => {}
            () = again, if failed => {}
        }
    }
}

/// Finds what a crash left waiting: once, since it looks at every function.
async fn search(shared: &Arc<Shared>) -> Result<(), Fault> {
    let functions = shared.store(|store| Ok(store.snapshot()?.functions)).await?;
    let left = functions.into_iter().filter(|it| {
        needs_activation(it.record.state, it.record.last_update) || !it.record.versions.pending.is_empty()
    });
    shared.activations.waiting().extend(left.map(|function| (function.scope, function.name)));
    Ok(())
}

async fn activate_all(shared: &Arc<Shared>) -> Result<(), Fault> {
    // One that fails holds nobody up who stands behind it.
    let mut failed = BTreeSet::new();
    let mut outcome = Ok(());
    loop {
        // Taken out first: whoever changes the function from here on adds it again.
        let Some(next) = shared.activations.waiting().pop_first() else { break };
        if let Err(fault) = activate(shared, &next.0, &next.1).await {
            failed.insert(next);
            outcome = Err(fault);
        }
    }
    shared.activations.waiting().extend(failed);
    outcome
}

fn needs_activation(state: State, last_update: Option<LastUpdate>) -> bool {
    state == State::Pending || last_update == Some(LastUpdate::InProgress)
}

async fn activate(shared: &Arc<Shared>, scope: &Scope, name: &FunctionName) -> Result<(), Fault> {
    if activate_function(shared, scope, name).await?.is_continue() {
        return Ok(());
    }
    let key = (scope.clone(), name.clone());
    let function = shared.store(move |store| store.function(&key.0, &key.1)).await?;
    for number in function.map(|function| function.versions.pending).unwrap_or_default() {
        activate_version(shared, scope, name, number).await?;
    }
    Ok(())
}

/// Continues where an image is still on its way: the function is added again when that is over.
async fn activate_function(
    shared: &Arc<Shared>,
    scope: &Scope,
    name: &FunctionName,
) -> Result<ControlFlow<()>, Fault> {
    let (scope, name) = (scope.clone(), name.clone());
    let key = (scope.clone(), name.clone());
    let record = shared.store(move |store| store.function(&key.0, &key.1)).await?;
    let Some(record) = record.filter(|record| needs_activation(record.state, record.last_update)) else {
        shared.pulls.forget(&scope, &name);
        return Ok(ControlFlow::Break(()));
    };
    let (found, failure) = match &record.configuration.image {
        None => (has_code(shared, &record.configuration).await?, None),
        // It takes its time, and others go on.
        Some(_) => match shared.pulls.outcome(shared, &scope, &name, &record.configuration) {
            None => return Ok(ControlFlow::Continue(())),
            Some(Ok(())) => (true, None),
            Some(Err(failure)) => (false, Some(failure)),
        },
    };
    if found && record.state == State::Active {
        serve(shared, &scope, &name, &record.configuration.configuration_id).await?;
    }
    let (revision_id, wanted) = (shared.uuid(), record.configuration.configuration_id);
    let last_modified = timestamp(shared.clock.now());
    let edition = Edition::new(shared);
    let shown = format!("{scope}/{name}");
    let of_image = record.configuration.image.is_some();
    let change = shared.change(move |store| {
        store.publish_version(&scope, &name, &mut |record, last| {
            // Changed again meanwhile: it was added again.
            if record.configuration.configuration_id != wanted
                || !needs_activation(record.state, record.last_update)
            {
                return Publication::Leave;
            }
            record.revision_id.clone_from(&revision_id);
            record.last_modified.clone_from(&last_modified);
            if !found {
                if record.state == State::Pending {
                    record.state = State::Failed;
                } else {
                    record.last_update = Some(LastUpdate::Failed);
                }
                if let Some(image) = &mut record.configuration.image {
                    image.failure.clone_from(&failure);
                }
                return Publication::Keep;
            }
            if let Some(image) = &mut record.configuration.image {
                image.failure = None;
            }
            record.state = State::Active;
            record.last_update = Some(LastUpdate::Successful);
            record.serving = Some(record.configuration.clone());
            if record.versions.publish_when_active {
                Publication::Publish(Box::new(edition.publish(record, last, None).version))
            } else {
                Publication::Keep
            }
        })
    });
    change.await?;
    if !found && !of_image {
        tracing::error!(function = shown, "the package of a function is missing in the object store");
    }
    Ok(ControlFlow::Break(()))
}

/// Whether the code that is no image is there.
async fn has_code(shared: &Shared, configuration: &Configuration) -> Result<bool, Fault> {
    // The worker looks when it needs it: the directory is the developer's.
    if configuration.hot_reload.is_some() {
        return Ok(true);
    }
    packages::exists(&shared.objects, &configuration.code_sha256).await
}

async fn activate_version(
    shared: &Arc<Shared>,
    scope: &Scope,
    name: &FunctionName,
    number: u64,
) -> Result<(), Fault> {
    let (scope, name) = (scope.clone(), name.clone());
    let key = (scope.clone(), name.clone());
    let version = shared.store(move |store| store.function_version(&key.0, &key.1, number)).await?;
    // Deleted meanwhile, or it is no longer pending.
    let Some(version) = version else { return Ok(()) };
    // A function may be published whose image was refused.
    let failure = match &version.configuration.image {
        Some(image) => images::look(shared, image).await?.err(),
        None => None,
    };
    let found = match &version.configuration.image {
        Some(_) => failure.is_none(),
        None => has_code(shared, &version.configuration).await?,
    };
    let revision_id = shared.uuid();
    let change = shared.change(move |store| {
        store.edit_version(&scope, &name, number, &mut |function, version| {
            function.versions.pending.remove(&number);
            if version.state == State::Pending {
                version.state = if found { State::Active } else { State::Failed };
                version.revision_id.clone_from(&revision_id);
                if let Some(image) = &mut version.configuration.image {
                    // What the function was refused for says more than that it is not there.
                    image.failure = failure.clone().map(|it| image.failure.take().unwrap_or(it));
                }
            }
            Decision::Keep
        })
    });
    change.await.map(drop)
}

/// Gives an updated function to the data plane, and returns when that has it, or does not listen: an update is told to
/// be done when the next invocation runs it.
async fn serve(shared: &Arc<Shared>, scope: &Scope, name: &FunctionName, wanted: &str) -> Result<(), Fault> {
    let (scope, name, wanted) = (scope.clone(), name.clone(), wanted.to_owned());
    let change = shared.change(move |store| {
        store.edit_function(&scope, &name, &mut |record| {
            if record.configuration.configuration_id != wanted {
                return Decision::Leave;
            }
            record.serving = Some(record.configuration.clone());
            Decision::Keep
        })
    });
    change.await?;
    heard(shared).await;
    Ok(())
}

/// Returns when the data plane has heard of everything so far, or does not listen.
pub(crate) async fn heard(shared: &Shared) {
    let count = *shared.changed.borrow();
    let patience = shared.clock.sleep_until(shared.clock.now() + DATA_PLANE_PATIENCE);
    tokio::select! {
        () = shared.audience.has_heard(count) => {}
        () = patience => tracing::warn!("the data plane takes long to hear of an update"),
    }
}
