//! What the poller tells control about a mapping.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use lambfold_api::control::ReportEventSourceMappingRequest;
use lambfold_types::Scope;
use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::mapping::{DesiredState, Mapping};
use crate::shared::Shared;

/// LastProcessingResult after a batch that was processed.
pub(crate) const OK: &str = "OK";

/// The least time between two results.
const BETWEEN_RESULTS: Duration = Duration::from_secs(1);
const CALL_WITHIN: Duration = Duration::from_secs(10);

/// What there is to tell; the newest replaces what was not told yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Report {
    /// The generation that the mapping is at.
    generation: u64,
    reached: Option<(u64, DesiredState)>,
    result: Option<Cow<'static, str>>,
}

/// Takes reports without waiting; [`Courier`] brings them to control.
#[derive(Debug)]
pub(crate) struct Reporter(watch::Sender<Report>);

/// Brings reports to control, again and again until it takes them.
pub(crate) struct Courier {
    shared: Arc<Shared>,
    scope: Scope,
    uuid: String,
    reports: watch::Receiver<Report>,
}

pub(crate) fn reporter(shared: Arc<Shared>, mapping: &Mapping) -> (Reporter, Courier) {
    let (sender, reports) = watch::channel(Report::default());
    let courier = Courier { shared, scope: mapping.scope.clone(), uuid: mapping.uuid.clone(), reports };
    (Reporter(sender), courier)
}

impl Reporter {
    /// The state that the user asked for with this generation is reached.
    pub(crate) fn reached(&self, mapping: &Mapping) {
        self.change(|report| {
            report.generation = mapping.generation;
            report.reached = Some((mapping.generation, mapping.desired_state));
        });
    }

    /// How the last batch ended, or why there is none. Told only when it differs from what was told before.
    pub(crate) fn result(&self, mapping: &Mapping, result: impl Into<Cow<'static, str>>) {
        self.change(|report| {
            report.generation = mapping.generation;
            report.result = Some(result.into());
        });
    }

    fn change(&self, change: impl FnOnce(&mut Report)) {
        self.0.send_if_modified(|report| {
            let before = report.clone();
            change(report);
            *report != before
        });
    }
}

impl Courier {
    /// Runs until the [`Reporter`] is gone.
    pub(crate) async fn run(mut self) {
        let mut told = Report::default();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let report = self.reports.borrow_and_update().clone();
            if self.tell(&report, &told).await {
                backoff.succeeded();
                let (reached, told_result) = (report.reached, report.result != told.result);
                told = report;
                if self.reports.changed().await.is_err() {
                    return;
                }
                // Control writes reports down: results that change with every batch are told once a second.
                tokio::select! {
                    newer = self.reports.wait_for(|report| report.reached != reached) => {
                        if newer.is_err() {
                            return;
                        }
                    }
                    () = self.shared.sleep(BETWEEN_RESULTS), if told_result => {}
                    () = std::future::ready(()), if !told_result => {}
                }
            } else {
                let wait = backoff.failed(&*self.shared.entropy);
                self.shared.sleep(wait).await;
            }
        }
    }

    /// Whether there was nothing to tell, or control took it.
    async fn tell(&self, report: &Report, told: &Report) -> bool {
        let reached = report.reached.filter(|_| report.reached != told.reached);
        let result = report.result.clone().filter(|_| report.result != told.result);
        if reached.is_none() && result.is_none() {
            return true;
        }
        let input = ReportEventSourceMappingRequest {
            account: self.scope.account.to_string(),
            region: self.scope.region.to_string(),
            uuid: self.uuid.clone(),
            generation: reached.map_or(report.generation, |(generation, _)| generation),
            reached_state: reached.map_or("", |(_, state)| state.as_str()).to_owned(),
            last_processing_result: result.unwrap_or_default().into_owned(),
        };
        let ctx = self.shared.context(&self.scope, None, CALL_WITHIN);
        let call = self.shared.control.report_event_source_mapping(&ctx, input);
        match self.shared.bounded(&ctx, call).await {
            Ok(_) => true,
            // The mapping is not there any more, or is of another generation: nobody wants to know.
            Err(fault) if fault.is_sender() && !matches!(fault.http_status(), 408 | 429) => {
                tracing::debug!(mapping.uuid = self.uuid, %fault, "a report was refused");
                true
            }
            Err(fault) => {
                tracing::debug!(mapping.uuid = self.uuid, %fault, "a report waits for control");
                false
            }
        }
    }
}
