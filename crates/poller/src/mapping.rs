//! An event source mapping as the poller needs it.

use std::time::Duration;

use lambfold_api::control;
use lambfold_types::{Arn, Qualifier, QueueName, Scope};

/// A mapping from an SQS queue to a function, at one generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// Who owns the mapping and the function.
    pub(crate) scope: Scope,
    pub(crate) uuid: String,
    pub(crate) generation: u64,
    /// The queue, perhaps of another account.
    pub(crate) queue: Arn,
    /// Whether order must be kept: one receive is then one batch.
    pub(crate) is_fifo: bool,
    pub(crate) function_name: String,
    pub(crate) qualifier: Option<String>,
    pub(crate) desired_state: DesiredState,
    pub(crate) batch_size: usize,
    pub(crate) batching_window: Duration,
    pub(crate) maximum_concurrency: Option<usize>,
    pub(crate) report_batch_item_failures: bool,
    pub(crate) has_filters: bool,
}

/// What the user wants of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DesiredState {
    Enabled,
    Disabled,
    Deleted,
}

impl DesiredState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::Deleted => "Deleted",
        }
    }
}

/// A mapping that this version cannot serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mapping {uuid}: {field} {value:?} is not understood")]
pub(crate) struct InvalidMapping {
    uuid: String,
    field: &'static str,
    value: String,
}

impl Mapping {
    /// The version whose time-out counts: `$LATEST`, a number, or an alias.
    pub(crate) fn qualifier(&self) -> Qualifier {
        self.qualifier.as_deref().and_then(|it| it.parse().ok()).unwrap_or(Qualifier::Latest)
    }
}

impl TryFrom<control::EventSourceMapping> for Mapping {
    type Error = InvalidMapping;

    fn try_from(told: control::EventSourceMapping) -> Result<Self, InvalidMapping> {
        let wrong = |field, value: &str| InvalidMapping {
            uuid: told.uuid.clone(),
            field,
            value: value.chars().take(256).collect(),
        };
        let account = told.account.parse().map_err(|_| wrong("account", &told.account))?;
        let region = told.region.parse().map_err(|_| wrong("region", &told.region))?;
        let source = &told.event_source_arn;
        let queue: Arn = source.parse().map_err(|_| wrong("event source", source))?;
        let name: QueueName = queue.resource.parse().map_err(|_| wrong("event source", source))?;
        if queue.service != "sqs" {
            return Err(wrong("event source", source));
        }
        let desired_state = match told.desired_state.as_str() {
            "Enabled" => DesiredState::Enabled,
            "Disabled" => DesiredState::Disabled,
            "Deleted" => DesiredState::Deleted,
            other => return Err(wrong("desired state", other)),
        };
        let concurrency = usize::try_from(told.maximum_concurrency).unwrap_or(usize::MAX);
        Ok(Self {
            scope: Scope { account, region },
            generation: told.generation,
            queue,
            is_fifo: name.is_fifo(),
            desired_state,
            batch_size: usize::try_from(told.batch_size).unwrap_or(usize::MAX).max(1),
            batching_window: Duration::from_secs(told.maximum_batching_window_seconds.into()),
            maximum_concurrency: (concurrency > 0).then_some(concurrency),
            report_batch_item_failures: told.report_batch_item_failures,
            has_filters: !told.filter_patterns.is_empty(),
            qualifier: (!told.qualifier.is_empty()).then(|| told.qualifier.clone()),
            function_name: told.function_name,
            uuid: told.uuid,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What control tells of an enabled mapping from queue `jobs` to function `work`.
    pub(crate) fn told() -> control::EventSourceMapping {
        control::EventSourceMapping {
            account: "000000000000".into(),
            region: "us-east-1".into(),
            uuid: "a1b2".into(),
            generation: 1,
            event_source_arn: "arn:aws:sqs:us-east-1:000000000000:jobs".into(),
            function_name: "work".into(),
            qualifier: String::new(),
            desired_state: "Enabled".into(),
            batch_size: 10,
            maximum_batching_window_seconds: 0,
            maximum_concurrency: 0,
            report_batch_item_failures: false,
            filter_patterns: Vec::new(),
        }
    }

    #[test]
    fn what_control_tells_becomes_a_mapping() {
        let mapping = Mapping::try_from(control::EventSourceMapping {
            maximum_batching_window_seconds: 5,
            maximum_concurrency: 2,
            qualifier: "live".into(),
            ..told()
        })
        .unwrap();
        assert_eq!(mapping.queue.resource, "jobs");
        assert_eq!(mapping.batching_window, Duration::from_secs(5));
        assert_eq!(mapping.maximum_concurrency, Some(2));
        assert_eq!(mapping.qualifier(), Qualifier::Alias("live".into()));
        assert_eq!(Mapping::try_from(told()).unwrap().qualifier(), Qualifier::Latest);
    }

    #[test]
    fn what_cannot_be_served_is_named() {
        type Change = fn(&mut control::EventSourceMapping);
        let changes: [Change; 4] = [
            |it| it.account = "x".into(),
            |it| it.event_source_arn = "jobs".into(),
            |it| it.event_source_arn = "arn:aws:kinesis:us-east-1:000000000000:stream/s".into(),
            |it| it.desired_state = "Paused".into(),
        ];
        for change in changes {
            let mut wrong = told();
            change(&mut wrong);
            assert!(Mapping::try_from(wrong).unwrap_err().to_string().starts_with("mapping a1b2: "));
        }
    }
}
