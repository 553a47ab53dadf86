//! Where logs are kept. Logs are not messages: a commit need not have reached the disk when it is answered, so that what
//! came in the last moments before a crash of the machine (not of the process) may be missing, and nothing else is.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod memory;

use std::ops::Range;

use lambfold_types::{Scope, Timestamp};

pub use memory::MemoryLogStore;

use crate::record::{Batch, Event, Group, GroupSettings, Position, Stream};

/// Why a store cannot do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the database.
    #[error("{0} is in use by another process")]
    InUse(String),
    /// A later release wrote it.
    #[error("{0} was written by a later release")]
    FromTheFuture(String),
    /// The database fails.
    #[error("the database of logs failed")]
    Driver(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is stored makes no sense.
    #[error("a stored {0} cannot be read")]
    Inconsistent(&'static str),
}

/// What a store answers.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Which groups a list shows.
#[derive(Clone, Debug, Default)]
pub struct GroupFilter {
    /// How the name begins.
    pub prefix: String,
    /// What the name contains.
    pub contains: String,
    /// The class.
    pub class: Option<String>,
}

/// Which streams a list shows, in which order.
#[derive(Clone, Debug, Default)]
pub struct StreamQuery {
    /// How the name begins.
    pub prefix: String,
    /// By the time of the last event (streams without any come first) instead of by name.
    pub by_last_event: bool,
    /// Last things first.
    pub descending: bool,
    /// What the page before ended with: the time of the last event (0 for none) and the name.
    pub after: Option<(i64, String)>,
    /// The most streams.
    pub max: usize,
}

/// Which streams of a group are searched.
#[derive(Clone, Debug, Default)]
pub enum StreamFilter {
    /// All of them.
    #[default]
    All,
    /// Those with these names.
    Names(Vec<String>),
    /// Those whose names begin so.
    Prefixes(Vec<String>),
}

impl StreamFilter {
    /// Whether a stream of that name is searched.
    pub fn admits(&self, stream: &str) -> bool {
        match self {
            Self::All => true,
            Self::Names(names) => names.iter().any(|name| name == stream),
            Self::Prefixes(prefixes) => prefixes.iter().any(|prefix| stream.starts_with(prefix.as_str())),
        }
    }
}

/// Bounds of what is read in one go: the first event that would pass one is left out, unless it is the only one.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Events.
    pub events: usize,
    /// Bytes as AWS counts them.
    pub bytes: usize,
}

/// Where a read of a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// At the first event.
    Head,
    /// With the last ones.
    Tail,
    /// After that position, forwards.
    After(Position),
    /// Before that position, backwards.
    Before(Position),
}

/// What a group or stream was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<T> {
    /// There is no such group.
    NoGroup,
    /// There is no such stream in it.
    NoStream,
    /// It is there.
    Here(T),
}

/// What became of a new stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is there now.
    Made,
    /// It was there already.
    Exists,
    /// Its group is not there.
    NoGroup,
}

/// A page of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Events of the streams that are searched, in order.
    pub events: Vec<Event>,
    /// Where the next page begins (after that position); `None` at the end.
    pub resume: Option<Position>,
}

/// What [`LogStore::maintain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Events that went because their group or stream is gone or their time is over.
    pub expired: usize,
    /// Events that went because the store was full.
    pub evicted: usize,
    /// There is more to do.
    pub more: bool,
}

/// Changes the settings of a group; false leaves them.
pub type Edit<'a> = &'a mut (dyn FnMut(&mut GroupSettings) -> bool + Send);

/// The store of logs. Calls block; each is atomic.
pub trait LogStore: Send + Sync + 'static {
    /// Makes a group. False if there is one of that name.
    fn create_group(
        &self,
        scope: &Scope,
        name: &str,
        settings: &GroupSettings,
        now: Timestamp,
    ) -> Result<bool>;

    /// A group.
    fn group(&self, scope: &Scope, name: &str) -> Result<Option<Group>>;

    /// Groups by name, after that one, at most `max`.
    fn groups(&self, scope: &Scope, filter: &GroupFilter, after: &str, max: usize) -> Result<Vec<Group>>;

    /// Changes a group's settings. False if it is not there.
    fn edit_group(&self, scope: &Scope, name: &str, edit: Edit<'_>) -> Result<bool>;

    /// Deletes a group with its streams: they are gone at once, their events go with [`maintain`](Self::maintain). False
    /// if it is not there.
    fn delete_group(&self, scope: &Scope, name: &str) -> Result<bool>;

    /// Makes a stream.
    fn create_stream(&self, scope: &Scope, group: &str, stream: &str, now: Timestamp) -> Result<Created>;

    /// Streams of a group. `NoStream` is never the answer.
    fn streams(&self, scope: &Scope, group: &str, query: &StreamQuery) -> Result<Found<Vec<Stream>>>;

    /// Deletes a stream, as [`delete_group`](Self::delete_group) does.
    fn delete_stream(&self, scope: &Scope, group: &str, stream: &str) -> Result<Found<()>>;

    /// Appends batches in one commit. Tells for each the sequence of its first event; the others follow one by one.
    fn append(&self, batches: &[Batch], now: Timestamp) -> Result<Vec<Found<u64>>>;

    /// Events of a stream within `times` (milliseconds), in order, whichever way they are read.
    fn read(
        &self,
        scope: &Scope,
        group: &str,
        stream: &str,
        times: Range<i64>,
        from: From,
        page: Page,
    ) -> Result<Found<Vec<Event>>>;

    /// Events of a group's streams within `times`, in order. Looks at no more than `page.events` events, whether they are
    /// searched for or not.
    fn scan(
        &self,
        scope: &Scope,
        group: &str,
        streams: &StreamFilter,
        times: Range<i64>,
        after: Option<Position>,
        page: Page,
    ) -> Result<Found<Scanned>>;

    /// Removes up to `budget` events: of groups and streams that are gone, that have expired, and the oldest ones while the
    /// store has more than `most_bytes`. A stream that loses its last event so, and got none for an hour, goes with it.
    fn maintain(&self, now: Timestamp, most_bytes: u64, budget: usize) -> Result<Maintained>;

    /// The bytes of all events that are kept, as AWS counts them.
    fn stored_bytes(&self) -> Result<u64>;
}

/// How long a stream without events is kept after its last one came, in milliseconds.
pub const EMPTY_STREAM_MS: i64 = 3_600_000;
