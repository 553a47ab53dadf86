//! One event as subscribers get it, in the shape of their schema.

use bytes::Bytes;
use lambfold_types::Timestamp;
use serde_json::{Value, json};

use super::subscription::{Kind, Schema};
use crate::log::Source;
use crate::platform_log::iso;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    time: Timestamp,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Platform(Records),
    Line { source: Source, text: String },
}

/// A type and a record, in each of the two APIs that has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    pub(crate) telemetry: Option<(&'static str, Value)>,
    pub(crate) logs: Option<(&'static str, Value)>,
}

impl Event {
    pub(crate) fn platform(time: Timestamp, records: Records) -> Self {
        Self { time, body: Body::Platform(records) }
    }

    /// What was printed, with its line end.
    pub(crate) fn line(time: Timestamp, source: Source, text: String) -> Self {
        Self { time, body: Body::Line { source, text } }
    }

    /// Batches that did not reach a subscriber.
    pub(super) fn dropped(time: Timestamp, reason: &str, records: u64, bytes: u64) -> Self {
        let record = json!({ "reason": reason, "droppedRecords": records, "droppedBytes": bytes });
        let both = Some(("platform.logsDropped", record));
        Self::platform(time, Records { telemetry: both.clone(), logs: both })
    }

    pub(super) fn kind(&self) -> Kind {
        match &self.body {
            Body::Platform(_) => Kind::Platform,
            Body::Line { source: Source::Function, .. } => Kind::Function,
            Body::Line { source: Source::Extension, .. } => Kind::Extension,
        }
    }

    /// What it takes to keep it, about.
    pub(super) fn cost(&self) -> usize {
        match &self.body {
            Body::Platform(_) => 512,
            Body::Line { text, .. } => text.len() + 128,
        }
    }

    /// As JSON; `None` if the schema does not have it. `json`: the function logs JSON.
    pub(super) fn render(&self, schema: Schema, json: bool) -> Option<Bytes> {
        let time = iso(self.time);
        let text = match &self.body {
            Body::Platform(Records { telemetry, logs }) => {
                let (kind, record) = match schema {
                    Schema::Text | Schema::Objects => telemetry.as_ref()?,
                    Schema::LogsWithRuntimeDone => logs.as_ref()?,
                    Schema::Logs => logs.as_ref().filter(|(kind, _)| *kind != "platform.runtimeDone")?,
                };
                json!({ "time": time, "type": kind, "record": record }).to_string()
            }
            Body::Line { text, .. } => {
                let kind = self.kind().as_str();
                let object = if json && schema == Schema::Objects { object(text) } else { None };
                match object {
                    Some(record) => json!({ "time": time, "type": kind, "record": record }).to_string(),
                    None => json!({ "time": time, "type": kind, "record": text }).to_string(),
                }
            }
        };
        Some(text.into())
    }
}

fn object(text: &str) -> Option<Value> {
    if !text.starts_with('{') {
        return None;
    }
    serde_json::from_str(text).ok()
}
