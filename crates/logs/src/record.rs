//! What is kept: groups, streams, events.

use std::collections::BTreeMap;
use std::time::Duration;

use lambfold_types::{Scope, Timestamp};
use serde::{Deserialize, Serialize};

/// The format of [`GroupSettings`] that this release writes.
pub const FORMAT: u16 = 1;
/// What AWS counts for an event beside its text, in bytes.
pub const EVENT_OVERHEAD: usize = 26;

/// What may be set of a log group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSettings {
    /// The format that it was written in.
    pub format: u16,
    /// After how many days events go; never, but for the bound of the whole store, if there is none.
    pub retention_days: Option<u32>,
    /// `STANDARD`, `INFREQUENT_ACCESS` or `DELIVERY`: stored and returned.
    pub class: String,
    /// A group that is protected cannot be deleted.
    pub deletion_protection: bool,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            format: FORMAT,
            retention_days: None,
            class: "STANDARD".to_owned(),
            deletion_protection: false,
            tags: BTreeMap::new(),
        }
    }
}

impl GroupSettings {
    /// The time before which events have expired.
    pub fn expired_before(&self, now: Timestamp) -> Option<Timestamp> {
        self.retention_days.map(|days| now - Duration::from_hours(24 * u64::from(days)))
    }
}

/// A log group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// What is set.
    pub settings: GroupSettings,
    /// The bytes of its events, as AWS counts them.
    pub stored_bytes: u64,
}

/// A log stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// The earliest time of an event.
    pub first_event: Option<Timestamp>,
    /// The latest time of an event.
    pub last_event: Option<Timestamp>,
    /// When events came last.
    pub last_ingestion: Option<Timestamp>,
}

/// An event on its way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// The event's own time.
    pub time: Timestamp,
    /// Its text.
    pub message: String,
}

impl NewEvent {
    /// Its size as AWS counts it.
    pub fn bytes(&self) -> usize {
        self.message.len() + EVENT_OVERHEAD
    }
}

/// Events of one stream, to be appended together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Whose.
    pub scope: Scope,
    /// The group's name.
    pub group: String,
    /// The stream's name.
    pub stream: String,
    /// In order of time.
    pub events: Vec<NewEvent>,
    /// Whether group and stream are made if they are not there.
    pub create: bool,
}

impl Batch {
    /// Its size as AWS counts it.
    pub fn bytes(&self) -> usize {
        self.events.iter().map(NewEvent::bytes).sum()
    }
}

/// The place of an event in its group: by time, and by arrival within a millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Milliseconds since the epoch.
    pub time_ms: i64,
    /// Rises with every event of the store; never given twice.
    pub sequence: u64,
}

/// An event that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Where it stands.
    pub position: Position,
    /// Its stream's name.
    pub stream: String,
    /// When it came.
    pub ingested: Timestamp,
    /// Its text.
    pub message: String,
}
