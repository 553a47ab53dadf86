//! Gathering messages into batches: when does a batch close (facts: Lambda API §9).

use std::time::Duration;

use bytes::Bytes;
use lambfold_api::{TraceContext, sqs};
use lambfold_types::{Arn, Timestamp};

use crate::event::{self, MAX_EVENT_BYTES, event_bytes};

/// A message in the poller's hands.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) receipt_handle: String,
    /// Its part of the event.
    pub(crate) record: Bytes,
    /// The sender's trace.
    pub(crate) trace: Option<TraceContext>,
    /// Until then nobody else gets it; nothing may be begun with it afterwards.
    pub(crate) visible_at: Timestamp,
}

impl Message {
    pub(crate) fn new(received: &sqs::Message, queue: &Arn, visible_at: Timestamp) -> Self {
        Self {
            id: received.message_id.clone().unwrap_or_default(),
            receipt_handle: received.receipt_handle.clone().unwrap_or_default(),
            record: event::record(received, queue),
            trace: received.attributes.get("AWSTraceHeader").and_then(|it| TraceContext::from_amzn(it)),
            visible_at,
        }
    }
}

/// Messages that are invoked together.
pub(crate) type Batch = Vec<Message>;

/// The batch that is being gathered. It closes when it has as many messages as the mapping asks for, when its window
/// ends, or when another message would make the event too large. Without a window it closes with the receive that
/// brought its first message.
#[derive(Debug)]
pub(crate) struct Gathering {
    size: usize,
    window: Duration,
    open: Batch,
    record_bytes: usize,
    closes_at: Timestamp,
}

impl Gathering {
    pub(crate) fn new(size: usize, window: Duration) -> Self {
        Self {
            size: size.max(1),
            window,
            open: Batch::new(),
            record_bytes: 0,
            closes_at: Timestamp::from_millis(0),
        }
    }

    /// Other limits, for the open batch too.
    pub(crate) fn reconfigure(&mut self, size: usize, window: Duration) {
        self.closes_at = self.closes_at - self.window + window;
        self.size = size.max(1);
        self.window = window;
    }

    /// Messages in the open batch.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// When the open batch closes by itself.
    pub(crate) fn closes_at(&self) -> Option<Timestamp> {
        (!self.open.is_empty()).then_some(self.closes_at)
    }

    /// Adds a message; returns the batch that it closed. When it does not fit into the event any more, that is the
    /// batch before it, and the message opens the next one.
    pub(crate) fn add(&mut self, message: Message, now: Timestamp) -> Option<Batch> {
        let grown = event_bytes(self.open.len() + 1, self.record_bytes + message.record.len());
        let closed = if !self.open.is_empty() && grown > MAX_EVENT_BYTES { Some(self.close()) } else { None };
        if self.open.is_empty() {
            self.closes_at = now + self.window;
        }
        self.record_bytes += message.record.len();
        self.open.push(message);
        // Not both: with a size of one nothing is ever open when a message comes.
        if closed.is_none() && self.open.len() >= self.size { Some(self.close()) } else { closed }
    }

    /// The open batch, if its time has come.
    pub(crate) fn close_due(&mut self, now: Timestamp) -> Option<Batch> {
        let due = self.closes_at().is_some_and(|at| at <= now) || self.open.len() >= self.size;
        due.then(|| self.close()).filter(|batch| !batch.is_empty())
    }

    /// What is open, whatever it lacks.
    pub(crate) fn close(&mut self) -> Batch {
        self.record_bytes = 0;
        std::mem::take(&mut self.open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn message(bytes: usize) -> Message {
        Message {
            id: String::new(),
            receipt_handle: String::new(),
            record: vec![b'x'; bytes].into(),
            trace: None,
            visible_at: at(1000),
        }
    }

    #[test]
    fn a_full_batch_closes_at_once() {
        let mut gathering = Gathering::new(3, Duration::from_secs(5));
        assert!(gathering.add(message(1), at(0)).is_none());
        assert!(gathering.add(message(1), at(1)).is_none());
        assert_eq!(gathering.add(message(1), at(2)).unwrap().len(), 3);
        assert_eq!(gathering.closes_at(), None);
        assert!(gathering.close_due(at(9)).is_none());
    }

    #[test]
    fn the_window_runs_from_the_first_message() {
        let mut gathering = Gathering::new(100, Duration::from_secs(5));
        assert!(gathering.add(message(1), at(10)).is_none());
        assert!(gathering.add(message(1), at(14)).is_none());
        assert!(gathering.close_due(at(14)).is_none());
        assert_eq!(gathering.closes_at(), Some(at(15)));
        assert_eq!(gathering.close_due(at(15)).unwrap().len(), 2);
        // The next one has a window of its own.
        assert!(gathering.add(message(1), at(20)).is_none());
        assert_eq!(gathering.closes_at(), Some(at(25)));
        gathering.reconfigure(100, Duration::from_secs(1));
        assert_eq!(gathering.closes_at(), Some(at(21)));
        gathering.reconfigure(1, Duration::from_secs(9));
        assert_eq!(gathering.close_due(at(20)).unwrap().len(), 1);
    }

    #[test]
    fn without_a_window_it_closes_with_the_receive() {
        let mut gathering = Gathering::new(10, Duration::ZERO);
        assert!(gathering.add(message(1), at(10)).is_none());
        assert!(gathering.add(message(1), at(10)).is_none());
        assert_eq!(gathering.close_due(at(10)).unwrap().len(), 2);
    }

    #[test]
    fn the_event_never_passes_six_megabytes() {
        let mut gathering = Gathering::new(10_000, Duration::from_mins(5));
        let (mut closed, third) = (Vec::new(), MAX_EVENT_BYTES / 3);
        for _ in 0..7 {
            closed.extend(gathering.add(message(third), at(0)));
        }
        // Three times a third, brackets and commas are too much.
        assert_eq!(closed.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2]);
        assert_eq!(gathering.len(), 1);
        for batch in closed {
            let records: usize = batch.iter().map(|it| it.record.len()).sum();
            assert!(event_bytes(batch.len(), records) <= MAX_EVENT_BYTES);
        }
        // Exactly full passes.
        let mut gathering = Gathering::new(10_000, Duration::from_mins(5));
        assert!(gathering.add(message(1000), at(0)).is_none());
        assert!(gathering.add(message(MAX_EVENT_BYTES - event_bytes(2, 1000)), at(0)).is_none());
        assert_eq!(gathering.add(message(0), at(0)).unwrap().len(), 2);
    }
}
