//! The watch: everything there is, then every change (DESIGN §3 The watch).

use std::collections::BTreeMap;
use std::sync::Arc;

use lambfold_api::control::watch_event::Event as Wire;
use lambfold_api::control::{
    Alias as WireAlias, Debugger as WireDebugger, EventSourceMapping, FunctionSettings, FunctionVersion,
    ProvisionedConcurrency, Reset, ScopeRevision, Synced, WatchEvent, WatchRequest,
};
use lambfold_api::{BoxStream, Fault};
use lambfold_types::{DEBUG_LIMIT, Debugger, FunctionName, Qualifier, Scope};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::function_urls;
use crate::functions::open_environment;
use crate::images;
use crate::record::{Configuration, Function, FunctionRecord, Mapping, State, Version};
use crate::service::Shared;
use crate::store::{ControlStore, Event};

/// Events on their way to one watcher; a slow one waits in the table, not in memory.
const IN_FLIGHT: usize = 64;

/// Starts a watch.
pub(crate) fn watch(
    shared: Arc<Shared>,
    wanted: WatchRequest,
) -> Result<BoxStream<Result<WatchEvent, Fault>>, Fault> {
    let seen = wanted.seen.iter().map(|seen| Ok((scope(seen)?, seen.revision)));
    let seen: BTreeMap<Scope, u64> = seen.collect::<Result<_, Fault>>()?;
    let (events, received) = mpsc::channel(IN_FLIGHT);
    let watcher = Watcher { shared, seen, events, wanted };
    tokio::spawn(watcher.run());
    Ok(Box::pin(ReceiverStream::new(received)))
}

struct Watcher {
    shared: Arc<Shared>,
    seen: BTreeMap<Scope, u64>,
    events: mpsc::Sender<Result<WatchEvent, Fault>>,
    wanted: WatchRequest,
}

/// The watcher has gone, or the service stops.
struct Over;

impl Watcher {
    async fn run(mut self) {
        let stop = self.shared.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            _ = self.follow() => {}
        }
    }

    async fn follow(&mut self) -> Result<(), Over> {
        let member = self.wanted.acknowledges.then(|| self.shared.audience.join(self.shared.uuid()));
        let mut changed = self.shared.changed.subscribe();
        let mut count = *changed.borrow_and_update();
        let listed = if self.seen.is_empty() { self.list().await } else { self.catch_up().await };
        self.or_fail(listed).await?;
        self.send(None, Wire::Synced(Synced {})).await?;
        loop {
            if let Some(member) = &member {
                self.send(None, Wire::Mark(member.mark(count))).await?;
            }
            tokio::select! {
                outcome = changed.changed() => outcome.map_err(|_| Over)?,
                () = self.events.closed() => return Err(Over),
            }
            count = *changed.borrow_and_update();
            let caught_up = self.catch_up().await;
            self.or_fail(caught_up).await?;
        }
    }

    /// Tells a fault to the watcher, who comes again, and ends.
    async fn or_fail(&mut self, outcome: Result<Result<(), Over>, Fault>) -> Result<(), Over> {
        match outcome {
            Ok(sent) => sent,
            Err(fault) => {
                // Whoever has gone needs no reason.
                let _ = self.events.send(Err(fault)).await;
                Err(Over)
            }
        }
    }

    async fn list(&mut self) -> Result<Result<(), Over>, Fault> {
        let snapshot = self.shared.store(<dyn ControlStore>::snapshot).await?;
        self.seen = snapshot.revisions.into_iter().collect();
        // Before the functions, whose aliases name them.
        for version in snapshot.versions {
            if let Err(over) = self.tell(Event::Version(Box::new(version)), None).await? {
                return Ok(Err(over));
            }
        }
        for function in snapshot.functions {
            if let Err(over) = self.tell(Event::Function(Box::new(function)), None).await? {
                return Ok(Err(over));
            }
        }
        for mapping in snapshot.mappings {
            if let Err(over) = self.tell(Event::Mapping(Box::new(mapping)), None).await? {
                return Ok(Err(over));
            }
        }
        for (scope, revision) in self.seen.clone() {
            // So that a watcher that comes back knows where it stood.
            let at = ScopeRevision {
                account: scope.account.to_string(),
                region: scope.region.to_string(),
                revision,
            };
            if let Err(over) = self.send(Some(at), Wire::Synced(Synced {})).await {
                return Ok(Err(over));
            }
        }
        Ok(Ok(()))
    }

    async fn catch_up(&mut self) -> Result<Result<(), Over>, Fault> {
        let seen: Vec<_> = self.seen.clone().into_iter().collect();
        let Some(changes) = self.shared.store(move |store| store.changes(&seen)).await? else {
            if let Err(over) = self.send(None, Wire::Reset(Reset {})).await {
                return Ok(Err(over));
            }
            let listed = self.list().await?;
            if listed.is_err() {
                return Ok(listed);
            }
            return Ok(self.send(None, Wire::Synced(Synced {})).await);
        };
        for change in changes {
            self.seen.insert(change.scope.clone(), change.revision);
            let at = ScopeRevision {
                account: change.scope.account.to_string(),
                region: change.scope.region.to_string(),
                revision: change.revision,
            };
            if let Err(over) = self.tell(change.event, Some(at)).await? {
                return Ok(Err(over));
            }
        }
        Ok(Ok(()))
    }

    async fn tell(&self, event: Event, at: Option<ScopeRevision>) -> Result<Result<(), Over>, Fault> {
        if let Event::Function(function) = &event
            && self.wanted.function_urls
        {
            let urls = Wire::FunctionUrls(function_urls::wire(function));
            if let Err(over) = self.send(at.clone().filter(|_| !self.wanted.functions), urls).await {
                return Ok(Err(over));
            }
        }
        let wire = match event {
            Event::Function(function) if self.wanted.functions => Wire::Function(self.function(&function)?),
            Event::Version(version) if self.wanted.functions => Wire::Function(self.version(&version)?),
            Event::FunctionRemoved(incarnation) if self.wanted.functions || self.wanted.function_urls => {
                Wire::FunctionRemoved(incarnation)
            }
            Event::Mapping(mapping) if self.wanted.event_source_mappings => {
                Wire::EventSourceMapping(wire_mapping(&mapping))
            }
            Event::MappingRemoved(uuid) if self.wanted.event_source_mappings => {
                Wire::EventSourceMappingRemoved(uuid)
            }
            _ => return Ok(Ok(())),
        };
        Ok(self.send(at, wire).await)
    }

    async fn send(&self, at: Option<ScopeRevision>, event: Wire) -> Result<(), Over> {
        self.events.send(Ok(WatchEvent { at, event: Some(event) })).await.map_err(|_| Over)
    }

    /// What the data plane runs: while an update is on its way, the configuration before it.
    fn function(&self, function: &Function) -> Result<FunctionVersion, Fault> {
        let Function { scope, name, record } = function;
        let configuration = record.serving.as_ref().unwrap_or(&record.configuration);
        let state = if record.serving.is_some() { State::Active } else { record.state };
        Ok(FunctionVersion {
            version: Qualifier::Latest.to_string(),
            incarnation: record.incarnation.clone(),
            state: state.as_str().to_owned(),
            settings: Some(settings(record)),
            ..self.configuration(scope, name, configuration)?
        })
    }

    fn version(&self, version: &Version) -> Result<FunctionVersion, Fault> {
        let Version { scope, name, number, record } = version;
        Ok(FunctionVersion {
            version: number.to_string(),
            incarnation: record.incarnation.clone(),
            state: record.state.as_str().to_owned(),
            initialization_type: if record.configuration.snap_start { "snap-start" } else { "" }.to_owned(),
            ..self.configuration(scope, name, &record.configuration)?
        })
    }

    fn configuration(
        &self,
        scope: &Scope,
        name: &FunctionName,
        configuration: &Configuration,
    ) -> Result<FunctionVersion, Fault> {
        let sealed = configuration.environment.as_deref();
        let environment = sealed.map(|sealed| open_environment(&*self.shared.sealer, sealed)).transpose()?;
        let environment = environment.unwrap_or_default();
        // Checked when it was given.
        let debugger = Debugger::of(&environment).ok().flatten();
        let logging = &configuration.logging;
        Ok(FunctionVersion {
            account: scope.account.to_string(),
            region: scope.region.to_string(),
            function_name: name.to_string(),
            configuration_id: configuration.configuration_id.clone(),
            runtime: configuration.runtime.clone(),
            handler: configuration.handler.clone(),
            code_sha256: configuration.code_sha256.clone(),
            environment,
            // Dispatcher, poller and worker all go by it.
            timeout_seconds: debugger.map_or(configuration.timeout, |_| debug_limit_seconds()),
            memory_size_mb: configuration.memory_size,
            ephemeral_storage_mb: configuration.ephemeral_storage,
            log_format: logging.format.clone(),
            application_log_level: logging.application_level.clone().unwrap_or_default(),
            system_log_level: logging.system_level.clone().unwrap_or_default(),
            log_group: logging.group.clone().unwrap_or_else(|| format!("/aws/lambda/{name}")),
            architecture: configuration.architecture.clone(),
            role: configuration.role.clone(),
            tracing_mode: "PassThrough".to_owned(),
            image: configuration.image.as_ref().map(images::wire),
            hot_reload: configuration.hot_reload.clone().unwrap_or_default(),
            debugger: debugger.map(|it| WireDebugger { port: it.port.into(), wait: it.wait }),
            layers: configuration.layers.iter().map(|it| it.package.code_sha256.clone()).collect(),
            ..FunctionVersion::default()
        })
    }
}

fn debug_limit_seconds() -> u32 {
    u32::try_from(DEBUG_LIMIT.as_secs()).unwrap_or(u32::MAX)
}

/// What the data plane has to know of the function as a whole.
fn settings(record: &FunctionRecord) -> FunctionSettings {
    let aliases = record.aliases.iter().map(|(name, alias)| WireAlias {
        name: name.clone(),
        version: alias.version.clone(),
        additional_version: alias.additional.as_ref().map(|it| it.version.to_string()).unwrap_or_default(),
        additional_weight: alias.additional.as_ref().map_or(0.0, |it| it.weight),
    });
    let provisioned = record.concurrency.provisioned.iter().map(|(qualifier, it)| ProvisionedConcurrency {
        qualifier: qualifier.clone(),
        executions: it.requested,
    });
    FunctionSettings {
        aliases: aliases.collect(),
        reserved_concurrency: record.concurrency.reserved,
        provisioned: provisioned.collect(),
    }
}

fn wire_mapping(mapping: &Mapping) -> EventSourceMapping {
    let Mapping { scope, uuid, record } = mapping;
    EventSourceMapping {
        account: scope.account.to_string(),
        region: scope.region.to_string(),
        uuid: uuid.clone(),
        generation: record.generation,
        event_source_arn: record.event_source_arn.clone(),
        function_name: record.function_name.clone(),
        qualifier: record.qualifier.clone().unwrap_or_default(),
        desired_state: record.desired.as_str().to_owned(),
        batch_size: record.batch_size,
        maximum_batching_window_seconds: record.window_seconds,
        maximum_concurrency: record.maximum_concurrency.unwrap_or_default(),
        report_batch_item_failures: record.report_batch_item_failures,
        filter_patterns: Vec::new(),
    }
}

fn scope(seen: &ScopeRevision) -> Result<Scope, Fault> {
    let wrong = || Fault::serialization("A watch names scopes by account and region.");
    Ok(Scope {
        account: seen.account.parse().map_err(|_| wrong())?,
        region: seen.region.parse().map_err(|_| wrong())?,
    })
}
